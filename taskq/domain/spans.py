"""How people write durations and instants, the same everywhere: "90s", "1h30m", "2030-01-02T03:04Z"."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


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
