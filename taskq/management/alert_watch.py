"""Looks whether there is a reason for an alert: one process at a time, of beats, servers and workers with --beat."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace as with_bounds
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from taskq.alert_rules import AlertOptions
from taskq.app import App
from taskq.domain.alerts import Bounds, Course, Reading, Rule, Verdict, judge, worst
from taskq.errors import TaskqError
from taskq.management.alert_readings import STORE, Found, Readings
from taskq.management.alert_telling import AlertTeller
from taskq.management.alerts import (
    Alert,
    AlertBook,
    Change,
    Kept,
    Key,
    Row,
    is_older,
    notice_of,
    plain,
    raised,
    with_notice,
)
from taskq.ports import Backend, Event
from taskq.ports.events import ALERTS
from taskq.runtime.duty import Duty
from taskq.runtime.service import said
from taskq.store_clock import store_now

DUTY = "alerts"
EVERY = 5.0
HELD = 15.0
"""Seconds for which the duty is kept without being asked for again."""
MOST_ACTIVE = 200
"""Subjects of one rule that have an alert each."""
OTHERS = "(others)"
"""The subject that stands for those for which there is no room."""
REWRITE_AFTER = 60.0
"""Seconds after which the value of an alert that goes on is written anew."""
logger = logging.getLogger("taskq.alerts")


class _Look(NamedTuple):
    """One look at the store, and what was kept there."""

    backend: Backend
    book: AlertBook
    rows: dict[Key, Row]
    now: datetime


class AlertWatch:
    """Raises alerts and clears them.

    Arguments:
        app: whose store it is.
        options: the bounds of the rules, and who is told.
        teller: is given what is to be told.
        holder: random for each start of a process.
        now: the seconds of a clock that never goes back.
    """

    def __init__(
        self,
        app: App,
        options: AlertOptions,
        teller: AlertTeller,
        holder: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._options = options
        self._teller = teller
        self._duty = Duty(DUTY, holder, HELD, app.backend)
        self._now = now
        self._readings = Readings(app, options.bounds, now)
        self._courses: dict[Key, Course] = {}
        self._away_since: float | None = None
        """The second in which the first question was asked that the store has not answered."""
        self._away_alert: Alert | None = None
        """While it is away nothing can be written there."""

    @property
    def is_holder(self) -> bool:
        """Whether it is our duty to look."""
        return self._duty.is_held

    async def tick(self) -> float:
        """Look once, if the duty is ours; returns the seconds to the next time."""
        began = self._now()
        try:
            backend = await self._app.backend()
            was_holder, is_holder = self.is_holder, await self._duty.take()
            if was_holder and not is_holder:
                self._step_down()
            await self._write_down_absence(backend)
            if is_holder:
                await self._look(backend)
                if not was_holder:
                    logger.info("this process looks for alerts from now on")
        except TaskqError as error:
            self._miss(began, error)
            return EVERY
        return EVERY if is_holder else EVERY * random.uniform(0.8, 1.2)

    async def farewell(self) -> None:
        """Leave the duty to another at once."""
        if self.is_holder:
            self._step_down()
            await self._duty.leave()

    def _step_down(self) -> None:
        self._courses.clear()
        self._readings.forget()
        self._teller.offer([])

    async def _look(self, backend: Backend) -> None:
        book = AlertBook(backend)
        now = await store_now(backend)
        rows = await book.rows()
        kept = (row.kept.alert for row in rows.values())
        active = [alert for alert in kept if alert.is_active and alert.subject != OTHERS]
        found = await self._readings.take(backend, now, active)
        look = _Look(backend, book, rows, now)
        courses: dict[Key, Course] = {}
        for rule in Rule:
            for subject, reading, bounds in self._subjects(rule, found.get(rule), look):
                courses[rule, subject] = await self._judge(rule, subject, reading, bounds, look)
        self._courses = courses
        await self._see_to_rows(look)

    def _subjects(self, rule: Rule, found: Found | None, look: _Look) -> Iterator[tuple[str, Reading | None, Bounds]]:
        """The subjects of a rule that may change, with what was read of each."""
        bounds = self._options.bounds(rule)
        active = frozenset(
            subject for (of, subject), row in look.rows.items() if of == rule and row.kept.alert.is_active
        )
        if found is None:
            yield from ((subject, None, bounds) for subject in active)
            return
        meant = {subject: one for subject, one in found.items() if bounds.is_about(rule, subject)}
        subjects, rest = worst(meant, active - {OTHERS}, bounds, MOST_ACTIVE)
        for subject in subjects:
            yield subject, meant.get(subject, Reading(0.0, f"{subject} is no more")), bounds
        if rest or OTHERS in active:
            yield OTHERS, Reading(rest, f"{rest:,} more"), with_bounds(bounds, above=0.0)

    async def _judge(self, rule: Rule, subject: str, reading: Reading | None, bounds: Bounds, look: _Look) -> Course:
        key = (str(rule), subject)
        row = look.rows.get(key)
        is_active = row is not None and row.kept.alert.is_active
        before = self._courses.get(key, Course())
        if before.is_raised != is_active:  # somebody else has raised it, or cleared it
            before = Course(is_active)
        value = None if reading is None else reading.value
        judged = judge(bounds, value, before, look.now.timestamp())
        if reading is not None and judged.verdict is Verdict.RAISED and judged.since is not None:
            since = datetime.fromtimestamp(judged.since, UTC)
            alert = raised(rule, subject, reading, bounds, since, look.now)
            return judged.course if await self._change(Change.RAISED, alert, row, look) else before
        if row is not None and judged.verdict is Verdict.CLEARED:
            cleared = replace(row.kept.alert, cleared_at=look.now)
            return judged.course if await self._change(Change.CLEARED, cleared, row, look) else before
        if row is not None and reading is not None and is_active:
            await self._go_on(key, row, reading, look)
        return judged.course

    async def _change(self, change: Change, alert: Alert, row: Row | None, look: _Look) -> bool:
        """Raise or clear, unless somebody else was first: who writes it tells of it."""
        kept = Kept(alert) if row is None else Kept(alert, row.kept.untold)
        kept = with_notice(
            replace(kept, written_at=look.now, reminded_at=look.now),
            *(change, look.now, await self._channels(look)),
        )
        if row is not None and not row.kept.alert.is_active:
            await look.book.note(row.kept.alert)  # it is over, and its document is to hold another
        if not await look.book.put(kept, 0 if row is None else row.version):
            return False
        look.rows[alert.rule, alert.subject] = Row(kept, 1 if row is None else row.version + 1)
        log(change, alert)
        with contextlib.suppress(TaskqError):
            await look.backend.events.publish([event_of(change, alert)])
        return True

    async def _go_on(self, key: Key, row: Row, reading: Reading, look: _Look) -> None:
        """Note how it stands now and then, and tell of it again where nobody has acknowledged it."""
        kept, after = row.kept, self._options.remind_after
        is_silent = kept.alert.acknowledged_at is None and after > 0
        reminds = is_silent and is_older(kept.reminded_at, look.now, after)
        is_stale = reading.text != kept.alert.text and is_older(kept.written_at, look.now, REWRITE_AFTER)
        if not (reminds or is_stale):
            return
        alert = replace(kept.alert, value=reading.value, text=reading.text)
        changed = replace(kept, alert=alert, written_at=look.now)
        if reminds:
            changed = replace(changed, reminded_at=look.now)
            changed = with_notice(changed, Change.REMINDED, look.now, await self._channels(look))
        if await look.book.put(changed, row.version):
            look.rows[key] = Row(changed, row.version + 1)
            if reminds:
                log(Change.REMINDED, alert)

    async def _channels(self, look: _Look) -> list[str]:
        """By what people are told, of this process and of all others."""
        return sorted({*self._options.channels, *await look.book.channels(look.now)})

    async def _see_to_rows(self, look: _Look) -> None:
        """Hand on what is to be told, and put aside what is over and told."""
        for row in look.rows.values():
            if not row.kept.untold and not row.kept.alert.is_active:
                await look.book.put_aside(row)
        self._teller.offer([row.kept for row in look.rows.values() if row.kept.untold])

    # ------------------------------------------------------------ a store that is away

    def _miss(self, began: float, error: TaskqError) -> None:
        """The store does not answer. Who looked tells of it, and who told, by what does not need the store."""
        logger.debug("the rules of alerts could not be looked at: %s", said(error))
        bounds, now = self._options.bounds(Rule.STORE_AWAY), self._now()
        if not (self.is_holder or self._teller.tells) or not bounds.enabled or self._away_alert is not None:
            return
        if self._away_since is None:
            self._away_since = began
        if now - self._away_since < bounds.hold_for:
            return
        at = datetime.now(UTC)
        reading = Reading(1.0, f"the store does not answer: {said(error)}")
        since = at - timedelta(seconds=now - self._away_since)
        self._away_alert = alert = raised(Rule.STORE_AWAY, STORE, reading, bounds, since, at)
        log(Change.RAISED, alert)
        self._teller.tell_without_store(notice_of(Change.RAISED, alert, at, self._teller.tells))

    async def _write_down_absence(self, backend: Backend) -> None:
        """The store is back: it keeps the alert about itself, which is cleared as any other is."""
        self._away_since = None
        alert = self._away_alert
        if alert is None:
            return
        book, now = AlertBook(backend), await store_now(backend)
        row = await book.get((alert.rule, alert.subject))
        # That of whoever has told people goes before: they know it by its id.
        is_known = row is not None and row.kept.alert.is_active and not self._teller.tells
        kept = Kept(alert, () if row is None else row.kept.untold, now, now)
        if is_known or await book.put(kept, 0 if row is None else row.version):
            self._away_alert = None


def event_of(change: Change, alert: Alert) -> Event:
    """What listeners are told."""
    data = {"kind": f"alert.{change}", **plain(alert)}
    return Event(ALERTS, msgspec.json.encode(data).decode())


def log(change: Change, alert: Alert) -> None:
    """Note a change in the log."""
    level = logging.INFO if change in (Change.CLEARED, Change.ACKNOWLEDGED) else logging.WARNING
    fields = {"alert_id": alert.id, "rule": alert.rule, "subject": alert.subject, "change": str(change)}
    logger.log(level, "alert %s %s: %s", change, alert.rule, alert.text, extra={"taskq": fields})
