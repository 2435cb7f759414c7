"""When a schedule fires: a cron expression, an interval, one instant. Plain frozen values without a clock.

A cron expression goes by the clocks on the wall of its time zone, as Debian's cron does (cron(8), "Notes"): what is due
in the hour that is left out when the clocks are put forward fires at the first moment after it, and what is due in the
hour that comes twice when they are put back fires the first time alone. An expression whose minute or hour begins with
a star goes by the time that passes: it fires in both of two such hours, and not in one that is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from taskq.errors import InvalidOption

if TYPE_CHECKING:
    from cronsim import CronSim

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEAST = timedelta(milliseconds=100)
"""No interval is shorter."""
_YEARS = datetime(2000, 1, 1, tzinfo=UTC)
"""An expression that never fires from here on, through all leap years of half a century, never does."""
_LONGEST_GAP = timedelta(hours=3)
"""By more than two hours no clocks are put forward; but once in a lifetime by a day, where a date line moves."""
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Timing(Protocol):
    """Tells the instants at which a schedule fires."""

    def after(self, instant: datetime) -> datetime | None:
        """The first one later than an instant, which is aware; None: there is no more.

        Raises:
            InvalidOption: the instant has no time zone.
        """
        ...

    def count(self, first: datetime, last: datetime, most: int) -> int:
        """How many there are from one of them to an instant, both included, counted up to `most`."""
        ...

    def newest(self, first: datetime, last: datetime, most: int) -> list[datetime]:
        """The last `most` from one of them to an instant, both included, in their order."""
        ...


class _Walked(Timing):
    """What can only be told from one instant to the next."""

    def count(self, first: datetime, last: datetime, most: int) -> int:
        """See Timing."""
        return sum(1 for _ in zip(self._between(first, last), range(most), strict=False))

    def newest(self, first: datetime, last: datetime, most: int) -> list[datetime]:
        """See Timing."""
        # They are told forwards alone, so look back over twice the time until there are enough.
        span = max(last - first, timedelta(seconds=1))
        width = timedelta(minutes=1) * most
        while width < span:
            found = list(self._between(last - width, last))
            if len(found) >= most:
                return found[-most:]
            width *= 2
        return list(self._between(first, last))[-most:]

    def _between(self, first: datetime, last: datetime) -> Iterator[datetime]:
        instant = self.after(first - timedelta(microseconds=1))
        while instant is not None and instant <= last:
            yield instant
            instant = self.after(instant)


@dataclass(frozen=True, slots=True)
class Cron(_Walked):
    """A cron expression: minute, hour, day of month, month, day of week; with six fields, seconds before them.

    Each is `*`, a number, a range, a list or steps of these; months and days of the week may be names of three letters.
    In the day of month `L` is the last one and `LW` the last one from Monday to Friday; in the day of week `FRI#2` is
    the second Friday of a month and `5L` the last. Where day of month and day of week both begin with no star, either
    is enough. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for what they say.

    Arguments:
        expression: five or six fields, or a macro.
        timezone: whose clocks count, such as "Europe/Berlin".

    Raises:
        InvalidOption: the expression cannot be read, or never fires, or there is no such time zone.

    >>> friday = Cron("30 17 * * FRI", timezone="Europe/Berlin")
    >>> friday.after(datetime(2026, 3, 24, tzinfo=UTC)).isoformat()
    '2026-03-27T16:30:00+00:00'
    >>> Cron("61 * * * *")
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: cron expression '61 * * * *': its minute is wrong
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        zone(self.timezone)
        if next(self._simulated(_YEARS), None) is None:
            raise InvalidOption(f"cron expression {self.expression!r} never fires")

    def after(self, instant: datetime) -> datetime | None:
        """See Timing.

        Arguments:
            instant: aware, in any time zone.

        >>> Cron("@daily").after(datetime(2026, 3, 6, tzinfo=UTC)).isoformat()
        '2026-03-07T00:00:00+00:00'
        """
        _check_given(instant)
        try:
            local = instant.astimezone(zone(self.timezone))
            # In an hour that comes twice what the clock shows may lie behind the instant.
            return next((found for each in self._simulated(local) if (found := each.astimezone(UTC)) > instant), None)
        except OverflowError:  # beyond the calendar
            return None

    def _simulated(self, local: datetime) -> Iterator[datetime]:
        """What fires after what the clocks show, in order."""
        given: object = self.expression
        if not isinstance(given, str):
            raise InvalidOption(f"a cron expression must be text, not {given!r}")
        fields = _MACROS.get(given.strip().lower(), given).split()
        if given.startswith("@") and fields == [given]:
            raise InvalidOption(f"cron expression {given!r} is no macro; they are {', '.join(_MACROS)}")
        if len(fields) not in (5, 6):
            raise InvalidOption(
                f"cron expression {given!r} must have five fields (minute, hour, day of month, month, day of week) or "
                f"six (the second before them), not {len(fields)}"
            )
        *seconds, minute, hour, _, _, _ = fields
        if not seconds or minute.startswith("*") or hour.startswith("*"):
            return self._parsed(fields, local)
        # cronsim follows the clocks of the wall in five fields alone, so the sixth is added here; from before any gap
        # in which what fires next may lie.
        marks = sorted(self._parsed(fields, local).seconds)
        minutes = self._parsed(fields[1:], local - _LONGEST_GAP)
        return (each.replace(second=mark) for each in minutes for mark in marks)

    def _parsed(self, fields: list[str], local: datetime) -> CronSim:
        from cronsim import CronSim, CronSimError

        try:
            return CronSim(" ".join(fields), local)
        except (CronSimError, ValueError, AssertionError) as error:
            what = str(error).removeprefix("Bad ") or "field"
            raise InvalidOption(f"cron expression {self.expression!r}: its {what} is wrong") from None


