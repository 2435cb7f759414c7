"""Whether a worker, or a beat, lives and is ready."""

from __future__ import annotations

import time

from taskq.domain.health import STARTING, Health
from taskq.ports import WorkerState
from taskq.runtime.reports import BLOCKED
from taskq.runtime.worker import Worker


def health_of(worker: Worker) -> Health:
    """The health of a worker; from any thread."""
    parts, info = worker.parts, worker.info
    if parts is None:
        return STARTING
    still = time.monotonic() - parts.recorder.ticked_at
    is_live, is_stopping = still < BLOCKED, info.state is WorkerState.SHUTTING_DOWN
    checks = {
        "loop": "turns" if is_live else f"has stood still for {still:.0f} s",
        "store": "answers" if worker.is_healthy else "does not answer",
        "worker": info.pressure or str(info.state),
    }
    return Health(is_live, is_live and worker.is_healthy and not is_stopping, checks)
