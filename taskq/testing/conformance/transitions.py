"""The walk over the state table: each state meets each operation, and only what the table allows happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from taskq.domain.message import Delivery
from taskq.domain.outcome import EVENTS, Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.outcome import state_after as after_settlement
from taskq.domain.state import TRANSITIONS, Event, TaskState, is_allowed
from taskq.domain.workflow import Edge
from taskq.ports import QueueConfig
from taskq.testing.conformance.bench import FAILURE, LONG, Bench
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import SETTLEMENTS, forged, name_of


class Terms(NamedTuple):
    """How a task is brought into its state, so that the operation finds something to do where it may."""

    delay: float = LONG
    loses: bool = False
    expires: bool = False


class Situation(NamedTuple):
    """A state, and whether its task is there because its lease was lost."""

    state: TaskState
    is_late: bool = False

    def __str__(self) -> str:
        return f"{self.state.name}-late" if self.is_late else self.state.name


class Operation(NamedTuple):
    """Something that is done to a task: the event it stands for, and the terms under which that may happen."""

    name: str
    event: Event
    act: Callable[[Bench, Delivery], Awaitable[object]]
    terms: Terms = Terms()
    settlement: Settlement | None = None


SITUATIONS = (
    *map(Situation, TaskState),
    Situation(TaskState.PENDING, is_late=True),
)

_ENDS: dict[TaskState, Settlement] = {
    TaskState.COMPLETED: Complete(),
    TaskState.FAILED: Fail("exhausted", FAILURE),
    TaskState.DEAD: Bury("exhausted", FAILURE),
    TaskState.CANCELLED: Cancel("enough"),
}


async def arrange(bench: Bench, situation: Situation, terms: Terms) -> Delivery:
    """Bring a new task into a state; returns its newest delivery, or a forged one where it has none."""
    # Long enough to be claimed first, however slow the store is.
    fields: dict[str, Any] = {"expires": bench.kit.tick} if terms.expires else {}
    match situation:
        case Situation(TaskState.PENDING, is_late=True):
            return await bench.lost(**fields)
        case Situation(TaskState.BLOCKED):
            parent = await bench.put(f"{bench.queue}-parent")
            return forged(bench, (await bench.put(parents=(Edge(parent.id),), **fields)).id)
        case Situation(TaskState.PENDING):
            return forged(bench, (await bench.put(**fields)).id)
        case Situation(TaskState.EXPIRED):
            task = await bench.put(**{**fields, "expires": bench.short})
            await bench.lapse()
            await bench.backend.maintenance.expire()
            return forged(bench, task.id)
    lapses = terms.loses and situation.state == TaskState.RUNNING
    delivery = await bench.running(bench.short if lapses else LONG, **fields)
    if situation.state == TaskState.SCHEDULED:
        await bench.apply(delivery, Snooze(terms.delay))
    elif situation.state == TaskState.RETRYING:
        await bench.apply(delivery, Retry(terms.delay, FAILURE))
    elif situation.state != TaskState.RUNNING:
        await bench.apply(delivery, _ENDS[situation.state])
    return delivery


async def fetch(bench: Bench, delivery: Delivery) -> None:
    """Claim whatever is there."""
    await bench.take()


async def promote(bench: Bench, delivery: Delivery) -> None:
    """Make due tasks ready."""
    await bench.backend.maintenance.promote()


async def cancel(bench: Bench, delivery: Delivery) -> None:
    """Ask for the task to be cancelled."""
    await bench.backend.broker.cancel([delivery.id])


async def lose(bench: Bench, delivery: Delivery) -> None:
    """Let the lease run out, and reap."""
    await bench.lapse()
    await bench.reap()


async def expire(bench: Bench, delivery: Delivery) -> None:
    """Let the time to live run out."""
    await bench.pass_time(bench.kit.tick * 1.5)
    await bench.backend.maintenance.expire()


async def redrive(bench: Bench, delivery: Delivery) -> None:
    """Start anew."""
    await bench.backend.inspector.redrive([delivery.id])


async def prune(bench: Bench, delivery: Delivery) -> None:
    """Let a newer task end in the same way, of which the queue may keep one."""
    record = await bench.backend.inspector.get(delivery.id)
    if record is not None and record.state.is_final:
        await bench.pass_time(bench.short)
        dead = record.state == TaskState.DEAD
        await bench.apply(await bench.running(), Bury("x", FAILURE) if dead else Complete())
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=1))
    await bench.backend.maintenance.prune()


def settling(settlement: Settlement) -> Operation:
    """The operation of settling the newest run."""

    async def act(bench: Bench, delivery: Delivery) -> None:
        await bench.settle(delivery, settlement)

    return Operation(f"settle {name_of(settlement)}", EVENTS[type(settlement)], act, settlement=settlement)


OPERATIONS = (
    Operation("fetch", Event.FETCH, fetch),
    *map(settling, SETTLEMENTS),
    Operation("promote", Event.DUE, promote, Terms(delay=0.0)),
    Operation("cancel", Event.CANCEL, cancel),
    Operation("lose the lease", Event.LEASE_LOST, lose, Terms(loses=True)),
    Operation("expire", Event.EXPIRE, expire, Terms(expires=True)),
    Operation("redrive", Event.REDRIVE, redrive),
    Operation("prune", Event.PRUNE, prune),
)


def expected(situation: Situation, operation: Operation) -> TaskState | None:
    """The state after the operation, by the table."""
    state, is_late = situation
    if state == TaskState.RUNNING and operation.name == "cancel":
        return TaskState.RUNNING  # a request, which the worker's settlement answers
    has_no_run = state != TaskState.RUNNING and not is_late
    if not is_allowed(operation.event, state) or (operation.settlement is not None and has_no_run):
        return state
    allowed = TRANSITIONS[operation.event, state]
    after = _outcome(operation, allowed)
    assert after in allowed
    return after


def _outcome(operation: Operation, allowed: frozenset[TaskState | None]) -> TaskState | None:
    if operation.settlement is not None:
        return after_settlement(
            operation.settlement,
            cancel_requested=False,
            dead_letter=True,
            lost_leases=int(isinstance(operation.settlement, Crash)),
            max_lost_leases=3,
        )
    if operation.event in (Event.LEASE_LOST, Event.REDRIVE):
        return TaskState.PENDING
    [after] = allowed
    return after


class TransitionRules(Kit):
    """`taskq.domain.state.TRANSITIONS`, walked."""

    @pytest.mark.parametrize("situation", SITUATIONS, ids=str)
    async def test_a_state_is_left_only_as_the_table_says(self, bench: Bench, situation: Situation) -> None:
        for operation in OPERATIONS:
            pair = bench.apart(operation.name)
            delivery = await arrange(pair, situation, operation.terms)
            if operation.event != Event.EXPIRE:
                assert await pair.state(delivery.id) == situation.state, operation.name
            await operation.act(pair, delivery)
            record = await pair.backend.inspector.get(delivery.id)
            after = None if record is None else record.state
            assert after == expected(situation, operation), operation.name

    async def test_a_cancel_request_turns_another_run_into_an_end(self, bench: Bench) -> None:
        for settlement in SETTLEMENTS:
            pair = bench.apart(name_of(settlement))
            delivery = await pair.running()
            await pair.backend.broker.cancel([delivery.id], "enough")
            record = await pair.apply(delivery, settlement)
            assert record.state == after_settlement(
                settlement, cancel_requested=True, dead_letter=True, lost_leases=1, max_lost_leases=3
            )
            assert record.state.is_final
            assert record.completed_at is not None
            if isinstance(settlement, Release | Retry | Snooze | Crash):
                assert (record.state, record.reason) == (TaskState.CANCELLED, "enough")
