"""What can be done with schedules at run time, from async code."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, Unpack

import msgspec

from taskq.backends import Stores
from taskq.config import is_whole, shown
from taskq.domain.schedule import Misfire, Note, Overlap, Rules, Why
from taskq.domain.timing import Timing
from taskq.errors import InvalidOption, KeyMissing, NotApplied, ScheduleNotFound, TaskqError
from taskq.handle import TaskHandle
from taskq.options import as_seconds
from taskq.periodic import OPTIONS, Declarations, Fires, ScheduleKeywords, check_name, define
from taskq.ports import Change
from taskq.schedule_book import Book, Page, refusal_of
from taskq.schedule_spec import Definition, Fired, Pause, Spec, State, differences, write
from taskq.sending import refuse

ATTEMPTS = 20
"""Times that a change is tried while others write the same schedule."""
LONGEST_REASON = 1000
_RULES = ("timing", "misfire", "overlap", "jitter", "start", "end")


class Application(Protocol):
    """What schedules need of an application."""

    stores: Stores
    fires: Fires
    declarations: Declarations

    def handle(self, id: str) -> TaskHandle[Any]:
        """The handle of a task whose id is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a schedule stands."""

    name: str
    task: str
    queue: str
    rules: Rules
    """What holds of when it fires."""
    payload: Mapping[str, Any] | None
    """The arguments of each call; None where there is no key here to read them."""
    options: Mapping[str, Any]
    """Of each call, as plain data."""
    is_declared: bool
    """Whether code declares it; else people have made it."""
    changed: Sequence[str]
    """What people have set to something else than code says."""
    paused_reason: str | None
    """Why it does not fire; None: it does."""
    next_at: datetime | None
    """When it fires next; None: it is paused, or has come to its end."""
    fired: Sequence[Fired]
    """The newest fires, the newest last."""
    notes: Sequence[Note]
    """The ledger: what fired late, or not, and why; the newest line last."""

    def upcoming(self, count: int = 5) -> list[datetime]:
        """The next instants, none while it is paused; jitter is not in them.

        Arguments:
            count: how many at the most.

        Raises:
            InvalidOption: `count` is no such number.

        >>> from taskq import App, Every
        >>> app = App("memory://")
        >>> [b - a for a, b in [app.schedules.put("hourly", Every(hours=1), "job").upcoming(2)]]
        [datetime.timedelta(seconds=3600)]
        """
        if not is_whole(count) or count < 0:
            raise InvalidOption(f"count must be a whole number, 0 or more, not {shown(count)}")
        found, after = list[datetime](), self.next_at
        if after is not None:
            found.append(after)
        while after is not None and len(found) < count:
            after = self.rules.next_after(after)
            found += [] if after is None else [after]
        return found[:count]


class AsyncSchedules:
    """The schedules of an application, for async code (taskq.schedules.Schedules says the rest)."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def alist(self) -> Sequence[Schedule]:
        """All schedules; the async twin of `list`.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(App("memory://").schedules.alist())
        []
        """
        book = await self._book()
        return [self._told(book.read(entry, opens=False)) for entry in await book.scheduler.entries()]

    async def aget(self, name: str) -> Schedule:
        """One schedule; the async twin of `get`.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(App("memory://").schedules.aget("tick"))
        Traceback (most recent call last):
            ...
        taskq.errors.ScheduleNotFound: there is no schedule 'tick'
        """
        return self._told(await self._page(await self._book(), name))

    async def aput(
        self,
        name: str,
        timing: Timing,
        task: str,
        payload: Mapping[str, Any] | None = None,
        *,
        misfire: Misfire | str = Misfire.LATEST,
        overlap: Overlap | str = Overlap.ALLOW,
        jitter: float | timedelta = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        **options: Unpack[ScheduleKeywords],
    ) -> Schedule:
        """Make a schedule, or make it anew; the async twin of `put`.

        >>> import asyncio
        >>> from taskq import App, Cron
        >>> asyncio.run(App("memory://").schedules.aput("report", Cron("@daily"), "report")).is_declared
        False
        """
        spread = as_seconds(jitter)
        rules = Rules(timing=timing, misfire=misfire, overlap=overlap, jitter=spread, start=start, end=end)
        definition = define(task, rules, b"", options)
        _, arguments = self._app.fires.encode(definition, payload)
        definition = msgspec.structs.replace(definition, arguments=arguments)

        def made(page: Page) -> tuple[Spec, State]:
            if page.spec.is_declared:
                raise InvalidOption(f"schedule {name!r} is declared by code: change it, or give yours another name")
            return Spec(definition, pause=page.spec.pause), page.state

        book = await self._book()
        for _ in range(ATTEMPTS):
            if await book.scheduler.get(check_name(name)) is not None:
                return await self._rewrite(book, name, made)
            [done] = await book.scheduler.commit([await book.new(name, Spec(definition), State())])
            if done.is_applied:
                break
        return self._told(await self._page(book, name))

    async def achange(self, name: str, **changes: Any) -> Schedule:
        """Set something of a schedule to something else; the async twin of `change`.

        >>> import asyncio
        >>> from taskq import App, Every
        >>> async def example() -> float:
        ...     schedules = App("memory://").schedules
        ...     await schedules.aput("tick", Every(seconds=30), "job")
        ...     return (await schedules.achange("tick", jitter=5)).rules.jitter
        >>> asyncio.run(example())
        5.0
        """
        unknown = sorted(changes.keys() - {*_RULES, "payload", *OPTIONS})
        if unknown:
            known = [*_RULES, "payload", *sorted(OPTIONS)]
            near = "".join(f", did you mean {one!r}?" for one in difflib.get_close_matches(unknown[0], known, 1))
            raise InvalidOption(f"a schedule has no field {unknown[0]!r}{near}")

        def changed(page: Page) -> tuple[Spec, State]:
            before = page.spec.effective
            after = self._changed(before, changes)
            if not page.spec.is_declared:
                return msgspec.structs.replace(page.spec, definition=after, changes={}), page.state
            told = {**page.spec.changes, **differences(before, after)}
            return msgspec.structs.replace(page.spec, changes=told), page.state

        return await self._rewrite(await self._book(), name, changed)

    async def areset(self, name: str) -> Schedule:
        """Take back what people have changed; the async twin of `reset`.

        >>> import asyncio
        >>> from taskq import App, Every
        >>> async def example() -> None:
        ...     schedules = App("memory://").schedules
        ...     await schedules.aput("tick", Every(seconds=30), "job")
        ...     await schedules.areset("tick")
        >>> asyncio.run(example())
        Traceback (most recent call last):
            ...
        taskq.errors.InvalidOption: schedule 'tick' was made by hand: there is no declaration to go back to
        """

        def as_declared(page: Page) -> tuple[Spec, State]:
            if not page.spec.is_declared:
                raise InvalidOption(f"schedule {name!r} was made by hand: there is no declaration to go back to")
            return msgspec.structs.replace(page.spec, changes={}), page.state

        return await self._rewrite(await self._book(), name, as_declared)

    async def apause(self, name: str, reason: str = "") -> Schedule:
        """Have a schedule not fire; the async twin of `pause`.

        >>> import asyncio
        >>> from taskq import App, Every
        >>> async def example() -> object:
        ...     schedules = App("memory://").schedules
        ...     await schedules.aput("tick", Every(seconds=30), "job")
        ...     return (await schedules.apause("tick", "too loud")).paused_reason
        >>> asyncio.run(example())
        'too loud'
        """
        said: object = reason
        if not (isinstance(said, str) and len(said) <= LONGEST_REASON):
            raise InvalidOption(f"the reason of a pause must be text of at most 1,000 characters, not {shown(said)}")
        pause = Pause(reason.encode("utf-8", "replace").decode())
        return await self._rewrite(
            await self._book(), name, lambda page: (msgspec.structs.replace(page.spec, pause=pause), page.state)
        )

    async def aresume(self, name: str) -> Schedule:
        """Undo `pause`; the async twin of `resume`.

        >>> import asyncio
        >>> from taskq import App, Every
        >>> async def example() -> object:
        ...     schedules = App("memory://").schedules
        ...     await schedules.aput("tick", Every(seconds=30), "job")
        ...     return (await schedules.aresume("tick")).paused_reason
        >>> asyncio.run(example())
        """
        return await self._rewrite(
            await self._book(), name, lambda page: (msgspec.structs.replace(page.spec, pause=None), page.state)
        )

    async def arun(self, name: str) -> TaskHandle[Any]:
        """Have a schedule fire at once; the async twin of `run`.

        >>> import asyncio
        >>> from taskq import App, Every
        >>> async def example() -> str:
        ...     schedules = App("memory://").schedules
        ...     await schedules.aput("tick", Every(hours=30), "job")
        ...     return (await (await schedules.arun("tick")).ainfo()).name
        >>> asyncio.run(example())
        'job'
        """
        book = await self._book()
        for _ in range(ATTEMPTS):
            entry, spec, state = await self._page(book, name)
            message = self._app.fires.message(name, entry.queue, spec.effective, None)
            fired = Fired(None, await book.scheduler.now(entry.queue), message.id)
            told = replace(entry, state=write(state.with_fired([fired])))
            [done] = await book.scheduler.commit([Change(told, [message])])
            if done.is_applied:
                [answer] = done.answers
                if (why := refusal_of(message, answer)) is not None:
                    with suppress(TaskqError):  # what is to be seen is the refusal
                        await self._take_back(book, name, fired, why)
                refuse(message.name, answer)
                return self._app.handle(answer.id)
        raise _contended(name)

    async def aremove(self, name: str) -> None:
        """Forget a schedule; the async twin of `remove`.

        >>> import asyncio
        >>> from taskq import App, Every
        >>> async def example() -> int:
        ...     schedules = App("memory://").schedules
        ...     await schedules.aput("tick", Every(seconds=30), "job")
        ...     await schedules.aremove("tick")
        ...     return len(await schedules.alist())
        >>> asyncio.run(example())
        0
        """
        book = await self._book()
        page = await self._page(book, name)
        pause = page.spec.pause
        if page.spec.is_declared and (pause is None or not pause.is_retirement):
            raise InvalidOption(
                f"schedule {name!r} is declared by code, which would make it anew: pause it, or take it out of the code"
            )
        await book.scheduler.remove(name)

    # ------------------------------------------------------------ inside

    async def _book(self) -> Book:
        return Book(self._app.fires, await self._app.stores.trusted_backend())

    async def _page(self, book: Book, name: str) -> Page:
        entry = await book.scheduler.get(check_name(name))
        if entry is not None:
            return book.read(entry, opens=False)
        if self._app.declarations.find(name) is not None:
            raise ScheduleNotFound(
                f"schedule {name!r} is declared by code, but no beat has told the store of it yet: run taskq beat"
            )
        near = difflib.get_close_matches(name, [entry.name for entry in await book.scheduler.entries()], 1)
        raise ScheduleNotFound(f"there is no schedule {name!r}" + "".join(f", did you mean {one!r}?" for one in near))

    async def _take_back(self, book: Book, name: str, fired: Fired, why: Why) -> None:
        """Have the ledger say that a task which was noted is not there."""
        note = Note(why, fired.at, fired.at, 1, fired.at)
        for _ in range(ATTEMPTS):
            entry, _, state = await self._page(book, name)
            told = replace(entry, state=write(state.without_fired(fired.id).with_notes([note])))
            [done] = await book.scheduler.commit([Change(told)])
            if done.is_applied:
                return

    async def _rewrite(self, book: Book, name: str, change: Callable[[Page], tuple[Spec, State]]) -> Schedule:
        for _ in range(ATTEMPTS):
            page = await self._page(book, name)
            spec, state = change(page)
            now = await book.scheduler.now(page.entry.queue)
            [done] = await book.scheduler.commit([await book.rewritten(page, spec, state, now)])
            if done.is_applied:
                return self._told(await self._page(book, name))
        raise _contended(name)

    def _changed(self, before: Definition, changes: Mapping[str, Any]) -> Definition:
        if "jitter" in changes:
            changes = {**changes, "jitter": as_seconds(changes["jitter"])}
        rules = replace(before.rules(), **{field: changes[field] for field in _RULES if field in changes})
        options = {**before.options, **{field: changes[field] for field in OPTIONS if field in changes}}
        after = define(before.task, rules, before.arguments, options)
        if "payload" not in changes:
            return msgspec.structs.replace(after, is_sealed=before.is_sealed)
        _, arguments = self._app.fires.encode(after, changes["payload"])
        return msgspec.structs.replace(after, arguments=arguments)

    def _told(self, page: Page) -> Schedule:
        entry, spec, state = page
        effective = spec.effective
        try:
            payload = msgspec.json.decode(self._app.fires.opened(entry.name, effective).arguments)
        except KeyMissing:
            payload = None
        return Schedule(
            name=entry.name,
            task=effective.task,
            queue=entry.queue,
            rules=effective.rules(),
            payload=payload,
            options=effective.options,
            is_declared=spec.is_declared,
            changed=sorted(
                "payload" if field == "arguments" else field for field in spec.changes if field != "is_sealed"
            ),
            paused_reason=None if spec.pause is None else spec.pause.reason,
            next_at=entry.next_at,
            fired=state.fired,
            notes=state.notes,
        )


def _names_of(changes: Mapping[str, Any]) -> list[str]:
    """The fields that people have changed, by the names that `change` has for them."""
    return sorted("payload" if field == "arguments" else field for field in changes if field != "is_sealed")


def _contended(name: str) -> NotApplied:
    return NotApplied(f"schedule {name!r} is written by others all the time: try again")
