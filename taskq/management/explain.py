"""Why a task does not run: what could hold it back, looked at in the order in which a store and its workers would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from taskq.domain.limits import Circuit, Limit, Rate, Slots, refilled, seconds_to_probe, seconds_to_token
from taskq.domain.overrides import Override, applied, heeded
from taskq.domain.record import TaskRecord
from taskq.domain.state import REDRIVABLE, TaskState
from taskq.domain.tenants import MARK
from taskq.ports import Backend, GateState, QueueSettings, WorkerInfo, WorkerState

PEEKED = 1000
"""Tasks ahead of one that are counted."""
SHOWN = 5
"""Tasks and workers that a sentence names."""
STOPPED = frozenset(WorkerState) - {WorkerState.IDLE, WorkerState.BUSY, WorkerState.OTHER}
"""The states in which a worker takes no tasks."""


class Check(NamedTuple):
    """One thing that could hold a task back."""

    name: str
    """What it is: "due", "paused", "parents", "limit", "workers", …."""
    holds_back: bool
    text: str
    """What was found, as a sentence."""
    until: datetime | None = None
    """When it will hold the task back no longer, where that is known."""
    ids: Sequence[str] = ()
    """Tasks, or workers, that have to do with it."""


class Explanation(NamedTuple):
    """Why a task does not run, or what has become of it."""

    id: str
    state: TaskState
    checks: Sequence[Check]
    """At least one; the first that holds it back is the one to see to."""

    @property
    def sentence(self) -> str:
        """The first thing that holds it back; where nothing does, the last that was looked at."""
        return next((check.text for check in self.checks if check.holds_back), self.checks[-1].text)

    @property
    def not_before(self) -> datetime | None:
        """The earliest instant at which it can run; None: now, or nobody knows."""
        ends = [check.until for check in self.checks if check.holds_back]
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None


async def explain(backend: Backend, record: TaskRecord) -> Explanation:
    """Look at all that could hold a task back.

    Arguments:
        backend: the store.
        record: of the task.
    """
    now = datetime.now(UTC)
    if record.state.is_final:
        return Explanation(record.id, record.state, [_ended(record), *await _key(backend, record)])
    workers = await backend.registry.workers()
    if record.state is TaskState.RUNNING:
        return Explanation(record.id, record.state, [_running(record, workers, now)])
    settings = await backend.queues.settings(record.queue)
    checks = [
        *(await _parents(backend, record) if record.state is TaskState.BLOCKED else ()),
        *_times(record, now),
        _pause(record, settings),
        *await _limits(backend, record, settings, now),
        *_crew(record, workers),
        *(await _place(backend, record) if record.state is TaskState.PENDING else ()),
    ]
    return Explanation(record.id, record.state, checks)


def _ended(record: TaskRecord) -> Check:
    reason = f" ({record.reason})" if record.reason else ""
    failure = "" if record.failure is None or record.state is TaskState.COMPLETED else f", {record.failure.type}"
    return Check("ended", False, f"it is {record.state}{reason}{failure}")


async def _key(backend: Backend, record: TaskRecord) -> list[Check]:
    """Whether another task holds its unique key, so that it cannot start anew."""
    if record.unique is None or record.state not in REDRIVABLE:
        return []
    holder = await backend.inspector.holder(record.queue, record.unique)
    if holder is None or holder == record.id:
        return []
    return [Check("unique", True, f"it cannot start anew: task {holder} holds its unique key", ids=[holder])]


def _running(record: TaskRecord, workers: Sequence[WorkerInfo], now: datetime) -> Check:
    since = "" if record.started_at is None else f" for {span(now - record.started_at)}"
    worker = next((worker for worker in workers if worker.id == record.worker), None)
    if worker is None:
        silent = "which is silent: when the lease is over it runs again"
        return Check("running", False, f"it runs{since} on worker {record.worker}, {silent}", ids=[record.worker])
    asked = ", and was asked to end" if record.cancel_requested else ""
    return Check("running", False, f"it runs{since} on worker {worker.name} ({worker.id}){asked}", ids=[worker.id])


async def _parents(backend: Backend, record: TaskRecord) -> list[Check]:
    ids = [edge.parent for edge in record.parents]
    found = zip(ids, await backend.inspector.get_many(ids), strict=True)
    waits = [(id, parent) for id, parent in found if parent is not None and not parent.state.is_final]
    if not waits:
        return [Check("parents", True, "what it waits for has ended, and it is about to be told", ids=ids)]
    named = [f"{parent.name} ({id}, {parent.state})" for id, parent in waits]
    return [Check("parents", True, f"it waits for {few(named)}", ids=[id for id, _ in waits])]


def _times(record: TaskRecord, now: datetime) -> list[Check]:
    checks = []
    if record.due_at is not None:
        why = "its next attempt" if record.state is TaskState.RETRYING else "it"
        if record.due_at > now:
            checks.append(Check("due", True, f"{why} is due in {span(record.due_at - now)}", record.due_at))
        else:
            checks.append(Check("due", False, f"{why} is due"))
    if record.expires_at is not None:
        checks.append(Check("expires", False, f"it expires in {span(record.expires_at - now)}"))
    return checks


def _pause(record: TaskRecord, settings: QueueSettings) -> Check:
    if settings.paused_reason is None:
        return Check("paused", False, f"the queue {record.queue} is not paused")
    why = f": {settings.paused_reason}" if settings.paused_reason else ""
    end = "" if settings.paused_until is None else f" until {settings.paused_until:%Y-%m-%d %H:%M:%S %Z}"
    return Check("paused", True, f"the queue {record.queue} is paused{end}{why}", settings.paused_until)


# ---------------------------------------------------------------- limits


async def _limits(backend: Backend, record: TaskRecord, settings: QueueSettings, now: datetime) -> list[Check]:
    own = [limit for limit in record.limits if not limit.key.startswith(MARK)]
    tenant: tuple[Limit, ...] = ()
    if record.group:
        tenant = backend.tenants.part(await backend.tenants.quota(record.group)).limits(record.group)
    limits: list[Limit] = [*tenant, *own, *([settings.rate] if settings.rate else [])]
    states = await backend.queues.gates(record.queue, [limit.gate for limit in limits]) if limits else []
    held = {each.gate: each for each in await backend.overrides.all()} if limits else {}
    checks = [_gate(limit, state, now, record, held) for limit, state in zip(limits, states, strict=True)]
    if settings.workers is not None:
        running = (await backend.inspector.counts()).get(record.queue, {}).get(TaskState.RUNNING, 0)
        text = f"{running:,} of {settings.workers:,} tasks that the queue may have at once run"
        checks.append(Check("limit", running >= settings.workers, text))
    return checks


def _gate(
    limit: Limit, state: GateState, now: datetime, record: TaskRecord, overrides: Mapping[str, Override]
) -> Check:
    override = heeded(limit.gate, overrides)
    limit = applied(limit, override)
    name = limit.key
    if name == f"queue:{record.queue}":
        name = f"the queue {record.queue}"
    elif name.startswith(MARK):
        name = f"the tenant {name.removeprefix(MARK)}"
    if isinstance(limit, Rate):
        bucket = refilled(state.bucket, limit, now.timestamp())
        wait = seconds_to_token(bucket, limit)
        text = f"the rate of {name}, {limit.per_second * bucket.share:g}/s, lets "
        if wait == 0:
            return Check("limit", False, f"{text}{int(bucket.tokens)} start now")
        return Check("limit", True, f"{text}one start in {wait:.1f} s", now + timedelta(seconds=wait))
    if isinstance(limit, Slots):
        text = f"{len(state.holders):,} of {limit.limit:,} slots of {name} are taken"
        by = f" by {few(state.holders)}" if state.holders else ""
        return Check("limit", len(state.holders) >= limit.limit, f"{text}{by}", ids=state.holders)
    if override is not None and override.is_open is not None:
        return _forced(override, name)
    return _breaker(limit, state, now, name)


def _forced(override: Override, name: str) -> Check:
    until = None if override.until is None else datetime.fromtimestamp(override.until, UTC)
    end = "" if until is None else f" until {until:%Y-%m-%d %H:%M:%S %Z}"
    why = f": {override.reason}" if override.reason else ""
    text = f"the breaker of {name} is held {'open' if override.is_open else 'closed'} by an operator{end}{why}"
    return Check("breaker", bool(override.is_open), text, until)


def _breaker(limit: Circuit, state: GateState, now: datetime, name: str) -> Check:
    wait = seconds_to_probe(state.breaker, limit, now.timestamp())
    if wait > 0:
        text = f"the breaker of {name} is open: it lets a task through in {wait:.1f} s"
        return Check("breaker", True, text, now + timedelta(seconds=wait))
    is_open = state.breaker is not None and state.breaker.opened_at is not None
    return Check("breaker", False, f"the breaker of {name} is {'half-open' if is_open else 'closed'}")


# ---------------------------------------------------------------- workers, and the place


def serving_workers(queue: str, workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    """Those that serve a queue."""
    return [worker for worker in workers if queue in worker.queues]


def knowing_workers(task: str, workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    """Those that know a task of that name, or do not say what they know."""
    return [worker for worker in workers if not worker.tasks or task in worker.tasks]


def _crew(record: TaskRecord, workers: Sequence[WorkerInfo]) -> list[Check]:
    serving = serving_workers(record.queue, workers)
    if not serving:
        elsewhere = f"; those that live serve {few(sorted({q for w in workers for q in w.queues}))}" if workers else ""
        return [Check("workers", True, f"no live worker serves the queue {record.queue}{elsewhere}")]
    knowing = knowing_workers(record.name, serving)
    ids = [worker.id for worker in knowing]
    if not knowing:
        text = f"no worker that serves {record.queue} ({len(serving):,} do) knows the task {record.name}"
        return [Check("workers", True, text, ids=[worker.id for worker in serving])]
    able = [worker for worker in knowing if worker.state not in STOPPED]
    if not able:
        why = few([f"{worker.name} is {worker.pressure or worker.state}" for worker in knowing])
        return [Check("workers", True, f"no worker takes tasks now: {why}", ids=ids)]
    free = [worker for worker in able if worker.running < worker.concurrency]
    if not free:
        return [Check("workers", True, f"each worker that could run it ({len(able):,}) is busy", ids=ids)]
    return [Check("workers", False, f"{len(free):,} of {len(knowing):,} workers that know it have room", ids=ids)]


async def _place(backend: Backend, record: TaskRecord) -> list[Check]:
    if record.waits_at:
        return []
    ahead = [other.id for other in await backend.inspector.peek(record.queue, PEEKED)]
    if record.id not in ahead:
        return [Check("place", True, f"at least {PEEKED:,} tasks come before it in {record.queue}")]
    number = ahead.index(record.id)
    if number == 0:
        return [Check("place", False, f"it is the next of {record.queue}")]
    come = "1 task comes" if number == 1 else f"{number:,} tasks come"
    return [Check("place", True, f"{come} before it in {record.queue}", ids=ahead[: min(number, SHOWN)])]


def few(names: Sequence[str]) -> str:
    """Some names, the first SHOWN of them."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def span(duration: timedelta) -> str:
    """A duration in words: the two largest units.

    >>> span(timedelta(days=2, hours=3, minutes=4)), span(timedelta(seconds=61.5)), span(timedelta(seconds=0.25))
    ('2 d 3 h', '1 min 1 s', '0.2 s')
    """
    seconds = max(0.0, duration.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)]
    left, parts = int(seconds), list[str]()
    for name, size in units:
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number} {name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))
