"""Short words for the tests of the Redis adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import redis

from taskq.testing.conformance import Bench
from taskq_redis import RedisBackend

_PAUSE = 0.005


async def until(check: Callable[[], Any], deadline: float = 15.0) -> Any:
    """What `check` answers as soon as it is true; fails when it is not within `deadline` seconds."""
    end = monotonic() + deadline
    while True:
        answer = await asyncio.to_thread(check)
        if answer:
            return answer
        assert monotonic() < end, f"not true within {deadline} s"
        await asyncio.sleep(_PAUSE)


def backend_of(bench: Bench) -> RedisBackend:
    """The backend of a bench, as what it is."""
    assert isinstance(bench.backend, RedisBackend)
    return bench.backend


def clients(outside: redis.Redis, command: str) -> list[dict[str, str]]:
    """The connections of the server whose last command was `command`."""
    return [client for client in outside.client_list() if client["cmd"] == command]


def calls(outside: redis.Redis) -> dict[str, int]:
    """How often each command has reached the server from its clients, what scripts call apart."""
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in outside.info("commandstats").items()}
