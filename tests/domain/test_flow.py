"""What has become of tasks that are counted together, and which callbacks are due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from taskq.domain.flow import Callback, FlowKind, FlowRecord, FlowState, Tally, counted_as, due_callbacks, is_over
from taskq.domain.state import TaskState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(tally: Tally, *, is_closed: bool = True, cancelled: str | None = None) -> FlowRecord:
    """A flow with these numbers."""
    closed_at = NOW if is_closed else None
    return FlowRecord(
        id="5b", kind=FlowKind.BATCH, tally=tally, created_at=NOW, closed_at=closed_at, cancel_reason=cancelled
    )


@pytest.mark.parametrize(
    ("flow", "state"),
    [
        (record(Tally(), is_closed=False), FlowState.OPEN),
        (record(Tally(2, 2), is_closed=False), FlowState.OPEN),
        (record(Tally(2, 1)), FlowState.RUNNING),
        (record(Tally(2, 0, 1), cancelled="x"), FlowState.RUNNING),
        (record(Tally(2, 2)), FlowState.COMPLETED),
        (record(Tally(2, 2), cancelled="too late"), FlowState.COMPLETED),
        (record(Tally()), FlowState.COMPLETED),
        (replace(record(Tally(), cancelled=""), is_partial=True), FlowState.CANCELLED),
        (replace(record(Tally(2, 2), cancelled=""), is_partial=True), FlowState.CANCELLED),
        (record(Tally(2, 1, 1)), FlowState.FAILED),
        (record(Tally(2, 1, 0, 1)), FlowState.FAILED),
        (record(Tally(2, 1, 1), cancelled=""), FlowState.CANCELLED),
        (record(Tally(2, 1, 0, 1), cancelled="x"), FlowState.CANCELLED),
    ],
)
def test_where_a_flow_is(flow: FlowRecord, state: FlowState) -> None:
    assert flow.state is state


@pytest.mark.parametrize(
    ("spec", "metadata"),
    [
        (b'{"metadata":{"file":"rows.csv"},"ends":null}', {"file": "rows.csv"}),
        *((spec, {}) for spec in (b"", b"{}", b"[]", b'{"metadata":null}', b"nonsense", b"\xff", b"[" * 100_000)),
    ],
)
def test_the_metadata_are_in_what_the_user_says_of_it(spec: bytes, metadata: dict[str, str]) -> None:
    assert replace(record(Tally()), spec=spec).metadata == metadata


@pytest.mark.parametrize("state", [state for state in TaskState if state.is_final])
def test_every_end_is_counted_once(state: TaskState) -> None:
    tally = Tally(3, 1).adding("cancelled").adding(counted_as(state))
    assert tally.pending == 0
    assert Tally(3).adding("total", 2).adding("failed", -1) == Tally(5, 0, -1)


def test_how_ends_are_counted() -> None:
    counted = {state: counted_as(state) for state in TaskState if state.is_final}
    assert {state for state, name in counted.items() if name == "failed"} == {
        TaskState.FAILED,
        TaskState.DEAD,
        TaskState.EXPIRED,
    }
    assert (counted[TaskState.COMPLETED], counted[TaskState.CANCELLED]) == ("completed", "cancelled")


def test_when_a_flow_is_over() -> None:
    assert [is_over(Tally(2, ended), is_closed=closed) for ended, closed in product((1, 2), (False, True))] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("tally", "over", "cancelled", "partial", "due"),
    [
        (Tally(2, 1), False, False, False, set()),
        (Tally(3, 1, 1), False, False, False, {Callback.FAILURE}),
        (Tally(3, 1, 0, 1), False, False, False, {Callback.FAILURE}),
        (Tally(3, 1, 1), False, True, False, set()),
        (Tally(2, 2), True, False, False, {Callback.SUCCESS, Callback.COMPLETE}),
        (Tally(), True, False, False, {Callback.SUCCESS, Callback.COMPLETE}),
        (Tally(2, 1, 1), True, False, False, {Callback.FAILURE, Callback.COMPLETE}),
        (Tally(2, 1, 1), True, True, False, {Callback.COMPLETE}),
        (Tally(2, 2), True, True, False, {Callback.SUCCESS, Callback.COMPLETE}),
        (Tally(2, 2), True, True, True, {Callback.COMPLETE}),
        (Tally(), True, True, True, {Callback.COMPLETE}),
    ],
)
def test_callbacks_that_are_due(tally: Tally, over: bool, cancelled: bool, partial: bool, due: set[Callback]) -> None:
    assert set(due_callbacks(tally, set(), is_over=over, is_cancelled=cancelled, is_partial=partial)) == due
    for callback in Callback:
        left = due_callbacks(tally, {callback}, is_over=over, is_cancelled=cancelled, is_partial=partial)
        assert set(left) == due - {callback}
