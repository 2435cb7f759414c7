"""Changes of many tasks at once: counted and agreed to first, then done step by step, at a rate, unless cancelled.

A job lies in the store: who runs it may die, and another goes on where it was. Each step is safe to say twice.
"""

from __future__ import annotations

import math
import time
from asyncio import sleep as rest
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from secrets import token_hex
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from taskq.config import check_identifier, is_number, is_whole, shown
from taskq.documents import Shelf
from taskq.domain.query import Operator, Query, Term
from taskq.domain.record import TaskRecord
from taskq.domain.state import FINAL, REDRIVABLE, TaskState
from taskq.errors import InvalidOption, NotApplied, TaskqError
from taskq.ids import new_id
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.management.finding import Count, count, find, masked, read_query
from taskq.ports import Backend, CancelStatus, RedriveStatus
from taskq.store_clock import store_now

KIND = "job"
"""Of the documents in which jobs are kept."""
STEP = 100
"""Tasks that one step acts on."""
SAMPLE = 10
SILENCE = timedelta(seconds=20)
"""After which somebody else may go on with a job of which nothing is heard."""
SAY_EVERY = SILENCE.total_seconds() / 4
"""Seconds after which a runner that rests says that it is there."""
RETENTION = timedelta(days=7)
"""How long a job that is over is kept."""
NOT_FOUND = "there is no job {}; those that are over are kept for a week"
MOST_NAMED = 100
"""Tasks that a job names of those on which it could not act."""


class Action(StrEnum):
    """What a job does to each task."""

    CANCEL = "cancel"
    RETRY = "retry"
    FORGET = "forget"
    """Take the record of a task that has ended out of the store, for good."""


_MEANT: Mapping[Action, frozenset[TaskState]] = {
    Action.CANCEL: frozenset(TaskState) - FINAL,
    Action.RETRY: REDRIVABLE,
    Action.FORGET: FINAL,
}
"""The states of the tasks on which it can act; others that the query means are left alone."""
_TAKES: Mapping[Action, Permission] = {
    Action.CANCEL: Permission.ACT,
    Action.RETRY: Permission.ACT,
    Action.FORGET: Permission.DESTROY,
}


