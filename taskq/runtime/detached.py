"""Results that live on another backend than the tasks: written there first, under the run's fence."""

from __future__ import annotations

import asyncio
import logging

from taskq.app import App
from taskq.domain.outcome import Failed, Outcome, Succeeded
from taskq.domain.record import Failure
from taskq.runtime.opening import seal_result
from taskq.runtime.run import Run
from taskq.runtime.service import Backoff, said
from taskq.runtime.settler import STORE_IS_AWAY

PATIENCE = 2.0
"""Seconds after which a result that cannot be written is worth a line in the log."""
logger = logging.getLogger("taskq.worker")


async def keep_result(app: App, run: Run, outcome: Outcome) -> Outcome:
    """The outcome as it is to be settled: a result that is kept elsewhere is written there first.

    A store of results that is away is no fault of the task: the run goes on until it takes the result.
    """
    if not isinstance(outcome, Succeeded):
        return outcome
    result, limit = outcome.result, app.settings.max_result
    if len(result) > limit:
        text = f"the result takes {len(result):,} bytes, over max_result ({limit:,}): store it elsewhere"
        return Failed(Failure("ResultTooLarge", text), retryable=False)
    if not app.stores.has_detached_results:
        return outcome
    sealed = seal_result(run.task, run.delivery, run.headers, result)
    run.deadline = None  # the task itself was in time
    retention = run.task.declared.retention if run.headers.retention is None else run.headers.retention
    # Said early, for the store itself tries for a while before it gives up.
    patience = asyncio.get_running_loop().call_later(
        PATIENCE, logger.warning, "task %s waits for the store of the results, which does not answer", run.delivery.id
    )
    backoff = Backoff()
    try:
        while True:
            try:
                store = await app.stores.detached_results()
                assert store is not None
                await store.put(run.delivery.id, run.delivery.fence, sealed, retention)
                return Succeeded(b"null")
            except STORE_IS_AWAY as error:
                pause = backoff.pause()
                logger.warning("the store of the results is away, next try in %.1f s: %s", pause, said(error))
                await asyncio.sleep(pause)
    finally:
        patience.cancel()
