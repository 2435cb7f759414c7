"""How people write durations and instants, the same everywhere: "90s", "1h30m", "2030-01-02T03:04Z"."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SPOKEN = ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h"))
"""Up to how many seconds a duration is told in which unit."""


def parse_duration(text: str) -> timedelta:
    """A duration from what was written; a plain number is seconds.

    Raises:
        ValueError: it is none.

    >>> parse_duration("2h"), parse_duration("1h30m"), parse_duration("90")
    (datetime.timedelta(seconds=7200), datetime.timedelta(seconds=5400), datetime.timedelta(seconds=90))
    """
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    else:
        seconds = float(text)
    try:
        found = timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(text) from None
    if found < timedelta(0):
        raise ValueError(text)
    return found


def spoken(seconds: float) -> str:
    """A duration as it is told to people, in its greatest unit of which there are two.

    >>> spoken(1.23), spoken(90), spoken(200), spoken(7200), spoken(200_000)
    ('1.2 s', '90 s', '3 min', '2 h', '2 d')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    for most, unit, name in _SPOKEN:
        if seconds < most:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / _SECONDS['d']:,.0f} d"


def parse_instant(text: str, zone: tzinfo | None = UTC) -> datetime:
    """An instant from what was written, in UTC.

    Arguments:
        text: as ISO 8601 has it.
        zone: of one that names none; None: that of this host.

    Raises:
        ValueError: it is none.

    >>> parse_instant("2030-01-02T03:04:05+01:00")
    datetime.datetime(2030, 1, 2, 2, 4, 5, tzinfo=datetime.timezone.utc)
    """
    found = datetime.fromisoformat(text)
    try:
        return (found if found.tzinfo is not None or zone is None else found.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:  # the first or the last day that there is
        raise ValueError(text) from None
