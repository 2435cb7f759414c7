"""The beat: has schedules fire when they are due. Any number of them may run; there is no leader.

All go by the same clock, the store's. Each writes what fires together with the schedule in one atomic step, and of all
who try only one gets to do it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from taskq.app import App
from taskq.config import LOOK_EVERY
from taskq.domain.health import STARTING, Health
from taskq.domain.message import Message
from taskq.domain.schedule import Note, Overlap, Rules, Why, due
from taskq.errors import CorruptRecord, KeyMissing, SchemaMismatch, UnsafeStore
from taskq.flows.once import run_of_task
from taskq.periodic import Fires
from taskq.ports import Backend, Change, Enqueued, ScheduleEntry, Scheduler
from taskq.runtime.declaring import Declaring
from taskq.runtime.reports import BLOCKED
from taskq.runtime.service import Beside, every, said
from taskq.schedule_book import refusal_of, scheduler_of
from taskq.schedule_spec import Definition, Fired, State, read_spec, read_state, write

UNUSED = 5
"""How many times as long passes between two looks at a store that has no schedule, and for which code declares none."""
AT_ONCE = 100
"""Schedules that are looked at in one step."""
AWAY = 15.0
"""Seconds after which a store that does not answer counts as away."""
MOST_STRANGE = 1000
CANCELLED = "the next fire of its schedule has begun"
logger = logging.getLogger("taskq.beat")


class _Step(NamedTuple):
    """What is to be written of one schedule."""

    change: Change
    state: State
    instants: Sequence[datetime]
    now: datetime
    """By the store's clock, when it was found due."""


class Beat:
    """Fires the schedules of a store.

    Arguments:
        app: whose store it is, and whose declarations are told to it.
        stopping: ends it; None: `stop` does.
        look_every: seconds after which it looks again, because a schedule may have been changed meanwhile.
    """

    def __init__(self, app: App, stopping: asyncio.Event | None = None, look_every: float = LOOK_EVERY) -> None:
        self._look_every = look_every
        self.beside: list[Beside] = []
        """What else is to be called again and again while it works."""
        self._app = app
        self._stopping = stopping or asyncio.Event()
        self._declaring = Declaring(app, time.monotonic)
        self._unreadable: set[tuple[str, int]] = set()
        self._lost_races = 0
        self._turned_at = time.monotonic()
        self._trouble: tuple[str, str] | None = None
        """What keeps it from its schedules, where that is not only that the store is away."""
        self._looked_at: float | None = None
        """The monotonic second in which the store answered last."""

    async def check(self) -> None:
        """See whether it can begin.

        Raises:
            CapabilityMissing: the store keeps no schedules.
            TaskqError: what the code declares cannot be told to a store.
        """
        self._declaring.check()
        scheduler_of(await self._app.stores.trusted_backend())

    def stop(self) -> None:
        """End soon: what is being written is waited for."""
        self._stopping.set()

    drain = stop

    async def run(self) -> None:
        """Work until it is told to stop."""
        logger.info("the beat has begun; the code declares %d schedules", len(self._app.declarations))
        async with asyncio.TaskGroup() as group:
            group.create_task(every(self._declaring.tick, self._stopping, logger, "declaring schedules"))
            group.create_task(every(self.tick, self._stopping, logger, "the beat"))
            group.create_task(every(self._turn, self._stopping, logger, "the beat's pulse"))
            backend = await self._app.stores.trusted_backend()
            services = [service for each in self.beside for service in each(backend)]
            beside = [group.create_task(every(tick, self._stopping, logger, name)) for name, tick in services]
            await self._stopping.wait()
            for task in beside:  # what one of them is at may take long, and is safe to be begun anew
                task.cancel()

    def health(self) -> Health:
        """Whether it lives and the store answers it; from any thread."""
        trouble = self._trouble
        if self._looked_at is None:
            return STARTING if trouble is None else Health(True, False, dict([trouble]))
        now = time.monotonic()
        still, ago = now - self._turned_at, now - self._looked_at
        is_live, answers = still < BLOCKED, ago < AWAY + self._look_every
        checks = {
            "loop": "turns" if is_live else f"has stood still for {still:.0f} s",
            "store": "answers" if answers or trouble else f"has not answered for {ago:.0f} s",
        }
        checks |= {} if trouble is None else {trouble[0]: trouble[1]}
        return Health(is_live, is_live and answers and trouble is None and not self._stopping.is_set(), checks)

    async def _turn(self) -> float:
        """Note that the event loop turns."""
        self._turned_at = time.monotonic()
        return 1.0

    async def tick(self) -> float:
        """Fire what is due; returns the seconds until there may be more."""
        try:
            wait = await self._fire()
        except (SchemaMismatch, UnsafeStore) as error:  # no pause mends it, as it may mend a connection
            self._trouble = "schema" if isinstance(error, SchemaMismatch) else "store", str(error)
            raise
        self._trouble = None
        return wait

    async def _fire(self) -> float:
        backend = await self._app.stores.trusted_backend()
        scheduler = scheduler_of(backend)
        found, begin = await scheduler.claim_due(AT_ONCE), time.monotonic()
        self._looked_at = begin
        steps = [step for entry, now in found.entries if (step := await self._step(backend, entry, now)) is not None]
        is_first = await self._commit(scheduler, steps)
        if found.next_due is None and not found.entries and self._declaring.is_bare:
            return self._look_every * UNUSED
        waits = [self._look_every if found.next_due is None else found.next_due]
        # Those that have fired are due again before long; it was some time ago that the store told the time.
        ago = time.monotonic() - begin
        for step in steps:
            next_at = step.change.entry.next_at
            waits += [] if next_at is None else [(next_at - step.now).total_seconds() - ago]
        wait = min(self._look_every, max(0.0, min(waits)))
        # Who came too late was as quick as another: a little later it finds the work done, and does not do it too.
        self._lost_races = 0 if is_first else min(self._lost_races + 1, 5)
        return wait + random.uniform(0, 0.01) * self._lost_races

    async def _commit(self, scheduler: Scheduler, steps: Sequence[_Step]) -> bool:
        """Write what fires; returns whether nobody else was first."""
        if not steps:
            return True
        results = await scheduler.commit([step.change for step in steps])
        refused = []
        for step, result in zip(steps, results, strict=True):
            if not result.is_applied:
                continue
            if step.change.fires:
                logger.debug("schedule %s has fired %d times", step.change.entry.name, len(step.change.fires))
            if notes := list(_refusals(step, result.answers)):
                refused.append(_corrected(step, notes))
        if refused:
            await scheduler.commit(refused)
        return any(result.is_applied for result in results)

    async def _step(self, backend: Backend, entry: ScheduleEntry, now: datetime) -> _Step | None:
        """What becomes of a schedule that is due; None where that cannot be told."""
        try:
            (definition, rules), state = _read(entry.spec), read_state(entry.state)
        except (CorruptRecord, ValueError) as error:
            self._complain(entry, error)
            return None
        if entry.next_at is None:  # pragma: no cover - such a one is never due
            return None
        plan = due(rules, entry.next_at, now)
        fires, notes = plan.fires, list(plan.notes)
        if fires and not await self._makes_way(backend, rules, state):
            notes.append(Note(Why.OVERLAP, fires[0], fires[-1], len(fires), now))
            fires = []
        try:
            messages = _messages(self._app.fires, entry, definition, fires, now, notes)
        except KeyMissing as error:  # a beat that has the key may fire it
            self._complain(entry, error)
            return None
        fired = [Fired(instant, now, message.id) for instant, message in messages]
        state = state.with_fired(fired).with_notes(notes)
        entry = replace(entry, state=write(state), next_at=plan.next_at)
        change = Change(entry, [message for _, message in messages])
        return _Step(change, state, [instant for instant, _ in messages], now)

    async def _makes_way(self, backend: Backend, rules: Rules, state: State) -> bool:
        """Whether the tasks of the last fires, or the workflows that they have started, let another begin."""
        if rules.overlap is Overlap.ALLOW:
            return True
        for last in _last_ids(state.fired):
            task = await backend.inspector.get(last)
            run = await run_of_task(backend, self._app.namespace, last)
            runs = run is not None and not run.is_over
            if not runs and (task is None or task.state.is_final):
                continue
            if rules.overlap is Overlap.SKIP:
                return False
            await backend.broker.cancel([last], CANCELLED)
            if run is not None:
                await self._app.find_workflow(run.id).acancel(CANCELLED)
        return True

    def _complain(self, entry: ScheduleEntry, error: Exception) -> None:
        """Tell once of a schedule that cannot be read: a later release may have written it, or a key is not here."""
        key = (entry.name, entry.revision)
        if key not in self._unreadable:
            if len(self._unreadable) >= MOST_STRANGE:
                self._unreadable.clear()
            self._unreadable.add(key)
            logger.error("schedule %s does not fire: %s", entry.name, said(error))


