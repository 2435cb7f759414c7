"""What several tests here need."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from time import monotonic
from typing import Any

from taskq_postgres import PostgresBackend

PAUSE = 0.02


async def eventually(check: Callable[[], Any], deadline: float = 20.0) -> Any:
    """What `check` answers as soon as it is true."""
    end = monotonic() + deadline
    while True:
        answer: Any = check()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert monotonic() < end, f"not true within {deadline} s"
        await asyncio.sleep(PAUSE)


def count_commands(backend: PostgresBackend) -> list[str]:
    """Note the name of each statement that goes out, hints apart."""
    names: list[str] = []
    store = backend._store
    send = store.try_once

    async def noting(name: str, *rest: Any) -> Any:
        if name != "notify":
            names.append(name)
        return await send(name, *rest)

    store.try_once = noting  # type: ignore[method-assign, assignment]
    return names
