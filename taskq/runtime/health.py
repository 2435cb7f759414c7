"""Whether a worker, or a beat, lives and is ready."""

from __future__ import annotations

import time

from taskq.domain.health import STARTING, Health
from taskq.errors import BackendUnavailable, OutcomeUnknown, SchemaMismatch, TaskqError
from taskq.ports import WorkerState
from taskq.runtime.fetcher import Fetcher
from taskq.runtime.reports import BLOCKED
from taskq.runtime.service import said
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
        **_checks_of_claims(parts.fetcher),
        **_checks_of_store(parts.fitness.trouble),
        "worker": info.pressure or str(info.state),
    }
    is_fit = worker.is_healthy and parts.fitness.trouble is None
    return Health(is_live, is_live and is_fit and not is_stopping, checks)


def trouble_of(error: BaseException) -> tuple[str, str]:
    """What it is that a store was asked for in vain, and why.

    >>> trouble_of(SchemaMismatch("the schema is missing: run: taskq migrate"))
    ('schema', 'the schema is missing: run: taskq migrate')
    """
    if isinstance(error, BackendUnavailable | OutcomeUnknown | TimeoutError):
        return "store", "does not answer"
    if isinstance(error, SchemaMismatch):
        return "schema", said(error)
    return "claims", f"refused: {said(error)}"


def _checks_of_store(trouble: TaskqError | None) -> dict[str, str]:
    return {} if trouble is None else {"schema" if isinstance(trouble, SchemaMismatch) else "store": str(trouble)}


def _checks_of_claims(fetcher: Fetcher) -> dict[str, str]:
    """What the newest claim tells, which asks for tasks of all queues: of the store, of its schema, of the claims."""
    refusal = fetcher.refusal
    if refusal is None:
        if not fetcher.has_claimed:
            return {"store": "answers", "claims": "none yet"}
        return {"store": "answers", "schema": "fits", "claims": "answered"}
    what, why = trouble_of(refusal)
    return {"store": "answers", what: why}
