"""What a worker is made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from taskq.app import App
from taskq.config import WorkerOptions
from taskq.ports import Backend
from taskq.runtime.executor import Executor
from taskq.runtime.fetcher import Fetcher
from taskq.runtime.fitness import Fitness
from taskq.runtime.progress import ProgressWriter
from taskq.runtime.queue_settings import SettingsWatch
from taskq.runtime.recorder import LAG, LATENCY, Recorder
from taskq.runtime.restraint import Restraint
from taskq.runtime.rolling import Rolling
from taskq.runtime.run import StopReason
from taskq.runtime.service import Tick
from taskq.runtime.settler import Settler
from taskq.runtime.transactions import Transactions


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a worker that has started."""

    settler: Settler
    executor: Executor
    fetcher: Fetcher
    progress: ProgressWriter
    settings: SettingsWatch
    restraint: Restraint
    recorder: Recorder
    rolling: Rolling
    fitness: Fitness

    def ticks(self) -> Sequence[tuple[str, Tick]]:
        """What is to be called again and again while the worker works, with its name."""
        return (
            ("progress", self.progress.tick),
            ("the settings of the queues", self.settings.tick),
            ("the figures", self.recorder.tick),
            ("the figures of the fleet", self.rolling.tick),
            ("the fitness of the store", self.fitness.tick),
            *self.restraint.ticks(),
        )

    async def farewell(self, timeout: float) -> None:
        """Tell the store the last figures, and leave the duty to others, if it listens within `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.recorder.farewell()
                await self.rolling.farewell()


def build(
    app: App, options: WorkerOptions, worker: str, backend: Backend, state: object, is_paused: Callable[[], bool]
) -> Parts:
    """Make them and join them.

    Arguments:
        app: the application.
        options: queues, slots, lease and so on.
        worker: the random id of this start.
        backend: the store, opened for the worker's loop.
        state: what the application's lifespan yielded.
        is_paused: whether somebody has told the worker to pause.
    """
    restraint = Restraint(options, worker, backend)
    recorder = Recorder(
        backend.metrics,
        {LATENCY: restraint.latency.noted, LAG: restraint.pressure.lags},
        lambda: {**executor.slots.levels(), "processes": 1, "pressed": int(bool(restraint.reason))},
        app.stores.submitted.numbers,
    )
    settler = Settler(backend.broker, (*restraint.hooks, recorder.settled, *app.middleware.on_settled))
    progress = ProgressWriter(
        backend.annotations,
        backend.events,
        lambda: executor.runs.values(),
        lambda run: executor.stop_run(run, StopReason.LOST),
    )
    settings = SettingsWatch(backend.queues, tuple(options.queues))
    executor = Executor(
        app,
        options,
        settle=settler.put,
        unsettled=lambda: len(settler.held),
        last_word=progress.last_word,
        inspector=backend.inspector,
        settings=settings.of,
        state=state,
        work_of=Transactions(app, options, backend, settler.accepted).work_of,
    )
    executor.slots.on_end = recorder.ended
    fetcher = Fetcher(
        backend.broker,
        executor,
        options,
        worker,
        lambda: is_paused() or settler.is_full or bool(restraint.reason),
        lambda queue: settings.of(queue).weight,
        restraint.pace,
        restraint.latency,
    )
    rolling = Rolling(partial(_given, backend), worker)
    return Parts(settler, executor, fetcher, progress, settings, restraint, recorder, rolling, Fitness(backend))


async def _given(backend: Backend) -> Backend:
    return backend