@dataclass(frozen=True, slots=True)
class Every:
    """An interval: its instants lie on the same grid for all time, wherever and whenever one begins to look.

    Arguments:
        seconds, minutes, hours, days: the interval, together; 0.1 s to ten years.
        anchor: an instant of the grid, aware; None: midnight UTC of 1 January 1970, so that every hour is on the hour.

    Raises:
        InvalidOption: the interval is out of its range, or the anchor has no time zone.

    >>> Every(minutes=90).after(datetime(2026, 3, 6, 10, 0, tzinfo=UTC)).isoformat()
    '2026-03-06T10:30:00+00:00'
    >>> Every(seconds=0)
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: an interval must be from 0.1 s to ten years, not 0 s
    """

    seconds: float = 0
    minutes: float = 0
    hours: float = 0
    days: float = 0
    anchor: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "minutes", "hours", "days"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidOption(f"{name} must be a number, not {value!r}")
        try:
            is_within = LEAST <= self.interval <= timedelta(days=3650)
        except (OverflowError, ValueError):
            is_within = False
        if not is_within:
            total = self.seconds + 60 * self.minutes + 3600 * self.hours + 86_400 * self.days
            raise InvalidOption(f"an interval must be from 0.1 s to ten years, not {total:g} s")
        check_aware("anchor", self.anchor)

    @property
    def interval(self) -> timedelta:
        """The time from one instant to the next."""
        return timedelta(seconds=self.seconds, minutes=self.minutes, hours=self.hours, days=self.days)

    def after(self, instant: datetime) -> datetime | None:
        """See Timing."""
        _check_given(instant)
        anchor = (self.anchor or EPOCH).astimezone(UTC)
        try:
            return anchor + ((instant - anchor) // self.interval + 1) * self.interval
        except OverflowError:  # beyond the calendar
            return None

    def count(self, first: datetime, last: datetime, most: int) -> int:
        """See Timing."""
        return min(most, (last - first) // self.interval + 1) if last >= first else 0

    def newest(self, first: datetime, last: datetime, most: int) -> list[datetime]:
        """See Timing."""
        number = (last - first) // self.interval + 1
        return [first + n * self.interval for n in range(max(0, number - most), number)]


@dataclass(frozen=True, slots=True)
class At(_Walked):
    """One instant.

    Raises:
        InvalidOption: it has no time zone.

    >>> new_year = At(datetime(2027, 1, 1, tzinfo=UTC))
    >>> new_year.after(datetime(2026, 3, 6, tzinfo=UTC)) == new_year.instant, new_year.after(new_year.instant)
    (True, None)
    """

    instant: datetime

    def __post_init__(self) -> None:
        if not isinstance(self.instant, datetime):
            raise InvalidOption(f"the instant of a schedule must be a datetime, not {self.instant!r}")
        check_aware("the instant of a schedule", self.instant)

    def after(self, instant: datetime) -> datetime | None:
        """See Timing."""
        _check_given(instant)
        return self.instant.astimezone(UTC) if instant < self.instant else None


def zone(name: object) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        InvalidOption: there is none of that name here.

    >>> zone("Europe/Berlin").key
    'Europe/Berlin'
    """
    try:
        if isinstance(name, str):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise InvalidOption(f"timezone must be a name such as Europe/Berlin, not {name!r}")


def check_aware(what: str, value: object) -> None:
    """Refuse what is neither None nor a datetime with a time zone.

    Raises:
        InvalidOption: names it.
    """
    if value is not None and not (isinstance(value, datetime) and value.tzinfo is not None):
        raise InvalidOption(f"{what} must be an aware datetime, not {value!r}")


def _check_given(instant: object) -> None:
    """Refuse an instant that says nothing of its zone: the zone of this host would be taken for it, or a TypeError say
    less."""
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise InvalidOption(f"the instant must be an aware datetime, not {instant!r}")
