"""Steering queues, for the whole fleet and at run time: pause, resume, what is set for them, how full they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from taskq import blocking
from taskq.backends import Store, opened
from taskq.config import check_identifier, shown
from taskq.domain.state import TaskState
from taskq.errors import InvalidOption, TaskqError
from taskq.options import check_soft_timeout
from taskq.ports import Event, QueueSettings
from taskq.ports.events import SETTINGS
from taskq.queue_settings import DEFAULT, queue_config

WAITING = (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRYING)
"""The states that a purge cancels."""
STEP = 1000
"""Tasks that one step of a purge cancels."""
LONGEST_REASON = 1000


class QueueState(NamedTuple):
    """How a queue stands."""

    name: str
    counts: Mapping[TaskState, int]
    """How many tasks it has in each state; states without tasks are left out."""
    settings: QueueSettings

    @property
    def waiting(self) -> int:
        """How many tasks wait in it."""
        return sum(self.counts.get(state, 0) for state in WAITING)

    @property
    def is_paused(self) -> bool:
        """Whether no worker is handed any of its tasks."""
        return self.settings.paused_reason is not None


class Queues:
    """The queues of an application. Each method has an a-twin for async code, which does the same.

    Every method may raise InvalidOption, where the name of a queue cannot be one, and BackendUnavailable, where the
    store cannot be reached; the blocking ones WouldBlock, where an event loop runs in this thread.

    Arguments:
        store: an application, or an open backend (for the a-twins, in its own event loop).

    >>> from taskq import App
    >>> queues = Queues(App("memory://"))
    >>> queues.pause("mail", "the relay is away", until=timedelta(minutes=30))
    >>> queues.settings("mail").paused_reason
    'the relay is away'
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # ------------------------------------------------------------ async

    async def alist(self, names: Iterable[str] | None = None) -> Sequence[QueueState]:
        """How queues stand; the async twin of `list`.

        >>> import asyncio
        >>> from taskq import App
        >>> [state.name for state in asyncio.run(Queues(App("memory://")).alist(["mail"]))]
        ['mail']
        """
        if isinstance(names, str):
            raise InvalidOption(f"names must be a collection of names, such as [{shown(names)}]")
        backend = await opened(self._store)
        counts = await backend.inspector.counts()
        found = sorted(counts if names is None else {check_identifier("queue", name) for name in names})
        return [QueueState(name, counts.get(name, {}), await backend.queues.settings(name)) for name in found]

    async def asettings(self, queue: str) -> QueueSettings:
        """What holds for a queue now; the async twin of `settings`.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(Queues(App("memory://")).asettings("mail")).max_size
        1000000
        """
        return await (await opened(self._store)).queues.settings(check_identifier("queue", queue))

    async def aconfigure(self, queue: str, **settings: Any) -> None:
        """Change what is set for a queue; the async twin of `configure`.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(Queues(App("memory://")).aconfigure("mail", workers=5))
        """
        config = queue_config(**settings)
        backend = await opened(self._store)
        queues = backend.queues
        if config.timeout is not None or config.soft_timeout is not None:
            now = await queues.settings(check_identifier("queue", queue))
            soft, hard = _after(config.soft_timeout, now.soft_timeout), _after(config.timeout, now.timeout)
            check_soft_timeout(soft, hard)
        await queues.configure(check_identifier("queue", queue), config)
        with suppress(TaskqError):  # a hint, without which workers see it a little later
            await backend.events.publish([Event(SETTINGS, queue)])

    async def apause(self, queue: str, reason: str = "", until: datetime | timedelta | None = None) -> None:
        """Hand out no task of a queue; the async twin of `pause`.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(Queues(App("memory://")).apause("mail"))
        """
        check_identifier("queue", queue)
        said: object = reason
        if not (isinstance(said, str) and len(said) <= LONGEST_REASON):
            raise InvalidOption(f"the reason of a pause must be text of at most 1,000 characters, not {shown(said)}")
        await (await opened(self._store)).queues.pause(queue, reason, _ahead(until))

    async def aresume(self, queue: str) -> None:
        """Undo `pause`; the async twin of `resume`.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(Queues(App("memory://")).aresume("mail"))
        """
        await (await opened(self._store)).queues.resume(check_identifier("queue", queue))

    async def apurge(self, queue: str) -> int:
        """Cancel what waits in a queue; the async twin of `purge`.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(Queues(App("memory://")).apurge("mail"))
        0
        """
        inspector = (await opened(self._store)).inspector
        counts = (await inspector.counts()).get(check_identifier("queue", queue), {})
        # No more than were there as it began: with those that arrive meanwhile it might never end.
        left = sum(counts.get(state, 0) for state in WAITING)
        purged = 0
        while purged < left and (step := await inspector.purge(queue, min(STEP, left - purged))):
            purged += step
        return purged

    # ------------------------------------------------------------ blocking

    def list(self, names: Iterable[str] | None = None) -> Sequence[QueueState]:
        """How queues stand, by name.

        Arguments:
            names: of which queues; None: of all that hold tasks, of any state.

        >>> from taskq import App
        >>> app = App("memory://")
        >>> handle = app.enqueue("mail.send", queue="mail")
        >>> [(state.name, state.waiting) for state in Queues(app).list()]
        [('mail', 1)]
        """
        return blocking.run(self.alist(names), *_names("list"))

    def settings(self, queue: str) -> QueueSettings:
        """What holds for a queue now: what was set, else the defaults.

        >>> from taskq import App
        >>> Queues(App("memory://")).settings("mail").max_size
        1000000
        """
        return blocking.run(self.asettings(queue), *_names("settings"))

    def configure(self, queue: str, **settings: Any) -> None:
        """Change what is set for a queue; it reaches every worker within seconds.

        Arguments:
            queue: need not hold a task yet.
            settings: see `taskq.queue_settings.queue_config`; "default" takes one back.

        Raises:
            InvalidOption: settings are unknown, or values out of their ranges; the message names all of them.

        >>> from taskq import App
        >>> queues = Queues(App("memory://"))
        >>> queues.configure("mail", max_size=500, rate="100/m")
        >>> queues.settings("mail").max_size
        500
        """
        blocking.run(self.aconfigure(queue, **settings), *_names("configure"))

    def pause(self, queue: str, reason: str = "", until: datetime | timedelta | None = None) -> None:
        """Hand out no task of a queue to any worker; what runs goes on, and the queue takes new tasks.

        Arguments:
            queue: need not hold a task yet.
            reason: why, for people; at most 1,000 characters.
            until: when it ends by itself, an aware datetime or a timedelta from now; None: by `resume`.

        Raises:
            InvalidOption: the instant has no time zone or is past, or the reason is no text.

        >>> from taskq import App
        >>> Queues(App("memory://")).pause("mail", "the relay is away")
        """
        blocking.run(self.apause(queue, reason, until), *_names("pause"))

    def resume(self, queue: str) -> None:
        """Undo `pause`; where it is not paused nothing happens.

        >>> from taskq import App
        >>> Queues(App("memory://")).resume("mail")
        """
        blocking.run(self.aresume(queue), *_names("resume"))

    def purge(self, queue: str) -> int:
        """Cancel what waits in a queue, also for its time or its next attempt; what runs goes on.

        Returns:
            How many tasks were cancelled: no more than waited when it began.

        >>> from taskq import App
        >>> app = App("memory://")
        >>> handle = app.enqueue("mail.send", queue="mail")
        >>> Queues(app).purge("mail"), handle.status().value
        (1, 'cancelled')
        """
        return blocking.run(self.apurge(queue), *_names("purge"))


def _ahead(until: object) -> datetime | None:
    """The instant at which a pause ends."""
    if until is None:
        return None
    now = datetime.now(UTC)
    if isinstance(until, timedelta):
        try:
            until = now + until
        except OverflowError:
            raise InvalidOption(f"until must lie within the calendar, not {until} from now") from None
    if not isinstance(until, datetime) or until.tzinfo is None:
        raise InvalidOption(f"until must be an aware datetime, or a timedelta from now, not {shown(until)}")
    if until <= now:
        raise InvalidOption(f"until must lie ahead, not {until}")
    return until


def _after(change: Any, now: Any) -> Any:
    """What is set after a change."""
    return now if change is None else None if change == DEFAULT else change


def _names(method: str) -> tuple[str, str]:
    return f"queues.{method}()", f"queues.a{method}()"
