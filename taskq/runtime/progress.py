"""Writes what runs say of themselves, how far they are and what is to be kept: the newest, twice a second at most."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

from taskq.errors import TaskqError
from taskq.following import progress_event
from taskq.ports import Annotations, EventBus
from taskq.runtime.resuming import seal_checkpoint
from taskq.runtime.run import Run
from taskq.runtime.service import said

WRITE_EVERY = 0.5
LAST_WORD = 2.0
"""Seconds that a store which is away may hold up the end of a run over its last progress."""
logger = logging.getLogger("taskq.worker")


class ProgressWriter:
    """Takes what runs have reported to the store.

    Arguments:
        annotations: where it is written.
        events: where it is hinted at.
        runs: those that are held now.
        lost: told of a run whose lease turns out to be another's.
    """

    def __init__(
        self, annotations: Annotations, events: EventBus, runs: Callable[[], Iterable[Run]], lost: Callable[[Run], None]
    ) -> None:
        self._annotations = annotations
        self._events = events
        self._runs = runs
        self._lost = lost

    async def tick(self) -> float:
        """Write what was reported since the last time; returns the seconds to the next one."""
        runs = [run for run in self._runs() if run.has_word]
        told = [run.delivery.id for run in runs if run.progress is not None]
        await asyncio.gather(*(self._write(run) for run in runs))
        if told:
            await self._events.publish([progress_event(id) for id in told])
        return WRITE_EVERY

    async def last_word(self, run: Run) -> None:
        """Write what a run reported last, before it is settled: afterwards its fence is worth nothing."""
        try:
            with contextlib.suppress(TaskqError, TimeoutError):
                async with asyncio.timeout(LAST_WORD):
                    await self._write(run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has ended and is to be settled
            logger.error("the last progress of task %s was not written: %s", run.delivery.id, said(error))

    async def _write(self, run: Run) -> None:
        run.pen = run.pen or asyncio.Lock()
        async with run.pen:  # what is on its way must not be overtaken by what comes later, nor by the settlement
            await self._write_newest(run)

    async def _write_newest(self, run: Run) -> None:
        if run.own is not None or run.is_quiet(time.monotonic()):
            return  # its task is locked by the transaction that completes it, or has ended
        checkpoint, progress, lines = run.take_checkpoint(), run.take_progress(), run.take_lines()
        try:
            is_ours = True
            if checkpoint is not None:
                sealed = seal_checkpoint(run.task, run.delivery.id, run.headers, checkpoint)
                is_ours = await self._annotations.checkpoint(run.delivery, sealed)
                checkpoint = None
            if progress is not None and is_ours:
                is_ours = await self._annotations.progress(run.delivery, progress)
                progress = None
            if lines and is_ours:
                is_ours = await self._annotations.log(run.delivery, lines)
        except TaskqError:
            # To be said again, where nothing newer was said meanwhile.
            if run.checkpoint is None:
                run.checkpoint = checkpoint
            if run.progress is None:
                run.progress = progress
            if run.lines is not None:
                run.lines.extendleft(reversed(lines))
            raise
        if not is_ours:
            self._lost(run)
