"""Results on their way to where they are kept: in a cache, and on another backend than the tasks, under the fence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from taskq.app import App
from taskq.domain.outcome import Failed, Outcome, Succeeded
from taskq.domain.record import Failure
from taskq.runtime.cache import cache_id, recall, remember
from taskq.runtime.opening import seal_result
from taskq.runtime.run import Run
from taskq.runtime.service import Backoff, said
from taskq.runtime.settler import STORE_IS_AWAY

PATIENCE = 2.0
"""Seconds after which a result that cannot be written is worth a line in the log."""
logger = logging.getLogger("taskq.worker")


async def call_or_recall(app: App, run: Run, call: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """The outcome of a run of a task whose results are cached: without a call where there is one."""
    id = cache_id(app.namespace, run.task, run.delivery.tenant, run.payload)
    found = await recall(app, id)
    if found is not None:
        return await keep_result(app, run, Succeeded(found))
    run.cache_id = id
    return await call()


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
    if run.cache_id is not None:
        run.deadline = None  # as below
        await remember(app, run.cache_id, result, run.task.declared.cache or 0.0)
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
