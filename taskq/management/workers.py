"""Workers: who lives, and what they are told in the reply to their heartbeat."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from functools import cached_property

from taskq.config import shown
from taskq.domain.profile import Profile
from taskq.errors import InvalidOption, TaskqError
from taskq.management.access import Permission
from taskq.management.autoscale import AutoscaleDesk
from taskq.management.desk import Desk
from taskq.management.profiles import asked, check_seconds, listed, read, waited_for
from taskq.options import LOG_LEVELS
from taskq.ports import Backend, WorkerCommand, WorkerInfo
from taskq.profiles import ProfileInfo
from taskq.profiles import write as write_profile


class WorkerNotFound(TaskqError):
    """No worker of that id or name lives."""


class WorkerDesk(Desk):
    """The workers of a store."""

    @cached_property
    def autoscale(self) -> AutoscaleDesk:
        """How many workers queues need."""
        return AutoscaleDesk(self.app, self.actor)

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

    async def drain(self, worker: str) -> Sequence[str]:
        """Have workers take no more tasks, give back those that have not begun, end the others, and stay.

        Their state is "draining", then "drained"; `resume` has them take tasks again. What they hold at a `pause` goes
        on instead, and a `shutdown` ends their processes.
        """
        return await self._tell(worker, WorkerCommand.DRAIN)

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

    async def profile(self, worker: str, seconds: float = 10.0) -> str:
        """Have a worker take a profile of itself.

        Arguments:
            worker: its id, or a name that no other worker has.
            seconds: for how long, at most 60.

        Returns:
            The id of the profile: `profiled` waits for it. The worker begins with its next heartbeat.

        Raises:
            WorkerNotFound: none of that id or name lives.
            InvalidOption: several have that name, or `seconds` is out of its range.
            NotApplied: the worker takes no profiles, or takes another one.
        """
        check_seconds(seconds)
        backend = await self.look(Permission.STEER_WORKERS)
        several = await self._named(backend, worker)
        if len(several) > 1:
            ids = ", ".join(one.id for one in several)
            raise InvalidOption(f"{len(several)} workers have the name {worker}: say which by its id: {ids}")
        info = await asked(backend, several[0], self.actor.name, float(seconds))
        on, after = {"workers": [info.worker]}, {"profile": info.id, "seconds": info.seconds}
        async with self.act(Permission.STEER_WORKERS, "worker.profile", on, after=after):
            await write_profile(backend.documents, info)
            if not await backend.registry.command(info.worker, WorkerCommand.PROFILE, f"{info.id}:{seconds:g}"):
                raise WorkerNotFound(f"worker {worker} has gone; `taskq workers list` shows those that live")
        return info.id

    async def profiled(self, id: str) -> ProfileInfo:
        """A profile when it is done.

        Raises:
            ProfileNotFound: there is none of that id.
            ProfileFailed: the worker has refused it, has gone, or does not answer.
        """
        return await waited_for(await self.look(Permission.STEER_WORKERS), id)

    async def profiles(self) -> Sequence[ProfileInfo]:
        """The profiles that are kept, the newest first: 20 at the most, for a day."""
        return await listed(await self.look(Permission.READ_FLEET))

    async def download(self, id: str) -> Profile:
        """A profile that is done; taskq.domain.profile writes it as flame graph tools read it.

        Raises:
            ProfileNotFound: there is none of that id.
            NotApplied: it is not done.
        """
        return await read(await self.look(Permission.STEER_WORKERS), id)

    async def _named(self, backend: Backend, worker: str) -> builtins.list[WorkerInfo]:
        found = [one for one in await backend.registry.workers() if worker in (one.id, one.name)]
        if not found:
            raise WorkerNotFound(f"no worker {worker} lives; `taskq workers list` shows those that do")
        return sorted(found, key=lambda one: one.id)

    async def _tell(self, worker: str, command: WorkerCommand, argument: str = "") -> Sequence[str]:
        backend = await self.look(Permission.STEER_WORKERS)
        ids = [one.id for one in await self._named(backend, worker)]
        action, after = f"worker.{command.replace(' ', '_')}", {"argument": argument} if argument else None
        async with self.act(Permission.STEER_WORKERS, action, {"workers": ids}, after=after):
            return [id for id in ids if await backend.registry.command(id, command, argument)]
