"""From a URL to a backend, by the entry-point group `taskq.backends`; and one open backend for each event loop."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from weakref import WeakSet

from taskq import blocking
from taskq.crypto import Crypto
from taskq.errors import CapabilityMissing, ConfigError
from taskq.ports import Backend, BackendOptions, Capability, ResultStore
from taskq.tally import Tally

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

IMPATIENCE = 3.0
"""Seconds after which a command that only looks gives up on a store."""
GROUP = "taskq.backends"
_EXTRAS = {"taskq_redis": "redis", "taskq_postgres": "postgres"}

is_child = False
"""Whether this process is a worker's child: it cannot reach a store that lives in its worker's memory."""

Factory = Callable[[str, BackendOptions], Backend]


def create_backend(url: str, options: BackendOptions) -> Backend:
    """The backend of a URL, not opened yet.

    Raises:
        ConfigError: no backend has that scheme, its extra is not installed, or the URL is wrong.
    """
    found = _entry(url)
    try:
        factory = cast("Factory", found.load())
    except ImportError as error:
        extra = _EXTRAS.get(found.module.partition(".")[0])
        if extra is None:
            raise
        raise ConfigError(
            f'{found.name}:// needs a package that is not installed ({error}): pip install "pytaskq[{extra}]"'
        ) from None
    return factory(url, options)


def check_scheme(url: str) -> None:
    """Refuse a URL for which there is no backend; nothing is loaded.

    Raises:
        ConfigError: no backend has that scheme.
    """
    _entry(url)


def _entry(url: str) -> EntryPoint:
    from importlib.metadata import entry_points  # a fifth of the time that `import taskq` takes

    scheme = url.partition(":")[0].lower()
    entries = entry_points(group=GROUP)
    found = [entry for entry in entries if entry.name == scheme]
    if not found:
        known = sorted({entry.name for entry in entries})
        raise ConfigError(f"no backend for {redact(url)!r}: its scheme is none of {', '.join(known)}")
    return found[0]


def redact(url: str) -> str:
    """A URL without its password, for messages; also one that is mistyped.

    >>> redact("redis://me:secret@host:6379/0"), redact("redis:/me:secret@host"), redact("me:secret@host")
    ('redis://me:***@host:6379/0', 'redis:/me:***@host', 'me:***@host')
    """
    url = re.sub(r"(?i)((?:password|passwd|secret|token)=)[^&#]*", r"\1***", url)
    head, separator, tail = url.rpartition("@")
    if not separator:
        return url
    scheme, mark, user = head.partition("//" if "//" in head else ":")
    name, colon, _ = user.partition(":")
    if mark == ":" and not colon:  # there is no scheme: what looked like one is the user
        return f"{scheme}:***@{tail}"
    return f"{scheme}{mark}{name}{':***' if colon else ''}@{tail}"


@runtime_checkable
class Opens(Protocol):
    """What has a store: an application."""

    async def backend(self) -> Backend:
        """The open backend of the running loop."""
        ...


Store = Opens | Backend
"""What a use case is given: an application, or a backend that is open."""


async def opened(store: Store) -> Backend:
    """The backend of the running loop."""
    return await store.backend() if isinstance(store, Opens) else store


class Opener(Protocol):
    """One store, open in each event loop that asks for it."""

    url: str

    @property
    def root(self) -> Backend:
        """The backend for what needs no connection."""
        ...

    async def get(self) -> Backend:
        """The backend of the running loop."""
        ...

    async def close(self) -> None:
        """Close the backend of the running loop."""
        ...


class BackendPool:
    """One store, opened once for each event loop that asks for it, and opened anew after a fork.

    What a loop has opened ends with the loop at the latest: at its end `asyncio.run` closes the loop's asynchronous
    generators, and the backend lives in one. In a loop that was closed without it nobody can say goodbye any more: what
    it had opened is forgotten when the next loop comes, and its sockets go with it.
    """

    def __init__(self, url: str, options: BackendOptions) -> None:
        self.url = url
        self._root = create_backend(url, options)
        self._open: dict[asyncio.AbstractEventLoop, _Opened] = {}
        self._pid = os.getpid()
        self._inherited: list[object] = []

    @property
    def root(self) -> Backend:
        """The backend, not opened: for what needs no connection, and to be cloned."""
        return self._root

    async def get(self) -> Backend:
        """The backend of the running loop."""
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            # It is the parent's, and stays referred to: its end would be written into the parent's own sockets.
            self._inherited.append(self._open)
            self._open, self._pid = {}, os.getpid()
        opened = self._open.get(loop)
        if opened is None:
            for other in [known for known in self._open if known.is_closed()]:
                self._open.pop(other, None)
            opened = self._open[loop] = _Opened(loop, self._live(loop))
        try:
            return await asyncio.shield(opened.opening)
        except BaseException:
            # One that only gave up waiting must not take from the others what was opened.
            if _has_failed(opened.opening) and self._open.get(loop) is opened:
                del self._open[loop]
            raise

    async def _live(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Backend, None]:
        """Open the backend, and close it when this generator is closed."""
        if is_child and Capability.SHARED not in self._root.capabilities:
            raise CapabilityMissing(
                'the memory backend lives in the worker\'s process: a task with executor="process" cannot reach it'
            )
        backend = self._root.clone()
        await backend.__aenter__()
        opened = self._open.get(loop)
        if blocking.is_background(loop):
            blocking.at_exit(self.close)
        try:
            yield backend
        finally:
            if self._open.get(loop) is opened:
                self._open.pop(loop, None)
            await backend.__aexit__(None, None, None)

    async def close(self) -> None:
        """Close the backend of the running loop."""
        opened = self._open.pop(asyncio.get_running_loop(), None)
        if opened is not None:
            await opened.opening
            await opened.life.aclose()


class _Opened:
    """A backend as one loop has it: on its way, and then for as long as `life` is not closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, life: AsyncGenerator[Backend, None]) -> None:
        self.life = life
        self.opening = loop.create_task(self._begin())

    async def _begin(self) -> Backend:
        return await anext(self.life)


