"""Middleware that runs tasks only within certain hours, and puts them off at others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from taskq.config import check_identifier, shown
from taskq.context import TaskContext
from taskq.domain.outcome import Outcome, Snoozed
from taskq.domain.timing import zone
from taskq.errors import InvalidOption
from taskq.middleware import CallNext, Middleware

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HORIZON = 15
"""Days to look ahead: a window of one weekday that a change of the clocks leaves out is open a week later."""
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the day, on some days of the week, by the clocks on the wall of a time zone.

    What the clock shows counts: an hour that comes twice when the clocks are put back counts both times, and a window
    that would open in the hour which is left out when they are put forward opens at the first moment after it.

    Arguments:
        start: when they begin, "22:00" or a time.
        end: when they are over, on the next day if that is not later than `start`; the same time means a whole day.
        timezone: its name, such as "Europe/Berlin".
        weekdays: the days on which they begin, of "mon" to "sun".

    Raises:
        InvalidOption: one of them cannot be what it is.

    >>> night = Hours("22:00", "06:00", "Europe/Berlin", ("fri", "sat"))
    >>> night.is_open(datetime(2026, 3, 7, 1, 30, tzinfo=UTC))  # a Saturday
    True
    >>> night.seconds_until_open(datetime(2026, 3, 6, 20, 30, tzinfo=UTC))
    1800.0
    """

    start: time | str
    end: time | str
    timezone: str = "UTC"
    weekdays: Collection[str] = WEEKDAYS

    def __post_init__(self) -> None:
        for option in ("start", "end"):
            object.__setattr__(self, option, _as_time(option, getattr(self, option)))
        zone(self.timezone)
        days: object = self.weekdays
        if isinstance(days, str) or not isinstance(days, Collection) or not days or not set(days) <= set(WEEKDAYS):
            raise InvalidOption(f"weekdays must be some of {', '.join(WEEKDAYS)}, not {shown(days)}")

    def is_open(self, now: datetime) -> bool:
        """Whether an instant lies within these hours.

        Arguments:
            now: aware, in any time zone.

        >>> Hours("08:00", "17:00").is_open(datetime(2026, 3, 6, 17, tzinfo=UTC))
        False
        """
        wall = now.astimezone(zone(self.timezone))
        start, end, shows = _as_time("start", self.start), _as_time("end", self.end), wall.time()
        if start < end:
            return start <= shows < end and self._begins_on(wall.date())
        if shows >= start:
            return self._begins_on(wall.date())
        return shows < end and self._begins_on(wall.date() - timedelta(days=1))

    def seconds_until_open(self, now: datetime) -> float:
        """How long to wait until these hours begin; 0 within them.

        Arguments:
            now: aware, in any time zone.

        >>> weekdays = Hours("08:00", "17:00", weekdays=("mon", "tue", "wed", "thu", "fri"))
        >>> weekdays.seconds_until_open(datetime(2026, 3, 6, 17, tzinfo=UTC)) / 3600  # on a Friday
        63.0
        """
        if self.is_open(now):
            return 0.0
        return min((opening - now).total_seconds() for opening in self._openings(now))

    def _begins_on(self, day: date) -> bool:
        return WEEKDAYS[day.weekday()] in self.weekdays

    def _openings(self, now: datetime) -> Iterator[datetime]:
        """The instants after `now`, within the horizon, at which the hours may begin."""
        today = now.astimezone(zone(self.timezone)).date()
        for ahead in range(_HORIZON):
            wall = datetime.combine(today + timedelta(days=ahead), _as_time("start", self.start))
            found = (*_instants(wall, zone(self.timezone)), *_putting_back(wall.date(), zone(self.timezone)))
            yield from (each for each in found if each > now and self.is_open(each))


class TimeWindow(Middleware):
    """Runs tasks only within certain hours; at others they are put off until those begin, and lose no attempt.

    A run that has begun goes on when the hours are over. The clock is that of the worker.

    Arguments:
        start, end, timezone, weekdays: see Hours.
        tasks: the tasks that this is for, by name or by a pattern as in fnmatch.
        queues: the queues that this is for.
        metadata_key: this is for tasks with something true under that key of their metadata.
        clock: gives the instant, aware; for tests.

    A task is meant if any of the three says so; if none of them is given, every task is.

    Raises:
        InvalidOption: an argument cannot be what it is.

    >>> from taskq import App
    >>> app = App("memory://")
    >>> app.add_middleware(TimeWindow("22:00", "06:00", timezone="Europe/Berlin", tasks=("report.*",)))
    """

    def __init__(
        self,
        start: time | str,
        end: time | str,
        *,
        timezone: str = "UTC",
        weekdays: Collection[str] = WEEKDAYS,
        tasks: Collection[str] = (),
        queues: Collection[str] = (),
        metadata_key: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.hours = Hours(start, end, timezone, weekdays)
        for option, names in (("tasks", tasks), ("queues", queues)):
            given: object = names
            if isinstance(given, str) or not isinstance(given, Collection):
                raise InvalidOption(f"{option} must be a collection of names, such as [{shown(given)}]")
        for queue in queues:
            check_identifier("queue", queue)
        self._tasks = tuple(tasks)
        self._queues = frozenset(queues)
        self._metadata_key = metadata_key
        self._clock = clock

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        """Run the task, or put it off; see Middleware.around_run."""
        wait = self.hours.seconds_until_open(self._clock()) if self._is_for(context) else 0.0
        if wait > 0:
            context.logger.info("put off for %.0f s, until its hours begin", wait)
            return Snoozed(wait)
        return await call_next()

    def _is_for(self, context: TaskContext) -> bool:
        if not (self._tasks or self._queues or self._metadata_key is not None):
            return True
        return (
            any(fnmatchcase(context.name, pattern) for pattern in self._tasks)
            or context.queue in self._queues
            or (self._metadata_key is not None and bool(context.metadata.get(self._metadata_key)))
        )


def _instants(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """When the clocks of a zone show a time: once, twice, or at the end of the gap that leaves it out."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return [first, second] if first < second else [first]
    # In a gap the two lie on its sides, the second before it; halve what is between them down to its end.
    return [_first(second, first, lambda middle: middle.astimezone(zone).replace(tzinfo=None) >= wall)]


def _putting_back(day: date, zone: ZoneInfo) -> Iterator[datetime]:
    """The instant at which the clocks are put back in the night before a day, if they are: what was over may begin."""
    before, after = (datetime.combine(each, time(12), zone).astimezone(UTC) for each in (day - timedelta(days=1), day))
    late = _offset(after, zone)
    if _offset(before, zone) > late:
        yield _first(before, after, lambda middle: _offset(middle, zone) == late)


def _first(before: datetime, after: datetime, is_after: Callable[[datetime], bool]) -> datetime:
    """The first instant after `before`, at the latest `after`, of which something is said, and of all that follow."""
    while after - before > _INSTANT:
        middle = before + (after - before) / 2
        if is_after(middle):
            after = middle
        else:
            before = middle
    return after


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _as_time(option: str, value: object) -> time:
    try:
        found = time.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, time) or found.tzinfo is not None:
        raise InvalidOption(f'{option} must be a time of day such as "22:00", not {shown(value)}')
    return found
