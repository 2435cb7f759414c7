"""Other options for a worker that runs: those that can take effect without a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from taskq.config import WorkerOptions

if TYPE_CHECKING:
    from taskq.runtime.worker import Worker

OPTIONS = (
    *("rate", "max_rss", "max_loop_lag", "max_backend_latency"),
    *("max_tasks", "max_memory", "shutdown_timeout"),
)


def retuned(now: WorkerOptions, wanted: WorkerOptions) -> WorkerOptions:
    """What is wanted, as far as it can take effect; queues only where they are the same with other weights.

    >>> now = WorkerOptions(concurrency=10, rate=5.0)
    >>> after = retuned(now, WorkerOptions(concurrency=20, rate=8.0))
    >>> after.concurrency, after.rate
    (10, 8.0)
    """
    queues = wanted.queues if set(wanted.queues) == set(now.queues) else now.queues
    return replace(now, queues=queues, **{name: getattr(wanted, name) for name in OPTIONS})


def retune(worker: Worker, wanted: WorkerOptions) -> None:
    """Have a worker keep to other options from now on; called in its event loop."""
    worker.options = options = retuned(worker.options, wanted)
    if worker.parts is not None:
        worker.parts.restraint.retune(options)
        worker.parts.fetcher.retune(options)
