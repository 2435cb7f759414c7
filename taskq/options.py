"""The options of a task, and of a call: what each may be, checked where it is said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, TypeVar, overload

from taskq.config import check_identifier, check_tags, is_label, is_number, is_whole, shown
from taskq.depends import DependsOn, edges_of
from taskq.domain.message import DEFAULT_MAX_LOST_LEASES, DEFAULT_RETENTION, Priority
from taskq.domain.retry import LONGEST, BuiltinRetry, RetryStrategy, from_dict
from taskq.domain.workflow import OnParentFailure
from taskq.errors import InvalidOption
from taskq.limits import Breaker, Concurrency, RateLimit, Uniqueness
from taskq.versions import FIRST, Upcast, check_upcasts, check_version

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
One = TypeVar("One")
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
    retry: RetryStrategy | None = None
    """None: what is set for the queue, else Exponential()."""
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    no_retry_on: tuple[type[BaseException], ...] = ()
    timeout: float | Literal["default"] | None = "default"
    """Seconds that a run may take, None: any; "default": what is set for the queue, else 300."""
    soft_timeout: float | None = None
    """Seconds after which SoftTimeout is raised inside of the task, less than `timeout`; None: what is set for the
    queue."""
    expires: float | None = None
    retention: float = DEFAULT_RETENTION
    dead_letter: bool = True
    max_lost_leases: int = DEFAULT_MAX_LOST_LEASES
    executor: Executor | None = None
    """None: "async" for `async def`, "thread" for `def`."""
    rate_limit: RateLimit | tuple[RateLimit, ...] = ()
    concurrency: Concurrency | tuple[Concurrency, ...] = ()
    breaker: Breaker | None = None
    unique: Uniqueness | None = None
    version: int = FIRST
    """Of the arguments: one more where older ones no longer fit the function (docs/payload-versions.md)."""
    upcast: Mapping[int, Upcast] = field(default_factory=dict)
    """Version → a function from its arguments to those of the next, by which old ones are lifted before their check."""
    encrypt: bool | None = None
    """Whether payload and result are encrypted (docs/encryption.md); None: as `Crypto(encrypt_all=…)` says."""
    cache: float | None = None
    """Seconds from its completion for which a result stands for that of every call with the same arguments."""
    tags: Sequence[str] = ()
    """Words by which to find it; those of a call come on top."""
    capture_logs: str | None = None
    """The least level of what is logged while it runs that is kept with its record, as in "INFO"; None: nothing."""

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_identifier("queue", self.queue)
        as_priority(self.priority)
        _seconds("timeout", None if self.timeout == "default" else self.timeout, above=0)
        _seconds("soft_timeout", self.soft_timeout, above=0)
        check_soft_timeout(self.soft_timeout, None if self.timeout == "default" else self.timeout)
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
        known = self.retry is None or _is_strategy(self.retry)
        _require(known, "retry must be a retry strategy, such as Fixed(5)", self.retry)
        _check_limits(self)
        _require(_is_choice(self.encrypt), "encrypt must be True, False or None", self.encrypt)
        check_tags(self.tags)
        known = self.capture_logs is None or self.capture_logs in LOG_LEVELS
        _require(known, f"capture_logs must be one of {', '.join(LOG_LEVELS)}", self.capture_logs)
        check_version(self.version)
        check_upcasts(self.version, self.upcast)

    @property
    def rate_limits(self) -> tuple[RateLimit, ...]:
        """All rate limits."""
        return as_tuple(self.rate_limit)

    @property
    def concurrencies(self) -> tuple[Concurrency, ...]:
        """All concurrency limits."""
        return as_tuple(self.concurrency)

    def should_retry(self, error: BaseException) -> bool:
        """Whether the task's `retry_on` and `no_retry_on` allow another attempt after this exception.

        A CancelledError that left a task which nobody has cancelled counts among what Exception stands for.
        """
        is_meant = isinstance(error, self.retry_on) or (
            isinstance(error, asyncio.CancelledError) and Exception in self.retry_on
        )
        return is_meant and not isinstance(error, self.no_retry_on)


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
    retry: BuiltinRetry | Mapping[str, Any] | None = None
    """A retry policy, or one as plain data (taskq.domain.retry.from_dict)."""
    retention: float | None = None
    tenant: str = ""
    idempotency_key: str | None = None
    """The same key with the same task, tenant and arguments makes one task; it is remembered for a day."""
    unique_key: str | None = None
    """While a task with the same key waits or runs, no other is enqueued: takes the place of the task's `unique`."""
    block: float | timedelta | None = None
    """Seconds to wait for room where the queue is full, instead of raising QueueFull at once; not with a connection."""
    metadata: Mapping[str, Any] | None = None
    tags: Sequence[str] = ()
    """Words by which to find it, beside those of the task."""
    connection: Any = None
    """A connection or session of yours (Postgres): the task is enqueued inside its transaction."""
    version: int | None = None
    """Of the arguments, for those who enqueue by name; None: the task's own, 1 where it is not registered here."""
    encrypt: bool | None = None
    """Whether the payload is encrypted, and with it the result."""
    depends_on: DependsOn = ()
    """Tasks for which it waits, as handles or ids."""
    on_parent_failure: OnParentFailure | str = OnParentFailure.CANCEL
    """What becomes of it when one of them ends otherwise than COMPLETED: "cancel", "run" or "fail"."""
    on_complete_url: str | None = field(default=None, repr=False)  # it may hold a secret
    """A URL that is called when the task has ended, however it has (docs/webhooks.md)."""

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
        own = self.unique_key
        _require(own is None or is_label(own), "unique_key must have 1 to 255 printable characters", own)
        _seconds("block", as_seconds(self.block))
        waits = self.block is not None and self.connection is not None
        _require(not waits, "give block or connection, not both: your transaction would wait", self.block)
        _require(isinstance(self.metadata, Mapping | None), "metadata must be a mapping", self.metadata)
        if isinstance(self.retry, Mapping):
            from_dict(self.retry)
        else:
            known = self.retry is None or isinstance(self.retry, BuiltinRetry)
            _require(known, "retry must be a built-in strategy, or one as plain data", self.retry)
        _require(_is_choice(self.encrypt), "encrypt must be True, False or None", self.encrypt)
        check_tags(self.tags)
        if self.version is not None:
            check_version(self.version)
        edges_of(self.depends_on, self.on_parent_failure)
        if self.on_complete_url is not None:
            from taskq.outbound.urls import ANY_PORT, read_url  # `import taskq` does without it

            read_url("on_complete_url", self.on_complete_url, ANY_PORT)


