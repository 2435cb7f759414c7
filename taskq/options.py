"""The options of a task, and of a call: what each may be, checked where it is said."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from taskq.config import check_identifier, is_label, is_number, is_whole, shown
from taskq.domain.message import DEFAULT_MAX_LOST_LEASES, DEFAULT_RETENTION, Priority
from taskq.domain.retry import DEFAULT_RETRY, LONGEST, BuiltinRetry, RetryStrategy
from taskq.errors import InvalidOption

Executor = Literal["async", "thread", "process"]
PriorityLike = Priority | int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What `@app.task` can be told. Durations are seconds.

    Raises:
        InvalidOption: a value is out of its range; the message names the option.

    >>> TaskOptions(queue="mail", timeout=30).retention
    604800.0
    >>> TaskOptions(timeout=0)
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: timeout must be over 0 s and at most ten years, not 0
    """

    queue: str | None = None
    """None: where the application's routes send it, else "default"."""
    priority: PriorityLike = Priority.NORMAL
    retry: RetryStrategy = DEFAULT_RETRY
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    no_retry_on: tuple[type[BaseException], ...] = ()
    timeout: float | None = 300.0
    soft_timeout: float | None = None
    """Seconds after which SoftTimeout is raised inside of the task, less than `timeout`."""
    expires: float | None = None
    retention: float = DEFAULT_RETENTION
    dead_letter: bool = True
    max_lost_leases: int = DEFAULT_MAX_LOST_LEASES
    executor: Executor | None = None
    """None: "async" for `async def`, "thread" for `def`."""
    cache: float | None = None
    """Seconds from its completion for which a result stands for that of every call with the same arguments."""

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_identifier("queue", self.queue)
        as_priority(self.priority)
        _seconds("timeout", self.timeout, above=0)
        _seconds("soft_timeout", self.soft_timeout, above=0)
        check_soft_timeout(self.soft_timeout, self.timeout)
        _seconds("expires", self.expires, above=0)
        _seconds("retention", self.retention)
        _seconds("cache", self.cache, above=0)
        leases = self.max_lost_leases
        in_range = is_whole(leases) and 1 <= leases <= 1000
        _require(in_range, "max_lost_leases must be a whole number from 1 to 1,000", leases)
        _require(isinstance(self.dead_letter, bool), "dead_letter must be True or False", self.dead_letter)
        for option, kinds in (("retry_on", self.retry_on), ("no_retry_on", self.no_retry_on)):
            _require(_are_exceptions(kinds), f"{option} must be a tuple of exception classes", kinds)
        _require(
            self.executor in (None, "async", "thread", "process"),
            "executor must be async, thread or process",
            self.executor,
        )
        _require(_is_strategy(self.retry), "retry must be a retry strategy", self.retry)

    def should_retry(self, error: BaseException) -> bool:
        """Whether the task's `retry_on` and `no_retry_on` allow another attempt after this exception."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.no_retry_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What `.options(…)` can say of one call; None leaves it to the task. Durations are seconds.

    `delay` and `expires` may be timedeltas, and `expires` an instant, aware, which is compared with the clock of the
    process that enqueues: what is left until then is what the store counts, by its own clock.

    Raises:
        InvalidOption: a value is out of its range; the message names the option.

    >>> CallOptions(delay=timedelta(minutes=5), priority="high").tenant
    ''
    >>> CallOptions(delay=-1)
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: delay must be at least 0 s and at most ten years, not -1
    """

    queue: str | None = None
    priority: PriorityLike | None = None
    delay: float | timedelta | None = None
    eta: datetime | None = None
    """The instant of the first run, aware."""
    expires: float | timedelta | datetime | None = None
    timeout: float | None = None
    soft_timeout: float | None = None
    retry: BuiltinRetry | None = None
    retention: float | None = None
    tenant: str = ""
    idempotency_key: str | None = None
    """The same key with the same task, tenant and arguments makes one task; it is remembered for a day."""
    metadata: Mapping[str, Any] | None = None
    connection: Any = None
    """A connection or session of yours (Postgres): the task is enqueued inside its transaction."""

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_identifier("queue", self.queue)
        if self.tenant != "":
            check_identifier("tenant", self.tenant)
        if self.priority is not None:
            as_priority(self.priority)
        _require(self.delay is None or self.eta is None, "give delay or eta, not both", (self.delay, self.eta))
        _seconds("delay", as_seconds(self.delay))
        _seconds("expires", expires_in(self.expires), above=0)
        _seconds("timeout", self.timeout, above=0)
        _seconds("soft_timeout", self.soft_timeout, above=0)
        _seconds("retention", self.retention)
        if self.eta is not None:
            _require(_is_aware(self.eta), "eta must be a datetime with a time zone: datetime.now(UTC) + …", self.eta)
            _require(self.eta.timestamp() <= time.time() + LONGEST, "eta must be within ten years", self.eta)
        key = self.idempotency_key
        _require(key is None or is_label(key), "idempotency_key must have 1 to 255 printable characters", key)
        _require(isinstance(self.metadata, Mapping | None), "metadata must be a mapping", self.metadata)
        _require(
            self.retry is None or isinstance(self.retry, BuiltinRetry), "retry must be a built-in strategy", self.retry
        )


