"""Workflows under an idempotency key as time goes by: given up, remembered, forgotten."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from taskq import App, FlowState, TaskState, Workflow, WorkflowRun, group
from taskq.domain.flow import NEVER_CLOSED
from taskq.domain.message import DEFAULT_RETENTION
from taskq.domain.outcome import Bury, Complete
from taskq.domain.record import Failure
from taskq.ports import Settled
from taskq.testing.clock import VirtualClock
from tests.unit.support import payload_of
from tests.worker.flows import dies_after, only_run, sums_of


async def end_all(app: App, *failing: int) -> None:
    """Be a worker until nothing is left; those whose x is one of these go to the dead letters."""
    broker = (await app.backend()).broker
    while True:
        fetched = await broker.fetch(["default"], 100, worker="w", lease=60, request_id=uuid4().hex)
        if not fetched.deliveries:
            return
        for delivery in fetched.deliveries:
            record = await app.handle(delivery.id).ainfo()
            is_bad = payload_of(record).get("x") in failing
            outcome = Bury("exhausted", Failure("E", "")) if is_bad else Complete(b"7")
            await broker.settle([Settled(delivery, outcome)])


async def upkeep(app: App) -> None:
    """What maintenance does from time to time."""
    maintenance = (await app.backend()).maintenance
    while await maintenance.relay():
        pass
    while await maintenance.prune():
        pass


async def test_it_is_given_up_after_ten_minutes(
    virtual_app: App, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = sums_of(virtual_app)
    flow = group(sums.add.s(n, n) for n in range(4))
    with dies_after(monkeypatch, 2):
        await flow.aenqueue(idempotency_key="k")
    dead = await only_run(virtual_app)
    clock.advance(NEVER_CLOSED - 1)
    await upkeep(virtual_app)
    assert await dead.astatus() is FlowState.OPEN
    clock.advance(1)
    await upkeep(virtual_app)
    assert await dead.astatus() is FlowState.CANCELLED
    run = await flow.aenqueue(idempotency_key="k")
    assert run.id != dead.id
    await end_all(virtual_app)
    assert await run.aresult(0) == [7] * 4


@pytest.mark.parametrize("retention", [0, 1, DEFAULT_RETENTION])
async def test_a_key_is_remembered_for_a_day_and_then_gives_a_new_run(
    virtual_app: App, clock: VirtualClock, retention: float
) -> None:
    add = sums_of(virtual_app).add.options(retention=retention)
    flow = Workflow("sums")
    flow.add(add.s(3, 4), after=flow.add(add.s(1, 2)))
    first = await flow.aenqueue(idempotency_key="k")
    await end_all(virtual_app)
    for _ in range(23):
        clock.advance(3600)
        await upkeep(virtual_app)
        assert (await flow.aenqueue(idempotency_key="k")).id == first.id
    assert await first.astatus() is FlowState.COMPLETED
    again = await until_anew(virtual_app, clock, flow)
    await end_all(virtual_app)
    assert (await again.aprogress()).completed == 2


async def until_anew(app: App, clock: VirtualClock, flow: Workflow) -> WorkflowRun[Any]:
    """Hour by hour there is the run that has ended, and at last one whose tasks all wait to run."""
    for _ in range(24 * 60):
        clock.advance(3600)
        await upkeep(app)
        run = await flow.aenqueue(idempotency_key="k")
        progress = await run.aprogress()
        if progress.pending:
            assert (progress.pending, len(await run.anodes())) == (len(flow), len(flow))
            return run
        assert progress.total == len(flow)
    raise AssertionError("the key is remembered for ever")


async def test_a_dead_letter_of_a_run_that_is_forgotten_is_not_taken_for_a_task_of_the_next(
    virtual_app: App, clock: VirtualClock
) -> None:
    """It is kept for longer than the run, and has the id that its task would have again."""
    sums = sums_of(virtual_app)
    flow = group(sums.add.options(retention=1).s(n, n) for n in range(4))
    first = await flow.aenqueue(idempotency_key="k")
    await end_all(virtual_app, 2)
    [dead] = await first.afailed()
    again = await until_anew(virtual_app, clock, flow)
    assert again.id != first.id
    assert (await virtual_app.handle(dead.id).ainfo()).state is TaskState.DEAD
    assert (await flow.aenqueue(idempotency_key="k")).id == again.id
    await end_all(virtual_app)
    assert await again.aresult(0) == [7] * 4
