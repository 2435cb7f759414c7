"""What code declares and what the store keeps, brought together again and again.

The rule: code says what a schedule is, and goes on saying it; what people have changed of it stays changed, field by
field, until they take it back; a pause stays until somebody ends it. A schedule that no code has declared for a while
rests until some does again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec

from taskq.app import App
from taskq.errors import ConfigError, TaskqError
from taskq.periodic import Declaration
from taskq.ports import Change, ScheduleEntry
from taskq.runtime.service import said
from taskq.schedule_book import Book, Page
from taskq.schedule_spec import Definition, Pause, Spec, State, differences

DECLARE_EVERY = 60.0
AGAIN = 0.05
"""Seconds to the next try where others have written a schedule meanwhile: a beat that fires it, for example.

They double with each in a row.
"""
RENEWED_AFTER = timedelta(minutes=2)
"""A declaration is written down anew after that time, so that other beats see that it is still made."""
RETIRED_AFTER = timedelta(minutes=10)
"""A schedule that no beat has declared for so long, while this one ran, rests."""
RETIREMENT = "no code declares it any more"
logger = logging.getLogger("taskq.beat")


class Declaring:
    """Tells the store what the code of an application declares.

    Arguments:
        app: whose declarations they are.
        clock: seconds, of a clock that only goes forward.
    """

    def __init__(self, app: App, clock: Callable[[], float]) -> None:
        self._app = app
        self._clock = clock
        self._since = clock()
        self._complaints: dict[str, str] = {}
        self._lost_races = 0
        self.is_bare = False
        """Whether there was no schedule when this was last seen to, and code declares none."""

    def check(self) -> None:
        """Refuse declarations that cannot be told to a store.

        Raises:
            ConfigError: the arguments of one do not fit its task, or a key to encrypt them is missing.
        """
        for declaration in self._app.declarations:
            try:
                self._app.fires.sealed(declaration.name, declaration.definition())
            except TaskqError as error:
                raise ConfigError(f"schedule {declaration.name!r} cannot be declared: {error}") from error

    async def tick(self) -> float:
        """Bring both together; returns the seconds until the next time."""
        book = Book(self._app.fires, await self._app.stores.trusted_backend())
        known = {entry.name: entry for entry in await book.scheduler.entries()}
        self.is_bare = not known and not self._app.declarations
        changes = []
        for declaration in self._app.declarations:
            entry = known.pop(declaration.name, None)
            changes.append(await self._or_complain(declaration.name, self._declared(book, declaration, entry)))
        if self._clock() - self._since >= RETIRED_AFTER.total_seconds():
            for name, entry in known.items():
                changes.append(await self._or_complain(name, self._retired(book, entry)))
        if to_write := [change for change in changes if change is not None]:
            done = await book.scheduler.commit(to_write)
            if not all(one.is_applied for one in done):
                self._lost_races += 1
                return min(DECLARE_EVERY, AGAIN * 2.0 ** min(self._lost_races - 1, 20))
        self._lost_races = 0
        return DECLARE_EVERY

    async def _declared(self, book: Book, declaration: Declaration, entry: ScheduleEntry | None) -> Change | None:
        definition = declaration.definition()
        if entry is None:
            now = await book.scheduler.now(self._app.fires.queue_of(definition))
            return await book.new(declaration.name, Spec(definition, is_declared=True), State(declared_at=now))
        page, now = book.read(entry), await book.scheduler.now(entry.queue)
        spec = _declared_anew(page.spec, definition)
        seen = page.state.declared_at
        is_as_said = spec == page.spec and entry.queue == self._app.fires.queue_of(spec.effective)
        if is_as_said and seen is not None and now - seen < RENEWED_AFTER:
            return None
        state = msgspec.structs.replace(page.state, declared_at=now)
        return await book.rewritten(page, spec, state, now, is_by_code=True)

    async def _retired(self, book: Book, entry: ScheduleEntry) -> Change | None:
        page, now = book.read(entry), await book.scheduler.now(entry.queue)
        if not page.spec.is_declared or page.spec.pause is not None or not _is_forgotten(page, now):
            return None
        logger.warning("schedule %s rests: %s", entry.name, RETIREMENT)
        spec = msgspec.structs.replace(page.spec, pause=Pause(RETIREMENT, is_retirement=True))
        return await book.rewritten(page, spec, page.state, now)

    async def _or_complain(self, name: str, change: Awaitable[Change | None]) -> Change | None:
        """The change; where it cannot be told, one log line says why, and the others go on."""
        try:
            found = await change
        except (TaskqError, ValueError) as error:
            text = said(error)
            if self._complaints.get(name) != text:
                self._complaints[name] = text
                logger.error("schedule %s is not declared: %s", name, text)
            return None
        self._complaints.pop(name, None)
        return found


def _declared_anew(spec: Spec, definition: Definition) -> Spec:
    """What holds once code has said what a schedule is.

    What people had made of their own counts as their change of it, but for arguments of another task.
    """
    changes = spec.changes if spec.is_declared else differences(definition, spec.effective)
    left_out = {"task"} if spec.effective.task == definition.task else {"task", "arguments", "is_sealed"}
    changes = {field: value for field, value in changes.items() if field not in left_out}
    pause = None if spec.pause is not None and spec.pause.is_retirement else spec.pause
    return Spec(definition, is_declared=True, changes=changes, pause=pause)


def _is_forgotten(page: Page, now: datetime) -> bool:
    return page.state.declared_at is None or now - page.state.declared_at >= RETIRED_AFTER
