"""Workers: who lives, and what they are told in the reply to their heartbeat."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.config import shown
from taskq.errors import InvalidOption, TaskqError
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.options import LOG_LEVELS
from taskq.ports import WorkerCommand, WorkerInfo


class WorkerNotFound(TaskqError):
    """No worker of that id or name lives."""


class WorkerDesk(Desk):
    """The workers of a store."""

    async def list(self) -> Sequence[WorkerInfo]:
        """The workers that live, by name and id."""
        backend = await self.look(Permission.READ_FLEET)
        return sorted(await backend.registry.workers(), key=lambda worker: (worker.name, worker.id))

    async def pause(self, worker: str) -> Sequence[str]:
        """Have workers take no more tasks; what they hold goes on.

        Arguments:
            worker: an id, or a name that several may have.

        Returns:
            The ids of those that were told; they heed it with their next heartbeat, or sooner.

        Raises:
            WorkerNotFound: none of that id or name lives.
        """
        return await self._tell(worker, WorkerCommand.PAUSE)

    async def resume(self, worker: str) -> Sequence[str]:
        """Undo `pause`."""
        return await self._tell(worker, WorkerCommand.RESUME)

    async def shutdown(self, worker: str) -> Sequence[str]:
        """Have workers end what they run, give back the rest, and stop."""
        return await self._tell(worker, WorkerCommand.SHUTDOWN)

    async def log_level(self, worker: str, level: str) -> Sequence[str]:
        """Have workers log what is at this level or above, of taskq and of tasks that log by `ctx.logger`.

        Arguments:
            worker: an id, or a name that several may have.
            level: "DEBUG", "INFO", "WARNING" or "ERROR".

        Raises:
            InvalidOption: it is no level.
        """
        if level not in LOG_LEVELS:
            raise InvalidOption(f"level must be one of {', '.join(LOG_LEVELS)}, not {shown(level)}")
        return await self._tell(worker, WorkerCommand.LOG_LEVEL, level)

    async def _tell(self, worker: str, command: WorkerCommand, argument: str = "") -> Sequence[str]:
        backend = await self.look(Permission.STEER_WORKERS)
        ids = sorted(one.id for one in await backend.registry.workers() if worker in (one.id, one.name))
        if not ids:
            raise WorkerNotFound(f"no worker {worker} lives; `taskq workers list` shows those that do")
        action, after = f"worker.{command.replace(' ', '_')}", {"argument": argument} if argument else None
        async with self.act(Permission.STEER_WORKERS, action, {"workers": ids}, after=after):
            return [id for id in ids if await backend.registry.command(id, command, argument)]
