"""Writing schedules: from what is to hold of one to what the store is told, and when it is due then."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from taskq.domain.message import Message
from taskq.domain.schedule import MOST_COUNTED, Note, Rules, Why, after_pause
from taskq.errors import CapabilityMissing
from taskq.periodic import Fires
from taskq.ports import Backend, Change, Enqueued, EnqueueStatus, ScheduleEntry, Scheduler
from taskq.schedule_spec import Definition, Spec, State, read_spec, read_state, write


class Page(NamedTuple):
    """A schedule as it is kept, read."""

    entry: ScheduleEntry
    spec: Spec
    state: State


def scheduler_of(backend: Backend) -> Scheduler:
    """What keeps the schedules of a store.

    Raises:
        CapabilityMissing: nothing does.
    """
    if backend.scheduler is None:
        raise CapabilityMissing("this store keeps no schedules")
    return backend.scheduler


class Book:
    """The schedules of a store.

    Arguments:
        fires: what makes their tasks.
        backend: the store, open.
    """

    def __init__(self, fires: Fires, backend: Backend) -> None:
        self._fires = fires
        self._backend = backend
        self.scheduler = scheduler_of(backend)

    def read(self, entry: ScheduleEntry, *, opens: bool = True) -> Page:
        """Read a schedule.

        Arguments:
            opens: whether its arguments are wanted in the clear, for which there must be a key.

        Raises:
            CorruptRecord: it cannot be read.
            KeyMissing: there is no key for its arguments.
        """
        spec = read_spec(entry.spec)
        return Page(entry, self._fires.opened_spec(entry.name, spec) if opens else spec, read_state(entry.state))

    async def new(self, name: str, spec: Spec, state: State) -> Change:
        """A schedule that is not there yet."""
        definition = spec.effective
        queue = self._fires.queue_of(definition)
        next_at = definition.rules().next_after(await self.scheduler.now(queue))
        sealed = write(self._fires.sealed_spec(name, spec))
        return Change(ScheduleEntry(name=name, queue=queue, spec=sealed, state=write(state), next_at=next_at))

    async def rewritten(
        self, page: Page, spec: Spec, state: State, now: datetime, *, is_by_code: bool = False
    ) -> Change:
        """A schedule of which something else is to hold.

        Where another shard is to keep it, it is taken out of its own at once.

        Arguments:
            page: the schedule as it was.
            spec: what is to hold; arguments in the clear are encrypted where its tasks are.
            state: what has become of it.
            now: by the store's clock.
            is_by_code: whether it is the code of the task that says so. Others need not know its queue: it stays,
                unless they name another queue or task.
        """
        entry = page.entry
        is_asked = _place(page.spec.effective) != _place(spec.effective)
        queue = self._fires.queue_of(spec.effective) if is_by_code or is_asked else entry.queue
        revision = entry.revision
        next_at, notes = _next(page, spec, now)
        if spec.pause is not None:
            spec = msgspec.structs.replace(spec, pause=msgspec.structs.replace(spec.pause, next_at=next_at))
            next_at = None
        if self._backend.shard_of(queue) != self._backend.shard_of(entry.queue):
            await self.scheduler.remove(entry.name)
            revision = 0
        told = write(self._fires.sealed_spec(entry.name, spec))
        state = state.with_notes(notes)
        return Change(replace(entry, queue=queue, spec=told, state=write(state), next_at=next_at, revision=revision))


def _next(page: Page, spec: Spec, now: datetime) -> tuple[datetime | None, list[Note]]:
    """When a schedule is due next, and what is to be told of the time in which it was paused."""
    before, after = page.spec.effective, spec.effective
    next_at = page.entry.next_at if page.spec.pause is None else page.spec.pause.next_at
    notes: list[Note] = []
    if page.spec.pause is not None and spec.pause is None:
        plan = after_pause(before.rules(), next_at, now)
        next_at, notes = plan.next_at, plan.notes
    if _instants(before) != _instants(after):
        if next_at is not None and next_at <= now:
            why = Why.MISSED if page.spec.pause is None else Why.PAUSED
            next_at, notes = _overdue(before.rules(), after.rules(), next_at, now, why)
        else:
            next_at = after.rules().next_after(now)
    return next_at, notes


def _overdue(
    before: Rules, after: Rules, next_at: datetime, now: datetime, why: Why
) -> tuple[datetime | None, list[Note]]:
    """When one is due next that should have fired by what held before: at once, where it should by what holds too."""
    if after.next_after(next_at - timedelta(microseconds=1)) == next_at:
        return next_at, []
    last = now if before.end is None else min(now, before.end)
    number = before.timing.count(next_at, last, MOST_COUNTED)
    [newest] = before.timing.newest(next_at, last, 1)
    return after.next_after(now), [Note(why, next_at, newest, number, now)]


def _place(definition: Definition) -> tuple[str, str | None]:
    """What tells where its tasks go."""
    return definition.task, definition.options.get("queue")


def _instants(definition: Definition) -> tuple[object, ...]:
    """What tells when a schedule is due."""
    return definition.timing, definition.start, definition.end


def refusal_of(message: Message, answer: Enqueued) -> Why | None:
    """Why the task of a fire is not there; None: it is."""
    if answer.status is EnqueueStatus.DUPLICATE and answer.id != message.id:
        return Why.HELD
    refusals = (EnqueueStatus.FULL, EnqueueStatus.OVER_QUOTA, EnqueueStatus.CONFLICT)
    return Why.REFUSED if answer.status in refusals else None
