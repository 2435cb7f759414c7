"""Start, stop and crash of a background concern, written once."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Sequence

from taskq.errors import TaskqError
from taskq.ports import Backend

Tick = Callable[[], Awaitable[float]]
"""One step of a service; returns the seconds to the next one."""

Beside = Callable[[Backend], Sequence[tuple[str, Tick]]]
"""Services that go along with a worker or a beat, by name, made for its store."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


class Backoff:
    """Pauses that grow while something keeps failing, with full jitter."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """It worked."""
        self._failures = 0

    def pause(self) -> float:
        """It failed once more: the seconds to wait."""
        self._failures += 1
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 10))
        return random.uniform(FIRST_PAUSE / 2, ceiling)


async def wait_for(event: asyncio.Event, timeout: float) -> bool:
    """Wait until the event is set, at most `timeout` seconds; whether it is."""
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()


def said(error: BaseException) -> str:
    """What a log may tell of an error: our own words; of anybody else's only its kind and where it was raised.

    The message of a foreign exception may hold the arguments of a task.
    """
    if isinstance(error, TaskqError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    where = f" at {frames[0].filename}:{frames[0].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


async def every(tick: Tick, stop: asyncio.Event, logger: logging.Logger, name: str) -> None:
    """Call `tick` again and again until `stop`: each call says when the next is due.

    A failure is logged, and the next tick comes after a growing pause: one of the store is an ordinary state, and any
    other ends no service either.
    """
    backoff = Backoff()
    while not stop.is_set():
        try:
            delay = await tick()
            backoff.reset()
        except Exception as error:  # noqa: BLE001 - see above
            delay = backoff.pause()
            level = logging.WARNING if isinstance(error, TaskqError) else logging.ERROR
            logger.log(level, "%s failed, next try in %.1f s: %s", name, delay, said(error))
        await wait_for(stop, delay)
