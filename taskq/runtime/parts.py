"""What a worker is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from taskq.app import App
from taskq.config import WorkerOptions
from taskq.ports import Backend
from taskq.runtime.executor import Executor
from taskq.runtime.fetcher import Fetcher
from taskq.runtime.progress import ProgressWriter
from taskq.runtime.queue_settings import SettingsWatch
from taskq.runtime.restraint import Restraint
from taskq.runtime.run import StopReason
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
    settler = Settler(backend.broker, (*restraint.hooks, *app.middleware.on_settled))
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
    return Parts(settler, executor, fetcher, progress, settings, restraint)
