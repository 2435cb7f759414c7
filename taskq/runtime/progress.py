"""Writes how far runs are, the newest word of each, at most twice a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

from taskq.errors import TaskqError
from taskq.ports import Annotations
from taskq.runtime.run import Run

WRITE_EVERY = 0.5
LAST_WORD = 2.0
"""Seconds that a store which is away may hold up the end of a run over its last progress."""


class ProgressWriter:
    """Takes what runs have reported to the store.

    Arguments:
        annotations: where it is written.
        runs: those that are held now.
        lost: told of a run whose lease turns out to be another's.
    """

    def __init__(
        self, annotations: Annotations, runs: Callable[[], Iterable[Run]], lost: Callable[[Run], None]
    ) -> None:
        self._annotations = annotations
        self._runs = runs
        self._lost = lost

    async def tick(self) -> float:
        """Write what was reported since the last time; returns the seconds to the next one."""
        await asyncio.gather(*(self._write(run) for run in tuple(self._runs()) if run.progress is not None))
        return WRITE_EVERY

    async def last_word(self, run: Run) -> None:
        """Write what a run reported last, before it is settled: afterwards its fence is worth nothing."""
        with contextlib.suppress(TaskqError, TimeoutError):
            async with asyncio.timeout(LAST_WORD):
                await self._write(run)

    async def _write(self, run: Run) -> None:
        if run.own is not None or run.is_quiet(time.monotonic()):
            return  # its task is locked by the transaction that completes it, or has ended
        progress = run.take_progress()
        if progress is None:
            return
        try:
            is_ours = await self._annotations.progress(run.delivery, progress)
        except TaskqError:
            if run.progress is None:
                run.progress = progress
            raise
        if not is_ours:
            self._lost(run)