class TaskKeywords(TypedDict, total=False):
    """The options of `@app.task` for type checkers; TaskOptions says what they mean."""

    queue: str | None
    priority: PriorityLike
    retry: RetryStrategy | None
    retry_on: tuple[type[BaseException], ...]
    no_retry_on: tuple[type[BaseException], ...]
    timeout: float | Literal["default"] | None
    soft_timeout: float | None
    expires: float | None
    retention: float
    dead_letter: bool
    max_lost_leases: int
    executor: Executor | None
    rate_limit: RateLimit | tuple[RateLimit, ...]
    concurrency: Concurrency | tuple[Concurrency, ...]
    breaker: Breaker | None
    unique: Uniqueness | None
    version: int
    upcast: Mapping[int, Upcast]
    encrypt: bool | None
    cache: float | None
    tags: Sequence[str]
    capture_logs: str | None


class CallKeywords(TypedDict, total=False):
    """The options of a call for type checkers; CallOptions says what they mean."""

    queue: str | None
    priority: PriorityLike | None
    delay: float | timedelta | None
    eta: datetime | None
    expires: float | timedelta | datetime | None
    timeout: float | None
    soft_timeout: float | None
    retry: BuiltinRetry | Mapping[str, Any] | None
    retention: float | None
    tenant: str
    idempotency_key: str | None
    unique_key: str | None
    block: float | timedelta | None
    metadata: Mapping[str, Any] | None
    tags: Sequence[str]
    connection: Any
    version: int | None
    encrypt: bool | None
    depends_on: DependsOn
    on_parent_failure: OnParentFailure | str
    on_complete_url: str | None


def check_known(kind: type[TaskOptions | CallOptions], options: Mapping[str, Any], where: str) -> None:
    """Refuse options that there are not.

    Raises:
        InvalidOption: names them.
    """
    unknown = sorted(options.keys() - {known.name for known in fields(kind)})
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


@overload
def as_seconds(value: float | timedelta) -> float: ...
@overload
def as_seconds(value: float | timedelta | None) -> float | None: ...
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


def as_tuple(given: One | tuple[One, ...]) -> tuple[One, ...]:
    """One or several as a tuple."""
    return given if isinstance(given, tuple) else (given,)


def _check_limits(given: TaskOptions) -> None:
    for option, kind in (("rate_limit", RateLimit), ("concurrency", Concurrency)):
        value = getattr(given, option)
        are = all(isinstance(one, kind) for one in as_tuple(value))
        _require(are, f"{option} must be a {kind.__name__}, or a tuple of such", value)
    _require(given.breaker is None or isinstance(given.breaker, Breaker), "breaker must be a Breaker", given.breaker)
    is_unique = given.unique is None or isinstance(given.unique, Uniqueness)
    _require(is_unique, "unique must be Unique, Debounce or KeepLatest", given.unique)


def _is_strategy(value: object) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "next_delay", None))


def _is_aware(value: object) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _is_choice(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _are_exceptions(kinds: object) -> bool:
    return isinstance(kinds, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
    )


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise InvalidOption(f"{rule}, not {shown(value)}")


NOTHING_SAID = CallOptions()
"""Of a call without options."""
