"""The schedules of an application at run time: to look at, to make and change, to pause, to have fire at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Unpack

from taskq import blocking
from taskq.domain.schedule import Misfire, Overlap
from taskq.domain.timing import Timing
from taskq.handle import TaskHandle
from taskq.periodic import ScheduleKeywords
from taskq.schedule_control import AsyncSchedules, Schedule


class Schedules(AsyncSchedules):
    """The schedules of an application. Each method has an a-twin for async code, which does the same.

    What people change here of a schedule that code declares stays changed, field by field, whatever code says later,
    until `reset` takes it back.

    Every method may raise InvalidOption, where a value cannot be what it is, ScheduleNotFound, and BackendUnavailable,
    where the store cannot be reached; those without an `a` WouldBlock, where an event loop runs in this thread.

    >>> from taskq import App, Every
    >>> app = App("memory://")
    >>> schedules = app.schedules
    >>> schedules.put("tick", Every(seconds=30), "job", {"number": 1}).queue
    'default'
    >>> schedules.pause("tick", "too loud").next_at
    >>> [schedule.paused_reason for schedule in schedules.list()]
    ['too loud']
    """

    def list(self) -> Sequence[Schedule]:
        """All schedules, by name.

        >>> from taskq import App
        >>> App("memory://").schedules.list()
        []
        """
        return blocking.run(self.alist(), *_names("list"))

    def get(self, name: str) -> Schedule:
        """One schedule.

        >>> from taskq import App, Every
        >>> schedules = App("memory://").schedules
        >>> schedules.put("tick", Every(seconds=30), "job") == schedules.get("tick")
        True
        """
        return blocking.run(self.aget(name), *_names("get"))

    def put(
        self,
        name: str,
        timing: Timing,
        task: str,
        payload: Mapping[str, Any] | None = None,
        *,
        misfire: Misfire | str = Misfire.LATEST,
        overlap: Overlap | str = Overlap.ALLOW,
        jitter: float | timedelta = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        **options: Unpack[ScheduleKeywords],
    ) -> Schedule:
        """Make a schedule, or make one anew that was made here before.

        Arguments:
            name: 1 to 255 printable characters.
            timing: at which instants: Cron(…), Every(…) or At(…).
            task: the name of the task, of this application or another one of the same store.
            payload: its arguments, parameter name → value.
            misfire, overlap, jitter, start, end: see taskq.domain.schedule.Rules; jitter may be a timedelta.
            options: of each call, see taskq.options.CallOptions.

        Raises:
            InvalidOption: also where code declares a schedule of that name.
            InvalidPayload: the arguments do not fit the task.

        >>> from taskq import App, Cron
        >>> report = App("memory://").schedules.put("report", Cron("0 3 * * *"), "report", {"days": 7}, queue="slow")
        >>> report.queue, dict(report.payload)
        ('slow', {'days': 7})
        """
        coroutine = self.aput(
            name, timing, task, payload,
            misfire=misfire, overlap=overlap, jitter=jitter, start=start, end=end, **options,
        )  # fmt: skip
        return blocking.run(coroutine, *_names("put"))

    def change(self, name: str, **changes: Any) -> Schedule:
        """Set something of a schedule to something else.

        Arguments:
            changes: timing, misfire, overlap, jitter, start, end, payload, or options of each call; an option that is
                None is taken back. What is not given stays as it is.

        >>> from taskq import App, Every
        >>> schedules = App("memory://").schedules
        >>> tick = schedules.put("tick", Every(seconds=30), "job", priority="low")
        >>> dict(schedules.change("tick", timing=Every(minutes=1), priority=None).options)
        {}
        """
        return blocking.run(self.achange(name, **changes), *_names("change"))

    def reset(self, name: str) -> Schedule:
        """Take back what people have changed of what code declares.

        Raises:
            InvalidOption: people have made it, so that there is nothing to go back to.

        >>> from taskq import App, Every
        >>> schedules = App("memory://").schedules
        >>> _ = schedules.put("tick", Every(seconds=30), "job")
        >>> schedules.reset("tick")
        Traceback (most recent call last):
            ...
        taskq.errors.InvalidOption: schedule 'tick' was made by hand: there is no declaration to go back to
        """
        return blocking.run(self.areset(name), *_names("reset"))

    def pause(self, name: str, reason: str = "") -> Schedule:
        """Have a schedule not fire until `resume`; what is due meanwhile does not fire later either.

        >>> from taskq import App, Every
        >>> schedules = App("memory://").schedules
        >>> _ = schedules.put("tick", Every(seconds=30), "job")
        >>> schedules.pause("tick", "the relay is away").paused_reason
        'the relay is away'
        """
        return blocking.run(self.apause(name, reason), *_names("pause"))

    def resume(self, name: str) -> Schedule:
        """Undo `pause`; the ledger tells what was not fired.

        >>> from taskq import App, Every
        >>> schedules = App("memory://").schedules
        >>> _ = schedules.put("tick", Every(seconds=30), "job"), schedules.pause("tick")
        >>> schedules.resume("tick").paused_reason
        """
        return blocking.run(self.aresume(name), *_names("resume"))

    def run(self, name: str) -> TaskHandle[Any]:
        """Have a schedule fire at once, also one that is paused; when it fires next stays as it is.

        Returns:
            The handle of the task.

        Raises:
            QueueFull: its queue has no room.

        >>> from taskq import App, Every
        >>> schedules = App("memory://").schedules
        >>> _ = schedules.put("tick", Every(hours=30), "job")
        >>> schedules.run("tick").info().name
        'job'
        """
        return blocking.run(self.arun(name), *_names("run"))

    def remove(self, name: str) -> None:
        """Forget a schedule that people have made, or that no code declares any more.

        Raises:
            InvalidOption: code declares it.

        >>> from taskq import App, Every
        >>> schedules = App("memory://").schedules
        >>> _ = schedules.put("tick", Every(hours=30), "job")
        >>> schedules.remove("tick")
        """
        blocking.run(self.aremove(name), *_names("remove"))


def _names(method: str) -> tuple[str, str]:
    return f"schedules.{method}()", f"schedules.a{method}()"
