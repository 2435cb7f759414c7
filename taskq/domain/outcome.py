"""From the outcome of a run to a Settlement: what should become of the task, decided without touching anything.

The values are tuples with names: one is made for each run, and a tuple is made faster than a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from taskq.domain.limits import Limit
from taskq.domain.message import DAY, Delivery
from taskq.domain.record import Attempt, AttemptOutcome, DeadReason, Failure
from taskq.domain.retry import FailedRun, Random, RetryStrategy
from taskq.domain.state import Event, TaskState


class Lack(NamedTuple):
    """What a worker may lack for a task while another has it: a deployment on its way is the usual cause."""

    kind: str
    """The type of the failure that each put-off leaves in the history, by which they are counted."""
    reason: str
    """Of the burial, once nobody had it for the whole grace."""
    grace: float
    """Seconds for which the task is put off."""
    longest: float
    """Seconds from one put-off to the next at the most. The history holds HISTORY_LIMIT runs: the grace must be over
    by then, or it would never be."""
    span: str
    """The grace, for people."""


UNKNOWN_TASK_GRACE = 600.0
"""Seconds for which a task that no worker knows is put off."""
NAME = Lack("TaskNotRegistered", DeadReason.UNKNOWN_TASK, UNKNOWN_TASK_GRACE, 60.0, "ten minutes")
VERSION = Lack("NewerVersion", DeadReason.UNKNOWN_VERSION, DAY, 3600.0, "24 hours")
"""Of the arguments: who enqueues is often deployed first, and the workers of a large fleet hours later."""
KEY = Lack("KeyMissing", DeadReason.NO_KEY, UNKNOWN_TASK_GRACE, 60.0, "ten minutes")
"""That its payload was encrypted with, or its result is to be."""

# ---------------------------------------------------------------- settlements: what a broker is told


class Complete(NamedTuple):
    """RUNNING → COMPLETED, with the encoded result (JSON)."""

    result: bytes = b"null"


class Retry(NamedTuple):
    """RUNNING → RETRYING: again in `delay` seconds; the attempt is used up."""

    delay: float
    failure: Failure


class Snooze(NamedTuple):
    """RUNNING → SCHEDULED: again in `delay` seconds; the attempt is given back."""

    delay: float
    failure: Failure | None = None
    """Noted with the attempt where it was not the task's own wish: no worker could run it."""
    throttled: bool = False
    """Whether the far side said "too many requests": adaptive rates of the task are halved."""


class Release(NamedTuple):
    """RUNNING → PENDING in the front lane: the run never began, or was interrupted; the attempt is given back."""

    limits: tuple[Limit, ...] = ()
    """Gates that whoever enqueued the task by its name did not know of; it has them from now on."""


class Bury(NamedTuple):
    """RUNNING → DEAD, with the reason."""

    reason: str
    failure: Failure


class Fail(NamedTuple):
    """RUNNING → FAILED, for a task that wants no dead letter."""

    reason: str
    failure: Failure


class Cancel(NamedTuple):
    """RUNNING → CANCELLED."""

    reason: str = ""


class Crash(NamedTuple):
    """The task's own process died under it: what a lost lease does, said at once by the worker that lives on."""

    failure: Failure


Settlement = Complete | Retry | Snooze | Release | Bury | Fail | Cancel | Crash

EVENTS: dict[type[Settlement], Event] = {
    Complete: Event.SUCCEED,
    Retry: Event.RETRY,
    Snooze: Event.SNOOZE,
    Release: Event.RELEASE,
    Bury: Event.FAIL,
    Fail: Event.FAIL,
    Cancel: Event.CANCEL,
    Crash: Event.LEASE_LOST,
}

ATTEMPT_OUTCOMES: dict[type[Settlement], AttemptOutcome] = {
    Complete: AttemptOutcome.SUCCEEDED,
    Retry: AttemptOutcome.FAILED,
    Snooze: AttemptOutcome.SNOOZED,
    Release: AttemptOutcome.RELEASED,
    Bury: AttemptOutcome.FAILED,
    Fail: AttemptOutcome.FAILED,
    Cancel: AttemptOutcome.CANCELLED,
    Crash: AttemptOutcome.CRASHED,
}

# ---------------------------------------------------------------- outcomes: what the worker saw


class Succeeded(NamedTuple):
    """The function returned; `result` is its value as JSON."""

    result: bytes = b"null"


