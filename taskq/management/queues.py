"""Queues: how they stand, pause and resume, what is set for them, purge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from taskq.config import check_identifier
from taskq.errors import NotApplied
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.queue_settings import queue_config
from taskq.queues import Queues, QueueState


class QueueDesk(Desk):
    """The queues of a store."""

    async def list(self, names: Sequence[str] | None = None) -> Sequence[QueueState]:
        """How queues stand; None: all that hold tasks, and those of the application."""
        await self.look(Permission.READ_FLEET)
        queues = Queues(self.app)
        found = list(await queues.alist(names))
        if names is None:
            more = {task.queue for task in self.app.tasks} - {state.name for state in found}
            found = sorted([*found, *await queues.alist(more)], key=lambda state: state.name)
        return found

    async def pause(self, queue: str, reason: str = "", until: datetime | timedelta | None = None) -> None:
        """Hand out no task of a queue to any worker; what runs goes on, and the queue takes new tasks.

        Arguments:
            reason: why, for people.
            until: when it ends by itself.
        """
        on = {"queue": check_identifier("queue", queue)}
        after = {"reason": reason, **({} if until is None else {"until": str(until)})}
        async with self.act(Permission.STEER_QUEUES, "queue.pause", on, after=after):
            await Queues(self.app).apause(queue, reason, until)

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        async with self.act(Permission.STEER_QUEUES, "queue.resume", {"queue": check_identifier("queue", queue)}):
            await Queues(self.app).aresume(queue)

    async def configure(self, queue: str, **settings: Any) -> None:
        """Change what is set for a queue (taskq.queue_settings.queue_config); within seconds every worker knows."""
        queue_config(**settings)
        await self.look(Permission.STEER_QUEUES)
        now = await Queues(self.app).asettings(queue)
        before = {name: msgspec.to_builtins(getattr(now, name, None)) for name in settings}
        after = {name: msgspec.to_builtins(value, enc_hook=str) for name, value in settings.items()}
        async with self.act(Permission.STEER_QUEUES, "queue.configure", {"queue": queue}, before=before, after=after):
            await Queues(self.app).aconfigure(queue, **settings)

    async def waiting(self, queue: str) -> int:
        """How many tasks a purge would cancel: the number to confirm it with."""
        [state] = await self.list([queue])
        return state.waiting

    async def purge(self, queue: str, confirmed: int) -> int:
        """Cancel what waits in a queue, also for its time or its next attempt.

        Arguments:
            confirmed: how many tasks somebody has agreed to cancel, as `waiting` told them.

        Returns:
            How many were cancelled.

        Raises:
            NotApplied: there are more by now.
        """
        self.actor.require(Permission.DESTROY)
        number = await self.waiting(queue)
        if number > confirmed:
            raise NotApplied(
                f"{number:,} tasks wait in {queue}, more than the {confirmed:,} that were confirmed: ask anew"
            )
        async with self.act(Permission.DESTROY, "queue.purge", {"queue": queue}, before={"waiting": number}):
            return await Queues(self.app).apurge(queue)
