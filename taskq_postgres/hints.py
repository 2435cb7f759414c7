"""Hints between processes: NOTIFY and LISTEN on one channel for each schema. A hint may be lost and costs nothing then.

q:QUEUE   there may be work in a queue            a:        there may be work anywhere
w:ID      somebody waits for the end of a task    f:ID      a task has ended that somebody waits for
?:        somebody begins to listen, and asks who waits
e:JSON    an event, [topic, data]
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic

from psycopg import sql

from taskq.errors import TaskqError
from taskq_postgres.errors import LostConnection, map_errors
from taskq_postgres.pool import Connection, close
from taskq_postgres.record import is_id
from taskq_postgres.store import FIRST_PAUSE, LONGEST_PAUSE, Store

DEBOUNCE = 0.025
"""Seconds between two NOTIFY of one process: NOTIFY takes a lock at commit that all databases of a server share."""
PROBE_EVERY = 30.0
"""Seconds after which a silent LISTEN connection is asked whether it still is one."""
LONGEST_PAYLOAD = 7900
"""Bytes that a NOTIFY can carry."""
INTEREST = 120.0
"""Seconds for which it is remembered that somebody waits for a task."""
MOST_INTERESTS = 10_000
MOST_ANSWERS = 1000
"""Tasks that a process names when it is asked for whose end it waits; the others are named in their turn."""

Listener = Callable[[str, str], None]
logger = logging.getLogger("taskq.postgres")


class Hints:
    """Sends hints, a batch at a time, and spreads those that come in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._channel = store.target.schema
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._outbox: dict[str, None] = {}
        self._has_mail = asyncio.Event()
        self._awaited: dict[str, float] = {}
        self._knows_waiters = False
        self._sender: asyncio.Task[None] | None = None
        self._receiver: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ telling

    def tell(self, kind: str, keys: Iterable[str]) -> None:
        """Tell the listeners of this process now, and those of others soon."""
        for key in keys:
            self._spread(kind, key)
            payload = f"{kind}:{key}"
            if self._store.target.is_listening and len(payload.encode()) <= LONGEST_PAYLOAD:
                self._outbox[payload] = None
        if self._outbox:
            self._has_mail.set()
            if self._sender is None:
                self._sender = asyncio.create_task(self._send())

    def ended(self, ids: Iterable[str]) -> None:
        """Tell of tasks that may have ended: this process always, others where somebody waits.

        Who ends tasks must hear who waits for them. Until it does, it tells everybody of every end.
        """
        for id in ids:
            self._begin_to_listen()
            if self.is_awaited(id):
                self.tell("f", [id])
            else:
                self._spread("f", id)

    def is_awaited(self, id: str) -> bool:
        """Whether another process may wait for the end of this task; may be asked from any thread."""
        return self._store.target.is_listening and (id in self._awaited or not self._knows_waiters)

    def event(self, topic: str, data: str) -> None:
        """Tell of an event."""
        self.tell("e", [json.dumps([topic, data])])

    # ------------------------------------------------------------ listening

    def listen(self, kinds: str, listener: Listener) -> Callable[[], None]:
        """Call `listener(kind, key)` for each hint of these kinds, a letter each, from now on; returns the undo."""
        for kind in kinds:
            self._listeners[kind].add(listener)
        self._begin_to_listen()

        def stop() -> None:
            for kind in kinds:
                self._listeners[kind].discard(listener)

        return stop

    def await_end(self, id: str, ended: asyncio.Event) -> Callable[[], None]:
        """Set `ended` whenever the task may have ended, from now on; returns the undo."""
        self._waiters.setdefault(id, set()).add(ended)
        self._begin_to_listen()

        def stop() -> None:
            waiters = self._waiters[id]
            waiters.discard(ended)
            if not waiters:
                del self._waiters[id]

        return stop

    async def close(self) -> None:
        """Send what is left, and stop."""
        for task in (self._sender, self._receiver):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self._flush()

    # ------------------------------------------------------------ inside

    def _begin_to_listen(self) -> None:
        if self._receiver is None and self._store.target.is_listening:
            self._receiver = asyncio.create_task(self._receive())

    def _spread(self, kind: str, key: str) -> None:
        if kind == "f":
            for ended in self._waiters.get(key, ()):
                ended.set()
        for listener in tuple(self._listeners.get(kind, ())):
            listener(kind, key)

    def _catch_up(self) -> None:
        """Whatever was said while nobody listened counts as said."""
        self._spread("a", "")
        for id in self._waiters:
            self._spread("f", id)

    async def _send(self) -> None:
        while True:
            await self._has_mail.wait()
            await self._flush()
            await asyncio.sleep(DEBOUNCE)

    async def _flush(self) -> None:
        payloads, self._outbox = list(self._outbox), {}
        self._has_mail.clear()
        if payloads:
            with suppress(LostConnection, TaskqError):
                await self._store.try_once("notify", (self._channel, payloads))

    async def _receive(self) -> None:
        pause = FIRST_PAUSE
        while True:
            connection: Connection | None = None
            try:
                connection = await self._store.pool.connect()
                with map_errors():
                    await connection.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
                    pause = FIRST_PAUSE
                    self._catch_up()
                    self._ask_who_waits()
                    await self._take_in(connection)
            except (LostConnection, TaskqError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            finally:
                if connection is not None:
                    await close(connection)

    async def _take_in(self, connection: Connection) -> None:
        while True:
            async for note in connection.notifies(timeout=PROBE_EVERY):
                try:
                    self._hear(note.payload)
                except (ValueError, TypeError) as error:
                    logger.debug("a notification on channel %s is no hint: %s", self._channel, error)
            async with asyncio.timeout(self._store.options.command_timeout):
                await connection.execute("select 1")

    def _hear(self, payload: str) -> None:
        kind, _, key = payload.partition(":")
        if kind == "?":
            self.tell("w", list(self._waiters)[:MOST_ANSWERS])
        elif kind != "w":
            self._spread(kind, key)
        elif is_id(key):
            self._remember(key)

    def _ask_who_waits(self) -> None:
        """Ask once: whoever waits while nobody can be heard says so again in time."""
        if not self._knows_waiters:
            self._knows_waiters = True
            self.tell("?", [""])

    def _remember(self, id: str) -> None:
        now = monotonic()
        self._awaited.pop(id, None)
        self._awaited[id] = now + INTEREST
        while self._awaited:
            oldest = next(iter(self._awaited))
            if self._awaited[oldest] > now and len(self._awaited) <= MOST_INTERESTS:
                break
            del self._awaited[oldest]


class Mailbox:
    """Remembers which queues were hinted at, and wakes who waits for one of them.

    A hint at everything (when the listener begins or was cut off, after a promotion) says only that somebody should
    look.
    """

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._stop: Callable[[], None] | None = None
        self._known: set[str] = set()
        self._dirty: set[str] = set()
        self._unsure: set[str] = set()
        self._waiters: dict[asyncio.Future[str], frozenset[str]] = {}

    def open(self) -> None:
        """Begin to listen; safe to say twice."""
        if self._stop is None:
            self._stop = self._hints.listen("qa", self._heard)

    def clear(self, queues: Sequence[str]) -> None:
        """Forget the hints at these queues: somebody looks into them now."""
        self._known.update(queues)
        self._dirty.difference_update(queues)
        self._unsure.difference_update(queues)

    async def wait(self, queues: Sequence[str], timeout: float) -> str:
        """Wait for a hint; returns "q" for one at these queues, "a" for one at everything, "" where none came."""
        self._known.update(queues)
        if not self._dirty.isdisjoint(queues):
            return "q"
        if not self._unsure.isdisjoint(queues):
            self._unsure.difference_update(queues)
            return "a"
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiters[future] = frozenset(queues)
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return ""
        finally:
            del self._waiters[future]

    def _heard(self, kind: str, key: str) -> None:
        if kind == "q":
            self._dirty.add(key)
        else:
            self._unsure |= self._known
        for future, queues in self._waiters.items():
            if (kind == "a" or key in queues) and not future.done():
                future.set_result(kind)