def _has_failed(opening: asyncio.Future[Backend]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


class Stores:
    """The stores of one application: the one with its tasks, and the one with its results if that is another.

    Arguments:
        url: of the backend that keeps the tasks.
        results_url: of the one that keeps the results; None: the same.
        options: how both are opened.
        crypto: the keys of the application; None where it has none.
    """

    def __init__(
        self, url: str, results_url: str | None, options: BackendOptions, crypto: Crypto | None = None
    ) -> None:
        self.url = url
        self.crypto = crypto
        self.results_url = results_url
        """The URL of the store of the results, None where they are kept with the tasks."""
        self.submitted = Tally()
        """How many tasks this process has enqueued."""
        self._trusted: WeakSet[Backend] = WeakSet()
        self._options = options
        self._choosing = threading.Lock()  # two threads that come first must not get a memory each
        self._tasks: Opener | None = None
        self._results: BackendPool | None = None

    @property
    def root(self) -> Backend:
        """The backend of the tasks for what needs no connection, and to be cloned."""
        return self._opener().root

    @property
    def has_detached_results(self) -> bool:
        """Whether results are kept on another backend than the tasks."""
        return self.results_url is not None

    @property
    def batch(self) -> int:
        """Tasks that every backend stores all or none of, if it is told to."""
        return self._options.batch

    @property
    def step(self) -> int:
        """Tasks in one call to the store, which are on their way together: what a backend calls its `batch`, if any."""
        return int(getattr(self.root, "batch", self._options.batch))

    @property
    def impatient_options(self) -> BackendOptions:
        """How to open the store for one look: a store that is away is not waited for."""
        return replace(self._options, retry_for=IMPATIENCE, connect_timeout=IMPATIENCE)

    def hurry(self) -> None:
        """Open the stores for one look from now on: what is away is not waited for (used by commands)."""
        self._options, self._tasks = self.impatient_options, None

    async def backend(self) -> Backend:
        """The open backend of the running loop."""
        return await self._opener().get()

    async def trusted_backend(self) -> Backend:
        """The same, once it has been found fit to keep tasks: what is enqueued must not be lost either.

        Raises:
            UnsafeStore, SchemaMismatch, BackendUnavailable: it is not, or cannot be asked.
        """
        backend = await self.backend()
        if backend not in self._trusted:
            # A store that lives in this process is fit; its warnings are for the worker that looks after it.
            if Capability.SHARED in backend.capabilities:
                await backend.check()
            self._trusted.add(backend)
        return backend

    async def detached_results(self) -> ResultStore | None:
        """Where results are kept, if not with the tasks."""
        if self.results_url is None:
            return None
        with self._choosing:
            if self._results is None:
                self._results = BackendPool(self.results_url, self._options)
        return (await self._results.get()).results

    async def close(self) -> None:
        """Close what the running loop has opened."""
        for pool in (self._tasks, self._results):
            if pool is not None:
                await pool.close()

    @contextmanager
    def using(self, opener: Opener) -> Iterator[None]:
        """Send tasks to another store for a while, and keep results there too (used by the test harness)."""
        before = self.url, self._tasks, self.results_url
        self.url, self._tasks, self.results_url = opener.url, opener, None
        try:
            yield
        finally:
            self.url, self._tasks, self.results_url = before

    def _opener(self) -> Opener:
        with self._choosing:
            if self._tasks is None or self._tasks.url != self.url:
                self._tasks = BackendPool(self.url, self._options)
            return self._tasks