class TaskKeywords(TypedDict, total=False):
    """The options of `@app.task` for type checkers; TaskOptions says what they mean."""

    queue: str | None
    priority: PriorityLike
    retry: RetryStrategy
    retry_on: tuple[type[BaseException], ...]
    no_retry_on: tuple[type[BaseException], ...]
    timeout: float | None
    soft_timeout: float | None
    expires: float | None
    retention: float
    dead_letter: bool
    max_lost_leases: int
    executor: Executor | None
    cache: float | None


class CallKeywords(TypedDict, total=False):
    """The options of a call for type checkers; CallOptions says what they mean."""

    queue: str | None
    priority: PriorityLike | None
    delay: float | timedelta | None
    eta: datetime | None
    expires: float | timedelta | datetime | None
    timeout: float | None
    soft_timeout: float | None
    retry: BuiltinRetry | None
    retention: float | None
    tenant: str
    idempotency_key: str | None
    metadata: Mapping[str, Any] | None
    connection: Any


def check_known(kind: type[TaskOptions | CallOptions], options: Mapping[str, Any], where: str) -> None:
    """Refuse options that there are not.

    Raises:
        InvalidOption: names them.
    """
    unknown = sorted(options.keys() - {field.name for field in fields(kind)})
    if unknown:
        raise InvalidOption(f"{where} has no option {', '.join(unknown)}")


def check_soft_timeout(soft: float | None, timeout: float | None) -> None:
    """Refuse a soft timeout that the timeout would never let come.

    Raises:
        InvalidOption: it is not less.

    >>> check_soft_timeout(30, 30)
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: soft_timeout must be less than the timeout of 30 s, not 30
    """
    if soft is not None and timeout is not None:
        _require(soft < timeout, f"soft_timeout must be less than the timeout of {timeout:g} s", soft)


def as_priority(value: PriorityLike) -> Priority:
    """A priority from its number or its name.

    >>> as_priority("critical"), as_priority(0)
    (<Priority.CRITICAL: 3>, <Priority.LOW: 0>)
    """
    try:
        if isinstance(value, str):
            return Priority[value.upper()]
        if is_whole(value):
            return Priority(value)
    except (KeyError, ValueError):
        pass
    raise InvalidOption(f"priority must be low, normal, high, critical or 0 to 3, not {shown(value)}")


def as_seconds(value: float | timedelta | None) -> float | None:
    """A duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def expires_in(value: float | timedelta | datetime | None) -> float | None:
    """Seconds until a task expires; of an instant those that are left from now on, by the clock of this process.

    Raises:
        InvalidOption: the instant has no time zone, or is past.

    >>> expires_in(timedelta(minutes=1))
    60.0
    >>> expires_in(datetime.fromisoformat("2001-01-01T00:00:00+00:00"))
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: expires must lie ahead, not 2001-01-01 00:00:00+00:00
    """
    if not isinstance(value, datetime):
        return as_seconds(value)
    _require(_is_aware(value), "expires must have a time zone: datetime.now(UTC) + …", value)
    left = value.timestamp() - time.time()
    if left <= 0:
        raise InvalidOption(f"expires must lie ahead, not {value}")
    return left


def _seconds(name: str, value: float | None, above: float | None = None) -> None:
    if value is None:
        return
    in_range = is_number(value) and 0 <= value <= LONGEST and (above is None or value > above)
    _require(in_range, f"{name} must be {'over' if above is not None else 'at least'} 0 s and at most ten years", value)


def _is_strategy(value: object) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "next_delay", None))


def _is_aware(value: object) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _are_exceptions(kinds: object) -> bool:
    return isinstance(kinds, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
    )


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise InvalidOption(f"{rule}, not {shown(value)}")
