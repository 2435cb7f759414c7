"""Takes profiles of this process for operators, in a thread of its own, and puts them into the store.

Neither the event loop of the tasks nor the heartbeat has a part in it: they may be what is to be looked at.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from msgspec.structs import replace

from taskq import profiles
from taskq.ports import Backend, Documents
from taskq.profiles import MOST_SECONDS, ProfileInfo, ProfileState
from taskq.runtime.aside import aside
from taskq.runtime.sampler import sample
from taskq.runtime.service import said

OFF = "it takes no profiles: start it with --enable-profiling"
OCCUPIED = "it takes another one already"
logger = logging.getLogger("taskq.worker")


class Profiling:
    """Takes one profile at a time.

    Arguments:
        is_on: whether this worker takes profiles at all.
        store: another backend on its store, not opened yet.
    """

    def __init__(self, is_on: bool, store: Callable[[], Backend]) -> None:
        self._is_on = is_on
        self._store = store
        self._stop = threading.Event()
        self._taking: threading.Thread | None = None

    def begin(self, argument: str) -> None:
        """Take a profile, or say in the store why not; from any thread.

        Arguments:
            argument: that of the order: the profile's id, and for how many seconds.
        """
        id, _, seconds = argument.partition(":")
        refusal = self._refusal()
        work = partial(self._refuse, id, refusal) if refusal else partial(self._take, id, seconds_in(seconds))
        thread = threading.Thread(target=_run, args=(work,), name="taskq-profile", daemon=True)
        if not refusal:
            self._taking = thread
        thread.start()

    def _refusal(self) -> str:
        if not self._is_on:
            return OFF
        return OCCUPIED if self._taking is not None and self._taking.is_alive() else ""

    async def farewell(self, timeout: float) -> None:
        """The worker stops: keep what was seen so far, within `timeout` seconds."""
        self._stop.set()
        if self._taking is not None and self._taking.is_alive():
            await aside("taskq-farewell", partial(self._taking.join, timeout))

    async def _refuse(self, id: str, reason: str) -> None:
        async with self._store() as backend:
            await _change(backend.documents, id, state=ProfileState.REFUSED, reason=reason)

    async def _take(self, id: str, seconds: float) -> None:
        async with self._store() as backend:
            await _change(backend.documents, id, state=ProfileState.RUNNING)
            profile = sample(seconds, self._stop)
            is_short = self._stop.is_set()
            reason = f"the worker stopped after {profile.seconds:.0f} of {seconds:g} s" if is_short else ""
            await profiles.save(backend.documents, id, profile, reason)
            await profiles.tidy(backend.documents)
        logger.info("the profile %s is taken: %d looks", id, profile.samples)


def seconds_in(text: str) -> float:
    """For how long to look, whatever was asked for.

    >>> seconds_in("10"), seconds_in("9999"), seconds_in("")
    (10.0, 60.0, 10.0)
    """
    try:
        return min(float(MOST_SECONDS), max(0.1, float(text)))
    except ValueError:
        return 10.0


async def _change(documents: Documents, id: str, **fields: object) -> None:
    def changed(info: ProfileInfo) -> ProfileInfo:
        return replace(info, **fields)

    await profiles.change(documents, id, changed)


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A profile that fails is no reason to trouble anything else."""
    try:
        asyncio.run(work())
    except Exception as error:  # noqa: BLE001 - see above
        logger.warning("a profile was not taken: %s", said(error))