class JobState(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    """It is to be done, or is being done."""
    DONE = "done"
    CANCELLED = "cancelled"


class JobNotFound(TaskqError):
    """There is no job of that id, or not for whoever asks."""


class Plan(NamedTuple):
    """What a job would do."""

    action: Action
    query: str
    counted: Count
    """How many tasks it means."""
    sample: Sequence[TaskRecord]
    """Some of them."""


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of many tasks, and how far it is."""

    id: str
    action: Action
    query: str
    actor: str
    created_at: datetime
    """By the store's clock: tasks that came later are not meant."""
    tenant: str = ""
    """The only one whose tasks it touches; "" for all."""
    counted: int = 0
    """How many tasks it was about when it was agreed to."""
    limit: int | None = None
    """The most to act on."""
    rate: float | None = None
    """Tasks a second at the most."""
    reason: str = ""
    queue: str | None = None
    """Where tasks that start anew go; None: each to its own."""
    state: JobState = JobState.RUNNING
    answers: dict[str, int] = {}
    """What became of how many: "cancelled", "asked to end", "started anew", "forgotten", "held", "left alone"."""
    left: dict[str, str] = {}
    """Of those on which it could not act, the first: id → what became of it."""
    cursor: str | None = None
    is_told_to_end: bool = False
    runner: str = ""
    seen_at: datetime | None = None
    """When its runner was heard of last."""
    ended_at: datetime | None = None

    @property
    def done(self) -> int:
        """How many tasks it has come to."""
        return sum(self.answers.values())


_SHELF = Shelf(KIND, Job, "job")


class JobDesk(Desk):
    """The jobs of a store."""

    async def plan(self, action: Action | str, query: str, *, limit: int | None = None) -> Plan:
        """What a job would do: how many tasks it means, and some of them. Nothing is changed.

        Raises:
            QueryError: the query cannot be read.
            Forbidden: whoever asks may not do that.
        """
        kind = _action(action)
        backend = await self.look(_TAKES[kind])
        meant = _meant(kind, read_query(query, self.actor))
        counted = await count(backend, meant)
        if limit is not None and counted.number > limit:
            counted = Count(limit, True)
        page = await find(backend, meant, min(SAMPLE, limit or SAMPLE), None)
        return Plan(kind, query, counted, [masked(record) for record in page.records])

    async def start(
        self,
        action: Action | str,
        query: str,
        *,
        confirmed: int,
        limit: int | None = None,
        rate: float | None = None,
        reason: str = "",
        queue: str | None = None,
    ) -> Job:
        """Make a job; `run` does it, here or elsewhere.

        Arguments:
            confirmed: how many tasks somebody has agreed to, as `plan` has counted them.
            limit: the most to act on.
            rate: tasks a second at the most; None: as fast as the store lets it.
            reason: why tasks are cancelled, for people.
            queue: where tasks that start anew go.

        Raises:
            NotApplied: the query means more tasks by now.
        """
        _check(limit, rate, queue)
        plan = await self.plan(action, query, limit=limit)
        if plan.counted.number > confirmed:
            more = f"more than the {confirmed:,} that were agreed to: ask anew"
            raise NotApplied(f"{plan.counted} tasks are meant by now, {more}")
        now = await store_now(await self.app.backend())
        job = Job(
            *(new_id(0), plan.action, query, self.actor.name, now, self.actor.tenant),
            counted=plan.counted.number,
            limit=limit,
            rate=rate,
            reason=reason,
            queue=queue,
        )
        on = {"job": job.id, "action": job.action, "query": query}
        async with self.act(_TAKES[job.action], "job.start", on, before={"counted": str(plan.counted)}) as backend:
            await self._tidy(backend)
            await _SHELF.put(backend.documents, job.id, job)
        return job

    async def get(self, id: str) -> Job:
        """A job as it is now.

        Raises:
            JobNotFound: there is none.
            Unreadable: what the store has of it cannot be read.
        """
        return await self._read(await self.look(), id)

    async def list(self) -> Sequence[Job]:
        """All jobs, the newest first; those that are over are kept for a week."""
        backend = await self.look()
        jobs = [entry.value for entry in await _SHELF.all(backend.documents) if self.actor.sees(entry.value.tenant)]
        return sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)

    async def cancel(self, id: str) -> Job:
        """Have a job end after the step that it is in; what it has done stays done. One that is over stays as it is."""
        backend = await self.look()
        job = await self._read(backend, id)
        if job.state is not JobState.RUNNING:
            return job
        async with self.act(_TAKES[job.action], "job.cancel", {"job": id}):
            return await self._write(backend, id, lambda job: replace(job, is_told_to_end=True))

    async def waiting(self) -> Sequence[str]:
        """The ids of jobs that are to be done and of whose runners nothing is heard."""
        backend = await self.look()
        return [entry.id for entry in await _SHELF.all(backend.documents) if _is_free(entry.value)]

    async def run(self, id: str, on_step: Callable[[Job], Awaitable[None] | None] | None = None) -> Job:
        """Do a job to its end, or go on with one whose runner has died.

        Arguments:
            on_step: told of it after each step.

        Raises:
            NotApplied: somebody else is at it.
        """
        backend = await self.look()
        me = token_hex(8)

        def taken(job: Job) -> Job:
            if job.state is not JobState.RUNNING:
                return job
            if not _is_free(job):
                raise NotApplied(f"somebody else is at the job {id}")
            return replace(job, runner=me, seen_at=datetime.now(UTC))

        job = await self._write(backend, id, taken)
        while job.state is JobState.RUNNING:
            begin = time.monotonic()
            before = job.done
            step = await self._step(backend, job)
            job = await self._write(backend, id, lambda now, step=step: _joined(now, step, me))  # type: ignore[misc]
            if on_step is not None and (telling := on_step(job)) is not None:
                await telling
            if job.rate is not None and job.state is JobState.RUNNING:
                await self._rest(backend, job, begin + (job.done - before) / job.rate, me)
        return job

    async def _rest(self, backend: Backend, job: Job, until: float, me: str) -> None:
        """Wait for the monotonic second `until`, or until the job is told to end; say meanwhile that it goes on.

        Raises:
            NotApplied: somebody else has gone on with it.
        """
        while (left := until - time.monotonic()) > 0:
            await rest(min(left, SAY_EVERY))
            if left <= SAY_EVERY:
                return
            if (await self._write(backend, job.id, lambda now: _joined(now, now, me))).is_told_to_end:
                return

    async def _step(self, backend: Backend, job: Job) -> Job:
        """The job after its next step."""
        if (await self._read(backend, job.id)).is_told_to_end:
            return replace(job, state=JobState.CANCELLED)
        most = STEP if job.rate is None else max(1, min(STEP, math.ceil(job.rate)))
        if job.limit is not None:
            most = min(most, job.limit - job.done)
        query = read_query(job.query, self.actor)
        if job.tenant:
            query = query._replace(terms=(*query.terms, Term("tenant", (job.tenant,))))
        # What came after it was agreed to is not meant.
        until = Term("created", (job.created_at.isoformat(),), Operator.AT_MOST)
        meant = _meant(job.action, query._replace(terms=(*query.terms, until)))
        page = await find(backend, meant, most, job.cursor) if most else None
        ids = [record.id for record in page.records] if page is not None else []
        answers = await _act(backend, job, ids) if ids else []
        left = {id: answer for id, answer in zip(ids, answers, strict=True) if answer in _LEFT}
        named = dict([*job.left.items(), *left.items()][:MOST_NAMED])
        is_over = page is None or page.next_cursor is None
        return replace(
            job,
            answers=dict(Counter(job.answers) + Counter(answers)),
            left=named,
            cursor=None if page is None else page.next_cursor,
            state=JobState.DONE if is_over else JobState.RUNNING,
        )

    # ------------------------------------------------------------ documents

    async def _read(self, backend: Backend, id: str) -> Job:
        found = await _SHELF.get(backend.documents, id)
        if found is None or not self.actor.sees(found.value.tenant):
            raise JobNotFound(NOT_FOUND.format(id))
        return found.value

    async def _write(self, backend: Backend, id: str, change: Callable[[Job], Job]) -> Job:
        """Change a job, whoever else does so at the same time."""

        def checked(job: Job) -> Job:
            if not self.actor.sees(job.tenant):
                raise JobNotFound(NOT_FOUND.format(id))
            return change(job)

        changed = await _SHELF.change(backend.documents, id, checked)
        if changed is None:
            raise JobNotFound(NOT_FOUND.format(id))
        return changed

    async def _tidy(self, backend: Backend) -> None:
        limit = datetime.now(UTC) - RETENTION
        for entry in await _SHELF.all(backend.documents):
            if entry.value.ended_at is not None and entry.value.ended_at < limit:
                await backend.documents.delete(KIND, entry.id, entry.version)


