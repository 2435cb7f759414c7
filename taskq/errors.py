"""Every error that taskq raises, and the five that a task may raise to say what should become of it.

TaskqError
├── NotApplied                nothing happened in the store; safe to say again
│   ├── InvalidPayload        an argument does not fit the task's signature
│   ├── PayloadTooLarge       over `max_payload`
│   ├── InvalidOption         an option (queue name, delay, priority, …) is out of its range
│   ├── TaskNotRegistered     no task of that name in this application
│   ├── IdempotencyConflict   the same key came with another payload
│   ├── QueueFull             the queue holds `max_size` tasks
│   ├── QuotaExceeded         the tenant has as much as it may
│   ├── DuplicateTask         another task holds the unique key
│   ├── CyclicDependency      tasks of a workflow wait for each other in a circle
│   ├── ParentNotFound        a task for which it is to wait is not known
│   ├── FlowOver              the workflow or batch whose member it is to be has ended
│   ├── InvalidTransition     the state table forbids it
│   ├── CapabilityMissing     this backend cannot do it, and says so
│   ├── ConfigError           a setting or a URL is wrong
│   ├── BackendUnavailable    the store could not be reached
│   ├── UnsafeStore           the store would lose tasks as it is configured
│   └── SchemaMismatch        the store's schema is not one that this release speaks
├── OutcomeUnknown            the store may or may not have done it; repeat it under the same id
├── LeaseLost                 the task was given to another worker
├── TaskNotFound              no record of that id (any more)
├── CorruptRecord             a stored record fails its checksum
│   └── Tampered              a ciphertext was changed, or belongs to another task
├── KeyMissing                the key that something was encrypted with is not here
├── SoftTimeout               raised inside of a task, which may catch it
└── ResultError               what waiting for a result may raise
    ├── TaskFailed · TaskCancelled · TaskExpired · ResultTimeout
    │   └── WorkflowFailed    with the tasks that did

TaskSignal (raised by a task)
└── Retry · Snooze · Reject · Cancel · Throttled
"""

from __future__ import annotations

import math
from datetime import timedelta

from taskq.portable import Portable


class TaskqError(Portable):
    """The base of every error that taskq raises."""


class NotApplied(TaskqError):
    """Nothing happened: the operation was refused, or never reached the store."""


class OutcomeUnknown(TaskqError):
    """The connection broke after the operation was sent: it may or may not have been applied.

    Every operation of taskq may be repeated with the same effect as once, so repeat it under the same id.

    Attributes:
        stored: of an enqueue of many, how many tasks are known to be stored; None where nothing is known.
    """

    def __init__(self, *args: object, stored: int | None = None) -> None:
        super().__init__(*args)
        self.stored = stored


class InvalidPayload(NotApplied):
    """The arguments do not fit the task's signature.

    Attributes:
        parameter: the name of the parameter that does not fit, or None where the payload as a whole is at fault.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class PayloadTooLarge(NotApplied):
    """The encoded arguments and metadata are larger than `max_payload`."""

    def __init__(self, name: str, size: int, limit: int) -> None:
        super().__init__(
            f"the arguments and metadata of {name} take {size:,} bytes, over max_payload ({limit:,} bytes): "
            "store the data elsewhere and pass a reference"
        )
        self.size = size
        self.limit = limit


class InvalidOption(NotApplied, ValueError):
    """An option of a task or of a call is out of its range; the message names it."""


class TaskNotRegistered(NotApplied):
    """No task of that name is registered in this application."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        hint = f"; did you mean {nearest}?" if nearest else ""
        super().__init__(f"no task named {name!r} is registered{hint}")
        self.name = name


class IdempotencyConflict(NotApplied):
    """The idempotency key was used before, with another payload."""


class QueueFull(NotApplied):
    """The queue holds as many tasks as its `max_size` allows.

    Attributes:
        depth: how many wait in it, None where the store does not say.
        limit: how many may.
    """

    def __init__(self, name: str, depth: int | None = None, limit: int | None = None) -> None:
        figures = "as many tasks as it may" if depth is None else f"{depth:,} tasks of at most {limit:,}"
        super().__init__(f"{name}: its queue holds {figures}; try again later, or wait for room with block=seconds")
        self.depth = depth
        self.limit = limit


