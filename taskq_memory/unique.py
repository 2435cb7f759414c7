"""Who holds a unique key, in a memory store: taskq.domain.unique as it is."""

from __future__ import annotations

from collections.abc import Mapping

from taskq.domain.unique import Holding, UniqueKey, is_held, released_by
from taskq.ports import Clock
from taskq_memory.rows import Task


class UniqueKeys:
    """The unique keys of a store. Methods expect its lock to be held.

    Arguments:
        tasks: all tasks of the store.
        clock: its clock.
    """

    def __init__(self, tasks: Mapping[str, Task], clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self.holdings: dict[str, Holding] = {}

    def owner_of(self, unique: UniqueKey | None, but: str = "") -> str | None:
        """The task, other than `but`, that holds a key, None where it is free."""
        holding = None if unique is None else self.holdings.get(unique.key)
        if holding is None or holding.owner == but:
            return None
        owner = self._tasks.get(holding.owner)
        return holding.owner if is_held(holding, None if owner is None else owner.state, self._clock.now()) else None

    def take(self, task: Task) -> None:
        """Have the task hold its key, which is free."""
        if task.unique is not None:
            key, until, ttl = task.unique
            self.holdings[key] = Holding(task.id, until, None if ttl is None else self._clock.now() + ttl)

    def give_back(self, task: Task, *, has_begun: bool = False, is_over: bool = False) -> None:
        """Let go of the key, where this is the moment for it and the task holds it."""
        if task.unique is None or not released_by(task.unique.until, has_begun=has_begun, is_over=is_over):
            return
        holding = self.holdings.get(task.unique.key)
        if holding is not None and holding.owner == task.id:
            del self.holdings[task.unique.key]

    def drop_free(self) -> None:
        """Forget keys that nobody holds any more."""
        for key in [key for key in self.holdings if self.owner_of(UniqueKey(key)) is None]:
            del self.holdings[key]