class Failed(NamedTuple):
    """The function raised, or ran over its timeout.

    `retryable` is False where the task's `retry_on` and `no_retry_on` rule this exception out; `retry_after` is
    the delay that the task itself asked for.
    """

    failure: Failure
    retryable: bool = True
    retry_after: float | None = None


class Snoozed(NamedTuple):
    """The task asked to be put off."""

    delay: float
    throttled: bool = False
    """Whether it did so because the far side said "too many requests"."""


class Rejected(NamedTuple):
    """The task, or the worker on its behalf, says that no attempt can succeed."""

    failure: Failure
    reason: str = DeadReason.REJECTED


class CancelledRun(NamedTuple):
    """The run was cancelled: by request, or by the task itself."""

    reason: str = ""


class Interrupted(NamedTuple):
    """The worker stops before the run began or ended; it is not the task's fault."""


class Crashed(NamedTuple):
    """The child process that ran this task, and nothing else, died."""

    failure: Failure


class Unknown(NamedTuple):
    """This worker lacks what the task needs: no task of that name is registered in it, for one.

    `times` is how often in a row it was put off for that already (see `unknown_in_a_row`); None where the worker has
    not looked. `what` says for people what is unknown, "" where it is the task's name.
    """

    times: int | None = None
    lack: Lack = NAME
    what: str = ""


Outcome = Succeeded | Failed | Snoozed | Rejected | CancelledRun | Interrupted | Crashed | Unknown


def settle(delivery: Delivery, outcome: Outcome, policy: RetryStrategy, random: Random, age: float = 0.0) -> Settlement:
    """Decide what becomes of a task after a run.

    Arguments:
        delivery: what was run.
        outcome: how it ended.
        policy: the task's retry strategy.
        random: a source of numbers from [0, 1), for jitter.
        age: seconds from the enqueue to the end of the run.

    >>> from taskq.domain.retry import Fixed
    >>> held = Delivery("5b", "f", b"", "default", 1, fence=1, attempt=1, lost_leases=0, worker="w")
    >>> settle(held, Failed(Failure("E", "no")), Fixed(5), lambda: 0.0).delay
    5
    >>> settle(held._replace(attempt=4), Failed(Failure("E", "no")), Fixed(5), lambda: 0.0).reason == "exhausted"
    True
    """
    match outcome:
        case Succeeded(result):
            return Complete(result)
        case Failed(failure, retryable, retry_after):
            run = FailedRun(failure.type, failure.message, age, retry_after)
            delay = policy.next_delay(delivery.attempt, run, random) if retryable else None
            if delay is None:
                return give_up(delivery, DeadReason.EXHAUSTED, failure)
            return Retry(delay if retry_after is None else retry_after, failure)
        case Snoozed(delay, throttled):
            return Snooze(delay, throttled=throttled)
        case Rejected(failure, reason):
            return give_up(delivery, reason, failure)
        case CancelledRun(reason):
            return Cancel(reason)
        case Interrupted():
            return Release()
        case Crashed(failure):
            return Crash(failure)
        case Unknown():
            return _put_off_unknown(delivery, outcome, max(age, delivery.age))
        case _:
            assert_never(outcome)


def give_up(delivery: Delivery, reason: str, failure: Failure) -> Bury | Fail:
    """The end of a task that will not succeed: the dead-letter queue, unless the task wants none."""
    return Bury(reason, failure) if delivery.dead_letter else Fail(reason, failure)


def _put_off_unknown(delivery: Delivery, unknown: Unknown, age: float) -> Settlement:
    """Put off a task for which something is unknown here, or bury it once its grace is over.

    Its delays are known (`unknown_delay`) and the store keeps to them, so the number of put-offs in a row says how
    long nobody has known it at the least: no instant need be kept, and time in which no worker looked, before its
    first run or while its queue was paused, does not count. That number is read off the attempts' history, where
    each put-off leaves its failure, for the delivery itself counts every snooze, release and lost lease alike. A
    worker that does not look at the history (`times` is None) takes that larger number, but buries nothing that was
    enqueued more lately than the grace is long.
    """
    times, lack, what = unknown
    what = what or f"task named {delivery.name!r}"
    delay, waited = unknown_delay(delivery.put_offs if times is None else times, lack)
    if min(waited, age) >= lack.grace:
        return give_up(delivery, lack.reason, Failure(lack.kind, f"for {lack.span} no worker knew a {what}"))
    return Snooze(delay, Failure(lack.kind, f"this worker knows no {what}"))