class QuotaExceeded(NotApplied):
    """A tenant has as many tasks, or as large ones, as it may; others may go on."""


class DuplicateTask(NotApplied):
    """Another task holds the unique key, and `Unique(on_duplicate="raise")` asks to be told.

    Attributes:
        holder: the id of that task.
    """

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(f"{name}: task {holder} holds the same unique key")
        self.holder = holder


class CyclicDependency(NotApplied):
    """Tasks of a workflow wait for each other in a circle.

    Attributes:
        loop: their names, from one back to the same.
    """

    def __init__(self, workflow: str, loop: list[str]) -> None:
        super().__init__(f"workflow {workflow}: its tasks wait for each other: {' → '.join(loop)}")
        self.loop = loop


class ParentNotFound(NotApplied):
    """There is no record of a task for which another is to wait: it never existed, or its retention is over."""


class FlowOver(NotApplied):
    """A workflow or a batch takes no more tasks: it has ended, was cancelled, or is not known."""


class InvalidTransition(NotApplied):
    """The state table (taskq.domain.state) forbids this event in the task's state."""


class CapabilityMissing(NotApplied):
    """The backend declares that it cannot do this."""


class WouldBlock(NotApplied, RuntimeError):
    """A blocking call was made where an event loop runs; its a-twin does not block."""


class ConfigError(NotApplied):
    """A setting, a URL or an application path is wrong; the message says which and what to write instead."""


class BackendUnavailable(NotApplied):
    """The store could not be reached, or answered that it cannot serve; nothing was changed."""


class UnsafeStore(NotApplied):
    """The store, as it is configured, would lose tasks that it has acknowledged."""


class SchemaMismatch(NotApplied):
    """The store's schema is missing, older or newer than what this release speaks."""


class LeaseLost(TaskqError):
    """The lease of a running task is no longer the newest: whatever its worker writes is refused."""


class TaskNotFound(TaskqError):
    """The store has no record of that id: it never existed, or its retention is over."""


class ScheduleNotFound(TaskqError):
    """There is no schedule of that name."""


class CorruptRecord(TaskqError):
    """A stored record does not match its checksum; it is quarantined and never run."""


class Tampered(CorruptRecord):
    """A ciphertext does not match its tag: it was changed, or belongs to another task; it is never run."""


class KeyMissing(TaskqError):
    """The key that something was encrypted with is not here; nothing of it is lost, it can be read once the key is.

    Attributes:
        key_id: the id of the key.
        is_another: whether there is a key of that id, but not that one.
    """

    def __init__(self, key_id: str, *, is_another: bool = False) -> None:
        what = f"there is no key {key_id!r} here"
        if is_another:
            what = f"the key {key_id!r} here is another one than this was encrypted with"
        super().__init__(f"{what}: add it to Crypto(keys=…) of the settings, or as TASKQ_CRYPTO__KEYS__{key_id}")
        self.key_id = key_id
        self.is_another = is_another


class SoftTimeout(TaskqError):
    """Raised inside of a task when its `soft_timeout` is over, so that it can bring itself to an end.

    A task may catch it, tidy up and return what it has. One that does not has failed, and is tried again as its retry
    policy, `retry_on` and `no_retry_on` say. It is no `TimeoutError`: every one of those is an `OSError`, and what
    talks to a network takes an `OSError` for a broken line.

    >>> issubclass(SoftTimeout, OSError)
    False
    """

    def __init__(self, message: str = "the soft timeout of the task is over") -> None:
        super().__init__(message)


class ResultError(TaskqError):
    """The base of what waiting for a result may raise."""


