"""How people write durations and instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskq.domain.spans import parse_duration, parse_instant, spoken


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("1.5", 1.5),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86_400),
        ("1w", 604_800),
        ("250ms", 0.25),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-1", "2 h", "h", "2x", "nan", "inf", "1e400", "9999999999999d", "2h!"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(text) if text else parse_duration("x")


def test_an_instant_without_a_zone_is_of_the_one_that_is_given() -> None:
    east = timezone(timedelta(hours=2))
    assert parse_instant("2030-01-02T03:04") == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    assert parse_instant("2030-01-02T03:04", east) == datetime(2030, 1, 2, 1, 4, tzinfo=UTC)
    assert parse_instant("2030-01-02T03:04Z", east) == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    assert parse_instant("2030-01-02", None) == datetime(2030, 1, 2).astimezone(UTC)


@pytest.mark.parametrize("text", ["", "x", "2030-13-01", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_instant(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (10, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_799, "48 h"),
        (172_800, "2 d"),
        (86_400_000, "1,000 d"),
    ],
)
def test_a_duration_is_told_in_its_greatest_unit(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
