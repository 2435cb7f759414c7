"""Schedules: to look at, to make and change, to pause, to have fire at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskq.domain.timing import Timing
from taskq.handle import TaskHandle
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.schedule_control import Schedule


class ScheduleDesk(Desk):
    """The schedules of a store; `App.schedules` says of each method what it takes and raises.

    Who may not see arguments is given schedules without them.
    """

    async def list(self) -> Sequence[Schedule]:
        """All schedules, by name."""
        await self.look(Permission.READ_FLEET)
        return [self._shown(schedule) for schedule in await self.app.schedules.alist()]

    async def get(self, name: str) -> Schedule:
        """One schedule."""
        await self.look(Permission.READ_FLEET)
        return self._shown(await self.app.schedules.aget(name))

    async def put(
        self, name: str, timing: Timing, task: str, payload: Mapping[str, Any] | None = None, **options: Any
    ) -> Schedule:
        """Make a schedule, or make it anew."""
        after = {"task": task, "timing": str(timing), "set": sorted(options)}
        async with self.act(Permission.SCHEDULE, "schedule.put", {"schedule": name}, after=after):
            return self._shown(await self.app.schedules.aput(name, timing, task, payload, **options))

    async def change(self, name: str, **changes: Any) -> Schedule:
        """Set something of a schedule to something else."""
        after = {"set": sorted(changes)}
        async with self.act(Permission.SCHEDULE, "schedule.change", {"schedule": name}, after=after):
            return self._shown(await self.app.schedules.achange(name, **changes))

    async def reset(self, name: str) -> Schedule:
        """Take back what people have changed of what code declares."""
        async with self.act(Permission.SCHEDULE, "schedule.reset", {"schedule": name}):
            return self._shown(await self.app.schedules.areset(name))

    async def pause(self, name: str, reason: str = "") -> Schedule:
        """Have a schedule not fire."""
        async with self.act(Permission.SCHEDULE, "schedule.pause", {"schedule": name}, after={"reason": reason}):
            return self._shown(await self.app.schedules.apause(name, reason))

    async def resume(self, name: str) -> Schedule:
        """Undo `pause`."""
        async with self.act(Permission.SCHEDULE, "schedule.resume", {"schedule": name}):
            return self._shown(await self.app.schedules.aresume(name))

    async def run(self, name: str) -> TaskHandle[Any]:
        """Have a schedule fire at once."""
        async with self.act(Permission.SCHEDULE, "schedule.run", {"schedule": name}):
            return await self.app.schedules.arun(name)

    async def remove(self, name: str) -> None:
        """Forget a schedule."""
        async with self.act(Permission.SCHEDULE, "schedule.remove", {"schedule": name}):
            await self.app.schedules.aremove(name)

    def _shown(self, schedule: Schedule) -> Schedule:
        return schedule if self.actor.may(Permission.READ_PAYLOADS) else replace(schedule, payload=None)