class TaskFailed(ResultError):
    """The task ended in FAILED or DEAD.

    Attributes:
        type: the name of the remote exception's class.
        message: its text.
        traceback: the remote traceback as text, "" where there is none.
    """

    def __init__(self, type: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{type}: {message}")
        self.type = type
        self.message = message
        self.traceback = traceback


class WorkflowFailed(TaskFailed):
    """A workflow ended without its result; type, message and traceback are those of the first task that failed.

    Attributes:
        failed: the names of the tasks that failed.
    """

    def __init__(self, failed: list[str], type: str, message: str, traceback: str = "") -> None:
        where = f"(in {', '.join(failed[:5])}{' …' * (len(failed) > 5)})"
        super().__init__(type, f"{message} {where}".lstrip(), traceback)
        if not message:
            self.args = (f"{type} {where}",)
        self.failed = failed


class TaskCancelled(ResultError):
    """The task ended in CANCELLED."""


class TaskExpired(ResultError):
    """The task ended in EXPIRED: nobody began it in time."""


class ResultTimeout(ResultError):
    """The task did not end within the time that the caller was ready to wait; it goes on."""


class TaskSignal(Portable):
    """The base of what a task raises to say what should become of it."""


class Retry(TaskSignal):
    """Raised by a task: run me again. It counts as a failed attempt, so the retry policy may refuse.

    Arguments:
        delay: seconds, or a timedelta, until the next attempt; None leaves it to the retry policy.
        reason: why, for people.

    Raises:
        TypeError, ValueError: the delay is no number of seconds, or the reason no text.

    >>> Retry(delay=timedelta(minutes=5)).delay
    300.0
    """

    def __init__(self, delay: float | timedelta | None = None, reason: str = "") -> None:
        super().__init__(_text("Retry: reason", reason) or "the task asked for a retry")
        self.delay = None if delay is None else _seconds("Retry: delay", delay)


class Snooze(TaskSignal):
    """Raised by a task: run me again later; this run does not count as an attempt.

    Arguments:
        delay: seconds, or a timedelta, until then; at least a tenth of a second, so that nothing spins.

    Raises:
        TypeError, ValueError: the delay is no number of seconds.

    >>> Snooze(2.5).delay
    2.5
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.delay = _seconds("Snooze: delay", delay)
        super().__init__(f"snoozed for {self.delay:g} s")


class Reject(TaskSignal):
    """Raised by a task: straight to the dead-letter queue, no further attempt.

    Arguments:
        reason: why, for people.

    Raises:
        TypeError: the reason is no text.

    >>> Reject("no such account").reason
    'no such account'
    """

    def __init__(self, reason: str = "rejected by the task") -> None:
        super().__init__(_text("Reject: reason", reason))
        self.reason = reason


class Cancel(TaskSignal):
    """Raised by a task: end as CANCELLED.

    Arguments:
        reason: why, for people.

    Raises:
        TypeError: the reason is no text.

    >>> Cancel("the order was withdrawn").reason
    'the order was withdrawn'
    """

    def __init__(self, reason: str = "cancelled by the task") -> None:
        super().__init__(_text("Cancel: reason", reason))
        self.reason = reason


class Throttled(TaskSignal):
    """Raised by a task whose remote side answered "too many requests": put off, without using up an attempt.

    Arguments:
        retry_after: seconds, or a timedelta, until the next run; at least a tenth of a second.

    Raises:
        TypeError, ValueError: it is no number of seconds.

    >>> Throttled(retry_after=30).retry_after
    30.0
    """

    def __init__(self, retry_after: float | timedelta = 1.0) -> None:
        self.retry_after = _seconds("Throttled: retry_after", retry_after)
        super().__init__(f"throttled for {self.retry_after:g} s")


def _text(what: str, value: object) -> str:
    """A reason, checked where the task gives it: not every store would refuse the same."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, not {type(value).__name__}")
    return value


def _seconds(what: str, value: float | timedelta) -> float:
    """A delay in seconds, checked where the task raises it: later nobody could say which line was wrong."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be seconds or a timedelta, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:  # an int beyond any float
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"{what} must be a finite number of seconds, not {seconds!r}")
    return max(0.0, seconds)
