"""What a store keeps of a schedule: written, read, changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import msgspec
import pytest

from taskq.domain.schedule import Note, Why
from taskq.domain.timing import At, Cron, Every, Timing
from taskq.errors import CorruptRecord, InvalidOption
from taskq.schedule_spec import (
    MOST_FIRED,
    MOST_NOTES,
    Definition,
    Fired,
    Pause,
    Spec,
    State,
    differences,
    plain_timing,
    read_spec,
    read_state,
    read_timing,
    write,
)

NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)
NIGHTLY = Definition(task="report", timing={"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, jitter=30.0)


def note(minute: int, why: Why = Why.MISSED, number: int = 1) -> Note:
    """A line that is written that many minutes after noon."""
    at = NOON + timedelta(minutes=minute)
    return Note(why, at, at, number, at)


def fired(minute: int) -> Fired:
    """A fire that many minutes after noon."""
    at = NOON + timedelta(minutes=minute)
    return Fired(at, at, f"id-{minute}")


@pytest.mark.parametrize(
    "spec",
    [
        Spec(NIGHTLY),
        Spec(NIGHTLY, is_declared=True, changes={"jitter": 5.0}, pause=Pause("too loud", NOON, is_retirement=True)),
        Spec(Definition(task="t", timing={"every": 1.5}, arguments=b'{"x":"\xc3\xa9"}', start=NOON, end=NOON)),
    ],
)
def test_a_spec_is_read_as_it_was_written(spec: Spec) -> None:
    assert read_spec(write(spec)) == spec


def test_a_state_is_read_as_it_was_written() -> None:
    state = State(declared_at=NOON).with_fired([fired(0), Fired(None, NOON, "at once")]).with_notes([note(1)])
    assert read_state(write(state)) == state
    assert read_state(b"") == State()
    assert read_state(write(state)).notes == [note(1)]


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"definition":{"task":"t"}}', b'{"definition":{"timing":{}}}'])
def test_what_is_no_spec(data: bytes) -> None:
    with pytest.raises(CorruptRecord, match="the schedule cannot be read: "):
        read_spec(data)


def test_what_is_no_state() -> None:
    with pytest.raises(CorruptRecord, match="the state of the schedule cannot be read: "):
        read_state(b'{"fired":[1]}')
    line = b'{"lines":[{"why":"whim","first":"%b","last":"%b","number":1,"noted_at":"%b"}]}'
    instant = b"2026-03-06T12:00:00Z"
    with pytest.raises(CorruptRecord, match="says 'whim', which a later release may know"):
        _ = read_state(line % (instant, instant, instant)).notes


def test_fields_of_a_later_release_are_left_out() -> None:
    spec = msgspec.json.decode(write(Spec(NIGHTLY)))
    spec["mood"] = spec["definition"]["mood"] = "good"
    assert read_spec(msgspec.json.encode(spec)) == Spec(NIGHTLY)


def test_what_people_changed_goes_before_what_was_declared() -> None:
    wanted = msgspec.structs.replace(
        NIGHTLY, jitter=5.0, timing={"every": 60.0}, arguments=b'{"to":"you"}', end=NOON, options={"queue": "mail"}
    )
    spec = read_spec(write(Spec(NIGHTLY, changes=differences(NIGHTLY, wanted))))
    assert spec.effective == wanted
    assert spec.effective.rules().timing == Every(seconds=60)
    assert differences(NIGHTLY, NIGHTLY) == {}
    assert Spec(NIGHTLY).effective is NIGHTLY


def test_a_change_back_to_the_default_is_one() -> None:
    changes = differences(NIGHTLY, msgspec.structs.replace(NIGHTLY, jitter=0.0))
    assert changes == {"jitter": 0.0}
    assert read_spec(write(Spec(NIGHTLY, changes=changes))).effective.jitter == 0


def test_a_change_that_is_no_such_value() -> None:
    with pytest.raises(CorruptRecord, match="the schedule cannot be read: "):
        _ = Spec(NIGHTLY, changes={"jitter": "much"}).effective


def test_so_many_fires_and_lines_are_kept() -> None:
    state = State()
    for minute in range(MOST_NOTES + 20):
        state = state.with_fired([fired(2 * minute)]).with_notes([note(2 * minute + 1)])
    assert [one.id for one in state.fired] == [f"id-{2 * m}" for m in range(MOST_NOTES + 20)][-MOST_FIRED:]
    assert len(state.notes) == MOST_NOTES
    assert state.without_fired(state.fired[-1].id).fired == state.fired[:-1]


def test_lines_that_follow_each_other_become_one() -> None:
    state = State().with_notes([note(0, Why.OVERLAP)]).with_notes([note(1, Why.OVERLAP, 3)])
    assert state.notes == [note(1, Why.OVERLAP, 4)._replace(first=NOON)]
    assert len(state.with_notes([note(2, Why.MISSED)]).notes) == 2
    between = state.with_fired([fired(2)]).with_notes([note(3, Why.OVERLAP)])
    assert [line.number for line in between.notes] == [4, 1]
    assert len(State().with_notes([note(0), note(0)]).notes) == 2, "of one look each line stands for itself"


@pytest.mark.parametrize(
    "timing",
    [
        Cron("*/5 * * * *"),
        Cron("0 3 * * MON-FRI", "Europe/Berlin"),
        Every(seconds=0.5),
        Every(seconds=5400.0, anchor=NOON),
        At(NOON),
    ],
)
def test_a_timing_is_read_as_it_was_written(timing: Timing) -> None:
    assert read_timing(msgspec.json.decode(msgspec.json.encode(plain_timing(timing)))) == timing


def test_an_instant_is_written_in_universal_time() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    assert plain_timing(At(there)) == {"at": "2026-03-06T12:00:00Z"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "a timing is "),
        ({"cron": "@daily", "every": 5}, "a timing is "),
        ({"cron": "@often"}, "'@often' is no macro"),
        ({"cron": "@daily", "timezone": "Mars"}, "timezone must be a name"),
        ({"every": "5"}, "seconds must be a number, not '5'"),
        ({"every": 5, "anchor": "noon"}, "anchor must be an instant such as "),
        ({"every": 5, "anchor": "2026-03-06"}, "anchor must be an aware datetime"),
        ({"at": "noon"}, "at must be an instant such as 2027-01-01T00:00:00Z, not 'noon'"),
        ({"at": None}, "the instant of a schedule must be a datetime, not None"),
        ({"at": "2026-03-06T12:00:00"}, "must be an aware datetime"),
    ],
)
def test_what_is_no_timing(data: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        read_timing(data)


def test_a_timing_of_somebody_s_own() -> None:
    class Moon(At):
        pass

    for strange in (Moon(NOON), object()):
        with pytest.raises(InvalidOption, match=r"must be Cron\(…\), Every\(…\) or At\(…\), not "):
            plain_timing(cast("Timing", strange))
