"""The state table: what it holds, and what follows from it."""

from __future__ import annotations

from itertools import product

import pytest

from taskq.domain.state import (
    FINAL,
    REDRIVABLE,
    TRANSITIONS,
    WAITING,
    Event,
    TaskState,
    check,
    diagram,
    is_allowed,
)
from taskq.errors import InvalidTransition

STATES: tuple[TaskState | None, ...] = (None, *TaskState)


def test_every_state_is_waiting_running_or_final_and_only_one_of_them() -> None:
    assert WAITING | FINAL | {TaskState.RUNNING} == set(TaskState)
    assert not WAITING & FINAL
    assert TaskState.RUNNING not in WAITING | FINAL
    assert {state for state in TaskState if state.is_final} == FINAL


def test_every_event_may_happen_and_leads_somewhere() -> None:
    assert {event for event, _ in TRANSITIONS} == set(Event)
    assert all(TRANSITIONS.values())


def test_every_state_can_be_entered_and_left() -> None:
    entered = {after for afters in TRANSITIONS.values() for after in afters}
    left = {before for _, before in TRANSITIONS}
    assert entered == left == set(STATES)


def test_every_state_leads_to_an_end() -> None:
    reached: set[TaskState | None] = set(FINAL)
    while True:
        before = {state for (_, state), afters in TRANSITIONS.items() if afters & reached}
        if before <= reached:
            break
        reached |= before
    assert reached == set(STATES)


def test_a_final_state_is_left_only_by_redrive_and_prune() -> None:
    for event, state in product(Event, FINAL):
        assert is_allowed(event, state) == (event == Event.PRUNE or (event == Event.REDRIVE and state in REDRIVABLE))


def test_a_success_is_never_redriven() -> None:
    assert {TaskState.COMPLETED} == FINAL - REDRIVABLE


def test_only_a_claim_makes_a_task_run() -> None:
    assert {event for (event, _), afters in TRANSITIONS.items() if TaskState.RUNNING in afters} == {Event.FETCH}
    assert TRANSITIONS[Event.FETCH, TaskState.PENDING] == {TaskState.RUNNING}


def test_a_waiting_task_can_be_cancelled_and_can_expire() -> None:
    for event, after in ((Event.CANCEL, TaskState.CANCELLED), (Event.EXPIRE, TaskState.EXPIRED)):
        assert {state for state in WAITING if is_allowed(event, state)} == WAITING
        assert all(TRANSITIONS[event, state] == {after} for state in WAITING)


def test_a_late_settle_leads_where_one_in_time_does() -> None:
    for event in (Event.SUCCEED, Event.RETRY, Event.SNOOZE, Event.RELEASE, Event.FAIL, Event.CANCEL):
        assert TRANSITIONS[event, TaskState.PENDING] == TRANSITIONS[event, TaskState.RUNNING]
    assert not is_allowed(Event.LEASE_LOST, TaskState.PENDING)


@pytest.mark.parametrize("event", Event)
def test_check_allows_what_the_table_holds_and_refuses_all_else(event: Event) -> None:
    for before, after in product(STATES, STATES):
        if after in TRANSITIONS.get((event, before), frozenset()):
            check(event, before, after)
        else:
            with pytest.raises(InvalidTransition, match=f"{event}: .* → .* is not in the state table"):
                check(event, before, after)


def test_the_diagram_has_an_arrow_for_each_pair_of_states() -> None:
    first, *arrows = diagram().splitlines()
    assert first == "stateDiagram-v2"
    pairs = {(before, after) for (_, before), afters in TRANSITIONS.items() for after in afters}
    drawn = [tuple(arrow.split(":")[0].split()) for arrow in arrows]
    assert sorted(drawn) == sorted((_node(before), "-->", _node(after)) for before, after in pairs)


def test_the_diagram_names_each_event_once_on_an_arrow() -> None:
    for arrow in diagram().splitlines()[1:]:
        labels = arrow.split(": ", 1)[1].split(" · ")
        assert len(labels) == len(set(labels))
        assert set(labels) <= {event.value for event in Event} | {"late settle"}


def _node(state: TaskState | None) -> str:
    return "[*]" if state is None else state.name
