"""When schedules fire: expressions, intervals, clocks that are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.timing import At, Cron, Every, Timing
from taskq.errors import InvalidOption

BERLIN = "Europe/Berlin"
NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)  # a Friday
FORWARD = datetime(2026, 3, 28, 20, tzinfo=UTC)
"""The evening before the clocks of Berlin go from 02:00 to 03:00."""
BACK = datetime(2026, 10, 24, 20, tzinfo=UTC)
"""The evening before they go from 03:00 back to 02:00."""
instants = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def fires(timing: Timing, since: datetime, count: int, timezone: str = "UTC") -> list[str]:
    """The next instants, as the clocks of a zone show them."""
    shown = list[str]()
    while len(shown) < count and (found := timing.after(since)) is not None:
        since = found
        shown.append(found.astimezone(ZoneInfo(timezone)).strftime("%d %H:%M:%S %z"))
    return shown


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/20 * * * *", ["06 12:20:00", "06 12:40:00", "06 13:00:00"]),
        ("5 4 * * *", ["07 04:05:00", "08 04:05:00"]),
        ("0 9-17/4 * * MON-FRI", ["06 13:00:00", "06 17:00:00", "09 09:00:00"]),
        ("0 0 1,15 * *", ["15 00:00:00", "01 00:00:00"]),
        ("0 0 L * *", ["31 00:00:00", "30 00:00:00"]),
        ("0 0 LW * *", ["31 00:00:00", "30 00:00:00", "29 00:00:00"]),
        ("0 0 * * FRI#2", ["13 00:00:00", "10 00:00:00"]),
        ("0 0 * * 5L", ["27 00:00:00", "24 00:00:00"]),
        ("0 0 13 * FRI", ["13 00:00:00", "20 00:00:00"]),
        ("0 0 * APR *", ["01 00:00:00", "02 00:00:00"]),
        ("0 0 * * sun", ["08 00:00:00", "15 00:00:00"]),
        ("0 0 * * 7", ["08 00:00:00", "15 00:00:00"]),
        ("*/30 * * * * *", ["06 12:00:30", "06 12:01:00"]),
        ("15 30 4 * * *", ["07 04:30:15", "08 04:30:15"]),
        ("5,10 0 13 * * *", ["06 13:00:05", "06 13:00:10", "07 13:00:05"]),
        ("@hourly", ["06 13:00:00", "06 14:00:00"]),
        ("@Daily", ["07 00:00:00", "08 00:00:00"]),
        ("@weekly", ["08 00:00:00", "15 00:00:00"]),
        ("@monthly", ["01 00:00:00"]),
        ("@yearly", ["01 00:00:00"]),
    ],
)
def test_expressions(expression: str, expected: list[str]) -> None:
    found = fires(Cron(expression), NOON, len(expected))
    assert found == [f"{each} +0000" for each in expected]


@pytest.mark.parametrize(
    ("expression", "forward", "back"),
    [
        ("30 2 * * *", ["29 03:00:00 +0200", "30 02:30:00 +0200"], ["25 02:30:00 +0200", "26 02:30:00 +0100"]),
        ("15,45 2 * * *", ["29 03:00:00 +0200", "30 02:15:00 +0200"], ["25 02:15:00 +0200", "25 02:45:00 +0200"]),
        ("0 30 2 * * *", ["29 03:00:00 +0200", "30 02:30:00 +0200"], ["25 02:30:00 +0200", "26 02:30:00 +0100"]),
        ("10,40 30 2 * * *", ["29 03:00:10 +0200", "29 03:00:40 +0200"], ["25 02:30:10 +0200", "25 02:30:40 +0200"]),
        ("*/30 2 * * *", ["30 02:00:00 +0200", "30 02:30:00 +0200"], ["25 02:00:00 +0200", "25 02:30:00 +0200"]),
        ("0 3 * * *", ["29 03:00:00 +0200", "30 03:00:00 +0200"], ["25 03:00:00 +0100", "26 03:00:00 +0100"]),
    ],
)
def test_clocks_that_are_put_forward_and_back(expression: str, forward: list[str], back: list[str]) -> None:
    cron = Cron(expression, BERLIN)
    assert fires(cron, FORWARD, 2, BERLIN) == forward
    assert fires(cron, BACK, 2, BERLIN) == back


def test_an_hour_that_comes_twice_counts_twice_where_time_itself_counts() -> None:
    assert fires(Cron("*/30 2 * * *", BERLIN), BACK, 5, BERLIN) == [
        *("25 02:00:00 +0200", "25 02:30:00 +0200", "25 02:00:00 +0100", "25 02:30:00 +0100"),
        "26 02:00:00 +0100",
    ]


@pytest.mark.parametrize("expression", ["45 2 * * *", "20 45 2 * * *"])
def test_what_fired_the_first_time_does_not_the_second(expression: str) -> None:
    second_time = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30 by the clocks, again
    assert fires(Cron(expression, BERLIN), second_time, 1, BERLIN)[0].startswith("26 02:45")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "must have five fields .* not 0$"),
        ("* * * *", "must have five fields .* not 4$"),
        ("* * * * * * *", "must have five fields .* not 7$"),
        ("@reboot", "'@reboot' is no macro; they are @yearly, "),
        ("61 * * * *", "its minute is wrong$"),
        ("* 24 * * *", "its hour is wrong$"),
        ("61 * * * * *", "its second is wrong$"),
        ("* * 0 * *", "its day-of-month is wrong$"),
        ("* * * 13 *", "its month is wrong$"),
        ("* * * * MON#6", "its day-of-week is wrong$"),
        ("*/0 * * * *", "its minute is wrong$"),
        ("1-5/x * * * *", "its minute is wrong$"),
        ("5-1 * * * *", "its minute is wrong$"),
        ("1,,2 * * * *", "its minute is wrong$"),
        ("0 0 31 4,6 *", "its day-of-month is wrong$"),
        ("0 0 */30 * MON#2", "never fires$"),
        (5, "a cron expression must be text, not 5"),
    ],
)
def test_expressions_that_cannot_be_read(expression: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        Cron(expression)


@pytest.mark.parametrize("expression", ["* * * * *", "* * * * * *", "0 0 29 2 *"])
def test_no_instant_lies_beyond_the_calendar(expression: str) -> None:
    assert Cron(expression, BERLIN).after(datetime.max.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd", None, 5])
def test_no_time_zone(timezone: Any) -> None:
    with pytest.raises(InvalidOption, match="timezone must be a name such as Europe/Berlin, not "):
        Cron("@daily", timezone)


@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "20 30 2,3 * * *", "*/5 2 * * SUN", "0 12 29 2 *", "15,45 * L * *"]),
    st.sampled_from(["UTC", BERLIN, "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"]),
    instants,
)
def test_what_fires_next_is_later_and_nothing_lies_between(expression: str, timezone: str, since: datetime) -> None:
    cron = Cron(expression, timezone)
    found = cron.after(since)
    assert found is not None
    assert found > since
    assert cron.after(found - timedelta(microseconds=1)) == found
    if found - since > timedelta(seconds=2):
        assert cron.after(since + (found - since) / 2) == found


# ---------------------------------------------------------------- intervals


def test_an_interval_is_on_its_grid_wherever_one_begins_to_look() -> None:
    assert fires(Every(minutes=90), NOON, 3) == ["06 13:30:00 +0000", "06 15:00:00 +0000", "06 16:30:00 +0000"]
    assert Every(seconds=30).after(NOON + timedelta(seconds=29.9)) == NOON + timedelta(seconds=30)
    anchored = Every(days=1, anchor=datetime(2027, 1, 1, 3, tzinfo=ZoneInfo("Asia/Tokyo")))
    assert fires(anchored, NOON, 2) == ["06 18:00:00 +0000", "07 18:00:00 +0000"]
    assert Every(hours=1, minutes=30).interval == timedelta(minutes=90)


def test_an_interval_ends_with_the_calendar() -> None:
    assert Every(days=3000).after(datetime(9999, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "an interval must be from 0.1 s to ten years, not 0 s"),
        ({"seconds": -5}, "not -5 s"),
        ({"seconds": 0.01}, "not 0.01 s"),
        ({"days": 4000}, "an interval must be"),
        ({"days": 1e300}, "an interval must be"),
        ({"seconds": float("nan")}, "an interval must be"),
        ({"minutes": "5"}, "minutes must be a number, not '5'"),
        ({"hours": True}, "hours must be a number, not True"),
        ({"seconds": 1, "anchor": datetime(2026, 1, 1)}, "anchor must be an aware datetime"),  # noqa: DTZ001
        ({"seconds": 1, "anchor": "2026"}, "anchor must be an aware datetime, not '2026'"),
    ],
)
def test_intervals_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        Every(**given)


# ---------------------------------------------------------------- one instant


def test_one_instant() -> None:
    at = At(datetime(2026, 3, 6, 14, tzinfo=ZoneInfo(BERLIN)))
    assert fires(at, NOON, 5) == ["06 13:00:00 +0000"]
    assert (at.count(NOON, NOON, 9), at.count(NOON, NOON + timedelta(hours=1), 9)) == (0, 1)


@pytest.mark.parametrize("given", [datetime(2026, 1, 1), "2026-01-01", None])  # noqa: DTZ001
def test_no_instant(given: Any) -> None:
    with pytest.raises(InvalidOption, match="the instant of a schedule must be a"):
        At(given)


# ---------------------------------------------------------------- what comes after what


@pytest.mark.parametrize("timing", [Cron("@daily"), Cron("5 0 3 * * *", BERLIN), Every(hours=1), At(NOON)])
@pytest.mark.parametrize("instant", [NOON.replace(tzinfo=None), NOON.date(), "2026-03-06", 5, None])
def test_what_comes_after_an_instant_of_no_time_zone(timing: Timing, instant: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^the instant must be an aware datetime, not "):
        timing.after(instant)


# ---------------------------------------------------------------- how many, and the newest


@given(
    st.sampled_from([Cron("*/5 * * * *"), Cron("30 2 * * *", BERLIN), Every(seconds=90), Cron("0 0 1 * *")]),
    instants,
    st.timedeltas(timedelta(0), timedelta(days=40)),
    st.integers(1, 12),
)
def test_the_newest_are_the_last_of_all(timing: Timing, since: datetime, span: timedelta, most: int) -> None:
    first = timing.after(since)
    assert first is not None
    last = first + span
    every, instant = list[datetime](), first
    while instant <= last:
        every.append(instant)
        following = timing.after(instant)
        assert following is not None
        instant = following
    assert timing.newest(first, last, most) == every[-most:]
    assert timing.count(first, last, most) == min(most, len(every))
    assert timing.newest(first, first - timedelta(seconds=1), most) == []


def test_the_newest_of_years_are_found_without_going_through_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[datetime] = []
    after = Cron.after

    def counted(self: Cron, instant: datetime) -> datetime | None:
        asked.append(instant)
        return after(self, instant)

    monkeypatch.setattr(Cron, "after", counted)
    newest = Cron("* * * * *").newest(datetime(2016, 1, 1, tzinfo=UTC), NOON, 3)
    assert newest == [NOON - timedelta(minutes=2), NOON - timedelta(minutes=1), NOON]
    assert len(asked) < 20
