"""Telling tasks of the ends of those for which they wait: what is left is seen whenever it is noted."""

from __future__ import annotations

import pytest

from taskq.ports import BackendOptions
from taskq_redis import create_backend
from tests.redis.helpers import until


async def test_what_is_noted_while_a_look_is_on_its_way_back(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with create_backend(redis_url, BackendOptions()) as backend:
        joins, looks = backend.broker.joins, 0
        look = joins.relay

        async def relay(shard: int, limit: int) -> int:
            nonlocal looks
            looks += 1
            found = await look(shard, limit)
            if looks == 1:
                joins.go_on(shard)
            return found

        monkeypatch.setattr(joins, "relay", relay)
        joins.go_on(0)
        await until(lambda: looks == 2)