_LEFT = frozenset({"held", "left alone"})


async def _act(backend: Backend, job: Job, ids: Sequence[str]) -> list[str]:
    """What becomes of each task."""
    match job.action:
        case Action.CANCEL:
            words = {CancelStatus.CANCELLED: "cancelled", CancelStatus.REQUESTED: "asked to end"}
            return [words.get(status, "left alone") for status in await backend.broker.cancel(ids, job.reason)]
        case Action.RETRY:
            said = {RedriveStatus.MOVED: "started anew", RedriveStatus.HELD: "held"}
            answers = await backend.inspector.redrive(ids, job.queue)
            return [said.get(answer.status, "left alone") for answer in answers]
        case _:
            gone = await backend.inspector.discard(ids)
            return ["forgotten"] * gone + ["left alone"] * (len(ids) - gone)


def _action(action: Action | str) -> Action:
    if action not in tuple(Action):
        raise InvalidOption(f"action must be one of {', '.join(Action)}, not {shown(action)}")
    return Action(action)


def _check(limit: int | None, rate: float | None, queue: str | None) -> None:
    if not (limit is None or (is_whole(limit) and limit >= 1)):
        raise InvalidOption(f"limit must be a whole number over 0, not {shown(limit)}")
    if not (rate is None or (is_number(rate) and 0.001 <= rate <= 1e6)):
        raise InvalidOption(f"rate must be from 0.001 to a million tasks a second, not {shown(rate)}")
    if queue is not None:
        check_identifier("queue", queue)


def _meant(action: Action, query: Query) -> Query:
    """The query without the tasks on which the action cannot act."""
    states = tuple(sorted(_MEANT[action]))
    return query._replace(terms=(*query.terms, Term("state", states)))


def _is_free(job: Job) -> bool:
    is_silent = job.seen_at is None or datetime.now(UTC) - job.seen_at > SILENCE
    return job.state is JobState.RUNNING and is_silent


def _joined(now: Job, step: Job, runner: str) -> Job:
    """A job after a step, with what others have said of it meanwhile."""
    if now.runner != runner:
        raise NotApplied(f"somebody else has gone on with the job {now.id}")
    ended_at = None if step.state is JobState.RUNNING else datetime.now(UTC)
    return replace(step, is_told_to_end=now.is_told_to_end, seen_at=datetime.now(UTC), runner=runner, ended_at=ended_at)
