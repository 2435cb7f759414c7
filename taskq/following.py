"""What handles of tasks and of flows share: they refuse what nobody can wait for or say, and follow what goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable

from taskq.config import is_number, shown
from taskq.domain.record import TaskRecord
from taskq.errors import InvalidOption, TaskqError
from taskq.ports import Backend
from taskq.ports.events import PROGRESS, Event

LOOK_EVERY = 1.0
"""Seconds after which a watched task is looked at without a hint: hints may be lost, and a start gives none."""


def check_timeout(timeout: object) -> None:
    """Refuse what cannot be waited for.

    Raises:
        InvalidOption: it is neither None nor a number of seconds.
    """
    # Nothing is later than a moment that is nan: it would be waited for without end.
    if timeout is not None and not (is_number(timeout) and timeout <= math.inf):
        raise InvalidOption(f"timeout must be a number of seconds or None, not {shown(timeout)}")


def check_reason(reason: object) -> None:
    """Refuse what is no reason of a cancel.

    Raises:
        InvalidOption: it is no text.
    """
    if not isinstance(reason, str):
        raise InvalidOption(f"the reason of a cancel must be text, not {shown(reason)}")


def progress_event(id: str) -> Event:
    """What listeners are told of a task that said how far it is: no more than where to look."""
    return Event(PROGRESS, json.dumps({"id": id}))


async def watch(id: str, backend: Backend, look: Callable[[], Awaitable[TaskRecord]]) -> AsyncGenerator[TaskRecord]:
    """The record of a task as it is, then each time when it has changed; the last one is that of its end.

    Arguments:
        id: of the task.
        backend: whose events hint at changes.
        look: reads the record.

    Raises:
        Whatever `look` raises.
    """
    told = asyncio.Event()
    ears = [asyncio.create_task(_hear_progress(id, backend, told)), asyncio.create_task(_await_end(id, backend, told))]
    last: TaskRecord | None = None
    try:
        while last is None or not last.state.is_final:
            record = await look()
            if record != last:
                last = record
                yield record
                continue  # it may have changed while it was shown
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), LOOK_EVERY)
            told.clear()
    finally:
        for ear in ears:
            ear.cancel()
        await asyncio.gather(*ears, return_exceptions=True)


async def _hear_progress(id: str, backend: Backend, told: asyncio.Event) -> None:
    mine = progress_event(id)
    with contextlib.suppress(TaskqError):  # without hints it is looked at all the same
        async for event in backend.events.subscribe([PROGRESS]):
            if event == mine:
                told.set()


async def _await_end(id: str, backend: Backend, told: asyncio.Event) -> None:
    with contextlib.suppress(TaskqError):
        while await backend.results.wait(id, 30.0) is None:
            pass
        told.set()