def _last_ids(fired: Sequence[Fired]) -> list[str]:
    """The tasks of the last instant that has fired, and of what people have asked for since."""
    found = []
    for one in reversed(fired):
        found.append(one.id)
        if one.instant is not None:
            break
    return found


@lru_cache(AT_ONCE)
def _read(spec: bytes) -> tuple[Definition, Rules]:
    """What holds of a schedule: it is the same from fire to fire, until somebody changes it."""
    definition = read_spec(spec).effective
    return definition, definition.rules()


def _messages(
    fires: Fires,
    entry: ScheduleEntry,
    definition: Definition,
    instants: Sequence[datetime],
    now: datetime,
    notes: list[Note],
) -> list[tuple[datetime, Message]]:
    """The task of each instant; where the call cannot be made it is noted, and the schedule goes on."""
    made: list[tuple[datetime, Message]] = []
    for instant in instants:
        try:
            made.append((instant, fires.message(entry.name, entry.queue, definition, instant)))
        except KeyMissing:
            raise
        except Exception as error:  # noqa: BLE001 - a hook's own code may raise anything
            logger.error("schedule %s could not fire for %s: %s", entry.name, instant.isoformat(), said(error))
            notes.append(Note(Why.REFUSED, instant, instant, 1, now))
    return made


def _refusals(step: _Step, answers: Sequence[Enqueued]) -> list[tuple[str, Note]]:
    """What was not stored, by its id."""
    entry, fired = step.change.entry, step.state.fired
    at = fired[-1].at if fired else None
    found = []
    for instant, message, answer in zip(step.instants, step.change.fires, answers, strict=True):
        why = refusal_of(message, answer)
        if why is not None:
            logger.warning("schedule %s could not fire for %s: %s", entry.name, instant.isoformat(), why.value)
            found.append((message.id, Note(why, instant, instant, 1, at or instant)))
    return found


def _corrected(step: _Step, refused: Sequence[tuple[str, Note]]) -> Change:
    state = step.state
    for id, note in refused:
        state = state.without_fired(id).with_notes([note])
    entry = step.change.entry
    return Change(replace(entry, state=write(state), revision=entry.revision + 1))
