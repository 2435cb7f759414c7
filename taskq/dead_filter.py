"""Which dead letters are meant: by name, queue, reason, failure and time; a plain value, checked where it is made."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from taskq.config import check_identifier, shown
from taskq.domain.record import DeadReason, TaskRecord
from taskq.errors import InvalidOption

Moment = datetime | timedelta
"""An instant, aware, or how long ago it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """What dead letters must be to be meant; `DeadFilter()` means all of them.

    Arguments:
        name: of the task, or a pattern as in fnmatch: "mail.*".
        queue: that they died in.
        reason: a DeadReason, or its text.
        error: the class of the failure, as it is written in the record: "ValueError".
        fingerprint: of the failure; `DeadLetters.groups` tells them.
        since: those that ended then or later: an aware datetime, or a timedelta ago by the clock of this process.
        until: those that ended before.

    Raises:
        InvalidOption: a value cannot be what it is; the message names it.

    >>> DeadFilter(name="mail.*", reason="exhausted", since=timedelta(hours=2)).queue is None
    True
    >>> DeadFilter(reason="exausted")
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: reason 'exausted' is none; did you mean 'exhausted'?
    """

    name: str | None = None
    queue: str | None = None
    reason: DeadReason | str | None = None
    error: str | None = None
    fingerprint: str | None = None
    since: Moment | None = None
    until: Moment | None = None

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_identifier("queue", self.queue)
        if self.reason is not None:
            known_reason(self.reason)
        for option in ("name", "error", "fingerprint"):
            value = getattr(self, option)
            if not (value is None or (isinstance(value, str) and value)):
                raise InvalidOption(f"{option} must be text, not {shown(value)}")
        for option in ("since", "until"):
            _check_moment(option, getattr(self, option))

    def resolved(self, now: datetime) -> DeadFilter:
        """The same with instants for durations: what "two hours ago" means does not change while one looks.

        Raises:
            InvalidOption: since is not before until.
        """
        since, until = _instant(self.since, now), _instant(self.until, now)
        if since is not None and until is not None and since >= until:
            raise InvalidOption(
                f"since ({since:%Y-%m-%d %H:%M:%S%z}) must be before until ({until:%Y-%m-%d %H:%M:%S%z})"
            )
        return replace(self, since=since, until=until)

    def is_before(self, record: TaskRecord) -> bool:
        """Whether a record ended too early to be meant, of a filter that is resolved."""
        return isinstance(self.since, datetime) and ended_at(record) < self.since

    def takes(self, record: TaskRecord) -> bool:
        """Whether a record is meant, by a filter that is resolved."""
        if self.is_before(record) or (isinstance(self.until, datetime) and ended_at(record) >= self.until):
            return False
        failure = record.failure
        return (
            (self.name is None or fnmatch.fnmatchcase(record.name, self.name))
            and (self.queue is None or record.queue == self.queue)
            and (self.reason is None or record.reason == known_reason(self.reason))
            and (self.error is None or (failure is not None and failure.type == self.error))
            and (self.fingerprint is None or (failure is not None and failure.fingerprint == self.fingerprint))
        )


def known_reason(value: object) -> DeadReason:
    """A reason from its text; a "-" stands for a space, as in a command line.

    Raises:
        InvalidOption: it is none; the message names the nearest.

    >>> known_reason("unknown-task")
    <DeadReason.UNKNOWN_TASK: 'unknown task'>
    """
    text = value.replace("-", " ") if isinstance(value, str) else ""
    if text in tuple(DeadReason):
        return DeadReason(text)
    near = difflib.get_close_matches(text, list(DeadReason), 1)
    hint = f"did you mean {str(near[0])!r}?" if near else f"they are {', '.join(DeadReason)}"
    raise InvalidOption(f"reason {shown(value)} is none; {hint}")


def ended_at(record: TaskRecord) -> datetime:
    """When a task ended; a store that does not say is taken at when it began."""
    return record.completed_at or record.created_at


def _check_moment(option: str, value: object) -> None:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidOption(f"{option} must have a time zone: datetime.now(UTC) - …, not {value}")
    elif isinstance(value, timedelta):
        if value < timedelta(0):
            raise InvalidOption(f"{option} is how long ago: it cannot be negative, {value}")
    elif value is not None:
        raise InvalidOption(f"{option} must be an aware datetime, or a timedelta ago, not {shown(value)}")


def _instant(value: Moment | None, now: datetime) -> datetime | None:
    if not isinstance(value, timedelta):
        return value
    try:
        return now - value
    except OverflowError:  # longer ago than there are dates
        return datetime.min.replace(tzinfo=UTC)
