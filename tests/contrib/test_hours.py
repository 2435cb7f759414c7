"""When a window is open, and how long until it opens, also on the days when the clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import InvalidOption
from taskq.contrib.time_window import WEEKDAYS, Hours

BERLIN = "Europe/Berlin"  # forward at 2:00 on 29 March 2026, back at 3:00 on 25 October
ZONES = (BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu")


def at(text: str, zone: str = BERLIN, fold: int = 0) -> datetime:
    """An instant by the clocks of a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


@pytest.mark.parametrize(
    ("hours", "now", "is_open"),
    [
        (("08:00", "17:00"), "2026-03-06 08:00", True),
        (("08:00", "17:00"), "2026-03-06 07:59:59", False),
        (("08:00", "17:00"), "2026-03-06 17:00", False),
        (("22:00", "06:00"), "2026-03-06 23:00", True),
        (("22:00", "06:00"), "2026-03-07 05:59", True),
        (("22:00", "06:00"), "2026-03-07 06:00", False),
        (("00:00", "00:00"), "2026-03-07 12:00", True),
        (("12:00", "12:00"), "2026-03-07 11:00", True),
        ((time(8), time(17, 30)), "2026-03-06 17:29", True),
    ],
)
def test_hours_of_the_day(hours: tuple[Any, Any], now: str, is_open: bool) -> None:
    assert Hours(*hours, BERLIN).is_open(at(now)) is is_open


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-03-06 21:00", False),
        ("2026-03-06 23:00", True),  # Friday
        ("2026-03-07 05:00", True),  # the night of Friday
        ("2026-03-07 23:00", False),
        ("2026-03-06 05:00", False),  # the night of Thursday
    ],
)
def test_a_night_belongs_to_the_weekday_on_which_it_begins(now: str, is_open: bool) -> None:
    assert Hours("22:00", "06:00", BERLIN, ("fri",)).is_open(at(now)) is is_open


@pytest.mark.parametrize(
    ("hours", "now", "opening"),
    [
        (("08:00", "17:00"), at("2026-03-06 12:00"), at("2026-03-06 12:00")),
        (("08:00", "17:00"), at("2026-03-06 07:00"), at("2026-03-06 08:00")),
        (("08:00", "17:00"), at("2026-03-06 17:00"), at("2026-03-07 08:00")),
        (("08:00", "17:00", ("mon",)), at("2026-03-06 12:00"), at("2026-03-09 08:00")),
        # Across a change of the clocks a day has 23 or 25 hours.
        (("08:00", "17:00"), at("2026-03-28 18:00"), at("2026-03-29 08:00")),
        (("08:00", "17:00"), at("2026-10-24 18:00"), at("2026-10-25 08:00")),
        # In the gap: it opens at its end, unless it would be over by then.
        (("02:30", "04:00"), at("2026-03-29 01:00"), at("2026-03-29 03:00")),
        (("02:30", "02:45"), at("2026-03-29 01:00"), at("2026-03-30 02:30")),
        (("02:30", "02:45", ("sun",)), at("2026-03-29 01:00"), at("2026-04-05 02:30")),
        # In the hour that comes twice: open both times.
        (("02:30", "02:45"), at("2026-10-25 01:00"), at("2026-10-25 02:30")),
        (("02:30", "02:45"), at("2026-10-25 02:50"), at("2026-10-25 02:30", fold=1)),
        (("02:30", "02:45"), at("2026-10-25 02:50", fold=1), at("2026-10-26 02:30")),
        (("02:30", "04:00"), at("2026-10-25 02:10", fold=1), at("2026-10-25 02:30", fold=1)),
        # Over within that hour: put back, the clocks show an open time again.
        (("01:30", "02:30"), at("2026-10-25 02:45"), at("2026-10-25 02:00", fold=1)),
        (("22:00", "02:30"), at("2026-10-25 02:45"), at("2026-10-25 02:00", fold=1)),
        (("22:00", "02:30", ("sun",)), at("2026-10-25 02:45"), at("2026-10-25 22:00")),
    ],
)
def test_how_long_until_it_opens(hours: tuple[Any, ...], now: datetime, opening: datetime) -> None:
    start, end, *weekdays = hours
    window = Hours(start, end, BERLIN, *weekdays)
    assert now.astimezone(UTC) + timedelta(seconds=window.seconds_until_open(now)) == opening.astimezone(UTC)


@given(
    st.integers(0, 4 * 366 * 86_400),
    st.times(),
    st.times(),
    st.sampled_from(ZONES),
    st.sets(st.sampled_from(WEEKDAYS), min_size=1),
)
def test_it_is_open_then_and_not_before(second: int, start: time, end: time, zone: str, days: set[str]) -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    hours = Hours(start, end, zone, days)
    wait = hours.seconds_until_open(now)
    assert hours.is_open(now + timedelta(seconds=wait))
    assert wait <= 15 * 86_400
    if wait > 0:
        steps = (now + timedelta(seconds=wait * step / 200) for step in range(200))
        assert not any(hours.is_open(instant) for instant in steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("25:00", "06:00"), "start must be a time of day such as \"22:00\", not '25:00'"),
        (("22:00", 6), "end must be a time of day"),
        (("22:00", time(6, tzinfo=UTC)), "end must be a time of day"),
        (("22:00", "06:00", "Europe/Entenhausen"), "timezone must be a name such as Europe/Berlin"),
        (("22:00", "06:00", "../../etc/passwd"), "timezone must be a name"),
        (("22:00", "06:00", None), "timezone must be a name"),
        (("22:00", "06:00", "UTC", ()), "weekdays must be some of mon, tue"),
        (("22:00", "06:00", "UTC", "fri"), "weekdays must be some of mon, tue"),
        (("22:00", "06:00", "UTC", ("friday",)), "weekdays must be some of mon, tue"),
        (("22:00", "06:00", "UTC", 5), "weekdays must be some of mon, tue"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        Hours(*arguments)
