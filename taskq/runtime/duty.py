"""A duty that one process of the fleet at a time is enough for."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from taskq.errors import TaskqError
from taskq.ports import Backend


class Duty:
    """Takes a duty where nobody has it, and knows whether it is ours.

    Nothing may depend on there being only one holder: a process that stood still may think that it still is.

    Arguments:
        name: of the duty.
        holder: random for each start of a process.
        seconds: for which it is kept without being asked for again.
        backend: gives the open store.
    """

    def __init__(self, name: str, holder: str, seconds: float, backend: Callable[[], Awaitable[Backend]]) -> None:
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._backend = backend
        self.is_held = False

    async def take(self) -> bool:
        """Take it, or keep it; returns whether it is ours now.

        Raises:
            TaskqError: the store does not answer; it stays whose it was.
        """
        registry = (await self._backend()).registry
        self.is_held = await registry.take_duty(self._name, self._holder, self._seconds)
        return self.is_held

    async def leave(self) -> None:
        """Leave it to another at once, if it is ours; where the store does not hear of it, its time will be over."""
        if self.is_held:
            self.is_held = False
            with contextlib.suppress(TaskqError):
                await (await self._backend()).registry.take_duty(self._name, self._holder, 0)