def may_have_been_unknown_for_long(delivery: Delivery, lack: Lack = NAME) -> bool:
    """Whether it is worth reading the history of a task for which something is unknown: else it is put off anyhow.

    >>> young = Delivery("5b", "f", b"", "default", 1, fence=17, attempt=1, lost_leases=0, worker="w", age=20.0)
    >>> may_have_been_unknown_for_long(young), may_have_been_unknown_for_long(young._replace(age=900.0))
    (False, True)
    """
    return min(unknown_delay(delivery.put_offs, lack)[1], delivery.age) >= lack.grace


def unknown_in_a_row(attempts: Sequence[Attempt], lack: Lack = NAME) -> int:
    """How often in a row, up to now, a task was put off because the same was unknown.

    Arguments:
        attempts: its history, oldest first; a run of any other kind ends the row, for somebody knew it then.
        lack: what was unknown.

    >>> unknown_in_a_row([])
    0
    """
    times = 0
    for attempt in reversed(attempts):
        kind = "" if attempt.failure is None else attempt.failure.type
        if attempt.outcome is not AttemptOutcome.SNOOZED or kind != lack.kind:
            break
        times += 1
    return times


def unknown_delay(put_offs: int, lack: Lack = NAME) -> tuple[float, float]:
    """The next delay of a task for which something is unknown, and the seconds that it has waited so far.

    The delays double from one second up to the longest: of a name a minute, of a version an hour.

    >>> [unknown_delay(n) for n in (0, 1, 2, 7)]
    [(1.0, 0.0), (2.0, 1.0), (4.0, 3.0), (60.0, 123.0)]
    >>> unknown_delay(35, VERSION)
    (3600.0, 86895.0)
    """
    delays = [min(lack.longest, 2.0**n) for n in range(min(put_offs, 100) + 1)]
    return delays[-1], sum(delays[:-1], 0.0)


# ---------------------------------------------------------------- what a store makes of a settlement


def state_after(
    settlement: Settlement, *, cancel_requested: bool, dead_letter: bool, lost_leases: int, max_lost_leases: int
) -> TaskState:
    """The state that a settlement leads to: the rule that every store follows.

    A cancel that was asked for while the task ran takes the place of another run; a run that ended stays ended.

    Arguments:
        lost_leases: how many the task has lost, this one (of a Crash) included.

    >>> kept = dict(dead_letter=True, lost_leases=0, max_lost_leases=3)
    >>> state_after(Snooze(5), cancel_requested=False, **kept).value
    'scheduled'
    >>> state_after(Snooze(5), cancel_requested=True, **kept).value
    'cancelled'
    """
    match settlement:
        case Complete():
            return TaskState.COMPLETED
        case Bury():
            return TaskState.DEAD
        case Fail():
            return TaskState.FAILED
        case Cancel():
            return TaskState.CANCELLED
        case Crash():
            return after_lost_lease(
                cancel_requested=cancel_requested,
                dead_letter=dead_letter,
                lost_leases=lost_leases,
                max_lost_leases=max_lost_leases,
            )
        case Retry() | Snooze() | Release() if cancel_requested:
            return TaskState.CANCELLED
        case Retry():
            return TaskState.RETRYING
        case Snooze():
            return TaskState.SCHEDULED
        case Release():
            return TaskState.PENDING
        case _:
            assert_never(settlement)


def after_lost_lease(*, cancel_requested: bool, dead_letter: bool, lost_leases: int, max_lost_leases: int) -> TaskState:
    """Where a task goes whose lease was lost, `lost_leases` counting this one.

    >>> after_lost_lease(cancel_requested=False, dead_letter=True, lost_leases=3, max_lost_leases=3).value
    'dead'
    """
    if cancel_requested:
        return TaskState.CANCELLED
    if lost_leases >= max_lost_leases:
        return TaskState.DEAD if dead_letter else TaskState.FAILED
    return TaskState.PENDING


def counts_as_failure(settlement: Settlement) -> bool | None:
    """What a circuit breaker makes of the end of a run: a failure, a success, or None where it says nothing.

    >>> counts_as_failure(Complete()), counts_as_failure(Release()) is None
    (False, True)
    """
    match settlement:
        case Complete():
            return False
        case Retry() | Bury() | Fail() | Crash():
            return True
        case Snooze() | Release() | Cancel():
            return None
        case _:
            assert_never(settlement)


def gives_attempt_back(settlement: Settlement) -> bool:
    """Whether the run does not count as an attempt.

    >>> gives_attempt_back(Release()), gives_attempt_back(Complete())
    (True, False)
    """
    return isinstance(settlement, Snooze | Release | Crash)
