"""What fires of a schedule whose time has come, and what its ledger says of the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.schedule import GRACE, MOST_COUNTED, MOST_FIRES, Due, Note, Rules, Why, after_pause, due, put_off
from taskq.domain.timing import At, Cron, Every, Timing
from taskq.errors import InvalidOption

NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)
HOURLY, SECONDLY = Every(hours=1), Every(seconds=1)


def note(why: Why, first: int, last: int, number: int, now: datetime) -> Note:
    """A line of the ledger, of instants at so many hours after noon."""
    return Note(why, hours(first)[0], hours(last)[0], number, now)


def hours(*numbers: int) -> list[datetime]:
    """So many hours after noon."""
    return [NOON + timedelta(hours=number) for number in numbers]


def after_noon(**span: float) -> datetime:
    """An instant after noon."""
    return NOON + timedelta(**span)


def test_before_its_time_nothing_is_done() -> None:
    assert due(Rules(timing=HOURLY), NOON, after_noon(seconds=-1)) == Due([], [], NOON)


@pytest.mark.parametrize("misfire", ["skip", "latest", "all"])
def test_in_its_time_it_fires(misfire: str) -> None:
    rules = Rules(timing=HOURLY, misfire=misfire)
    assert due(rules, NOON, NOON) == Due([NOON], [], hours(1)[0])
    assert due(rules, NOON, after_noon(seconds=GRACE)) == Due([NOON], [], hours(1)[0])


def test_all_that_are_due_within_the_grace_fire() -> None:
    found = due(Rules(timing=Every(seconds=10), misfire="skip"), NOON, after_noon(seconds=35))
    assert found.fires == [after_noon(seconds=each) for each in (0, 10, 20, 30)]
    assert (found.notes, found.next_at) == ([], after_noon(seconds=40))


@pytest.mark.parametrize(
    ("misfire", "fires", "notes"),
    [
        ("skip", [], [(Why.MISSED, 0, 3, 4)]),
        ("latest", [3], [(Why.MISSED, 0, 2, 3), (Why.LATE, 3, 3, 1)]),
        ("all", [0, 1, 2, 3], [(Why.LATE, 0, 3, 4)]),
    ],
)
def test_after_three_hours_without_a_beat(
    misfire: str, fires: list[int], notes: list[tuple[Why, int, int, int]]
) -> None:
    now = after_noon(hours=3, minutes=30)
    found = due(Rules(timing=HOURLY, misfire=misfire), NOON, now)
    assert found.fires == hours(*fires)
    assert found.notes == [note(*each, now) for each in notes]
    assert found.next_at == hours(4)[0]


@pytest.mark.parametrize("misfire", ["skip", "latest"])
def test_one_that_is_in_time_stands_for_those_that_are_late(misfire: str) -> None:
    now = after_noon(hours=2, seconds=5)
    found = due(Rules(timing=HOURLY, misfire=misfire), NOON, now)
    assert found == Due(hours(2), [note(Why.MISSED, 0, 1, 2, now)], hours(3)[0])


def test_all_are_bounded_and_the_newest_are_those_that_fire() -> None:
    now = after_noon(days=365)
    found = due(Rules(timing=SECONDLY, misfire="all"), NOON, now)
    assert len(found.fires) == MOST_FIRES
    assert found.fires[-1] == now
    assert found.notes[0] == Note(Why.MISSED, NOON, found.fires[0] - timedelta(seconds=1), MOST_COUNTED, now)


@pytest.mark.parametrize("overlap", ["skip", "cancel"])
def test_of_several_at_once_the_last_fires_where_none_may_overlap(overlap: str) -> None:
    now = after_noon(hours=3, seconds=1)
    found = due(Rules(timing=HOURLY, misfire="all", overlap=overlap), NOON, now)
    assert found.fires == hours(3)
    assert [(note.why, note.number) for note in found.notes] == [(Why.LATE, 3), (Why.OVERLAP, 3)]


def test_it_fires_from_its_start_to_its_end_both_included() -> None:
    rules = Rules(timing=HOURLY, misfire="all", start=hours(1)[0], end=hours(3)[0])
    assert rules.next_after(after_noon(days=-9)) == hours(1)[0]
    assert rules.next_after(hours(3)[0]) is None
    found = due(rules, hours(1)[0], after_noon(days=1))
    assert (found.fires, found.next_at) == (hours(1, 2, 3), None)


def test_one_instant_fires_once() -> None:
    rules = Rules(timing=At(NOON))
    assert rules.next_after(after_noon(days=-1)) == NOON
    assert due(rules, NOON, NOON) == Due([NOON], [], None)
    late = due(rules, NOON, after_noon(days=1))
    assert (late.fires, late.next_at) == ([NOON], None)
    assert due(Rules(timing=At(NOON), misfire="skip"), NOON, after_noon(days=1)).fires == []


def test_what_was_due_in_a_pause_does_not_fire_when_it_ends() -> None:
    rules, now = Rules(timing=HOURLY, misfire="all"), after_noon(hours=2, minutes=1)
    assert after_pause(rules, NOON, now) == Due([], [note(Why.PAUSED, 0, 2, 3, now)], hours(3)[0])
    assert after_pause(rules, hours(3)[0], now) == Due([], [], hours(3)[0])
    assert after_pause(rules, None, now) == Due([], [], None)
    ended = Rules(timing=HOURLY, end=hours(1)[0])
    assert after_pause(ended, NOON, now) == Due([], [note(Why.PAUSED, 0, 1, 2, now)], None)


@given(
    st.sampled_from([HOURLY, Every(minutes=7), Cron("30 2 * * *", "Europe/Berlin"), Cron("*/20 9-17 * * MON-FRI")]),
    st.sampled_from(["skip", "latest", "all"]),
    st.lists(st.timedeltas(timedelta(0), timedelta(days=2)), max_size=8),
)
def test_no_instant_fires_twice_and_none_is_forgotten(timing: Timing, misfire: str, waits: list[timedelta]) -> None:
    rules = Rules(timing=timing, misfire=misfire)
    now, next_at = NOON, rules.next_after(NOON)
    first, fired, missed = next_at, list[datetime](), 0
    for wait in waits:
        assert next_at is not None
        now += wait
        found = due(rules, next_at, now)
        fired += found.fires
        missed += sum(note.number for note in found.notes if note.why is Why.MISSED)
        assert found.next_at == rules.next_after(max(now, next_at - timedelta(microseconds=1)))
        next_at = found.next_at
    assert fired == sorted(set(fired))
    assert first is not None
    assert len(fired) + missed == timing.count(first, now, 10**9)


@given(st.datetimes(timezones=st.just(UTC)), st.floats(0.001, 86_400))
def test_a_fire_is_put_off_by_a_part_of_the_jitter_always_the_same(instant: datetime, jitter: float) -> None:
    drawn = put_off("report", instant, jitter)
    assert 0 <= drawn <= jitter
    assert drawn == put_off("report", instant.astimezone(UTC), jitter)


def test_the_parts_of_the_jitter_are_spread() -> None:
    drawn = sorted(put_off("report", hour, 1.0) for hour in hours(*range(1000)))
    assert all(n / 1000 - 0.06 < each < n / 1000 + 0.06 for n, each in enumerate(drawn))
    assert put_off("report", NOON, 1.0) != put_off("another", NOON, 1.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"misfire": "fire"}, "misfire must be one of skip, latest, all, not 'fire'"),
        ({"misfire": None}, "misfire must be one of"),
        ({"overlap": "never"}, "overlap must be one of allow, skip, cancel, not 'never'"),
        ({"jitter": -1}, "jitter must be from 0 s to a day, not -1"),
        ({"jitter": True}, "jitter must be"),
        ({"jitter": float("nan")}, "jitter must be"),
        ({"jitter": "5"}, "jitter must be"),
        ({"start": datetime(2026, 1, 1)}, "start must be an aware datetime"),  # noqa: DTZ001
        ({"end": "tomorrow"}, "end must be an aware datetime, not 'tomorrow'"),
        ({"start": NOON, "end": NOON - timedelta(seconds=1)}, r"end \(.*\) must not be before start \(.*\)"),
    ],
)
def test_rules_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        Rules(timing=HOURLY, **given)
