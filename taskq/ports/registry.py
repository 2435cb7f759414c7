"""Who works: the workers, what they say of themselves, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, Self

MOST_NAMES = 500
"""Names of tasks that a worker reports."""


class WorkerState(StrEnum):
    """What a worker is doing."""

    IDLE = "idle"
    BUSY = "busy"
    PAUSED = "paused"
    PRESSED = "under pressure"
    """It takes no tasks for now, by its own decision: `WorkerInfo.pressure` says why."""
    DRAINING = "draining"
    """It takes no tasks, and ends those that it runs."""
    DRAINED = "drained"
    """It takes no tasks, and runs none, until it is told to resume."""
    SHUTTING_DOWN = "shutting down"
    OTHER = "other"
    """One that a later release reports and this one does not know."""


class WorkerCommand(StrEnum):
    """What a worker is told in the reply to its report."""

    PAUSE = "pause"
    RESUME = "resume"
    SHUTDOWN = "shutdown"
    LOG_LEVEL = "log level"
    """The argument is the level: "DEBUG"."""
    DRAIN = "drain"
    """Take no tasks, give back those that have not begun, end those that have, and stay."""
    PROFILE = "profile"
    """The argument is the id of the profile and for how many seconds: "0198…:10" (taskq.profiles)."""


class Order(NamedTuple):
    """A command, with what it needs."""

    command: WorkerCommand
    argument: str = ""
    """Printable text."""

    def written(self) -> str:
        """The order as a line of text.

        >>> Order(WorkerCommand.LOG_LEVEL, "DEBUG").written()
        'log level:DEBUG'
        """
        return f"{self.command}:{self.argument}" if self.argument else str(self.command)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read what `written` wrote; None for one that a later release gives and this one does not know.

        >>> Order.read("log level:DEBUG")
        Order(command=<WorkerCommand.LOG_LEVEL: 'log level'>, argument='DEBUG')
        >>> Order.read("dance")
        """
        command, _, argument = text.partition(":")
        return cls(WorkerCommand(command), argument) if command in tuple(WorkerCommand) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """What a worker says of itself. Instants are seconds since the epoch, by the store's clock where it sets them."""

    id: str
    """Random for each start of a process."""
    name: str
    """Stable, where the operator gives one."""
    host: str
    pid: int
    queues: tuple[str, ...]
    state: WorkerState
    running: int = 0
    concurrency: int = 0
    started_at: float = 0.0
    seen_at: float = 0.0
    """When it last reported; the store sets it."""
    version: str = ""
    unresponsive: tuple[str, ...] = ()
    """Ids of tasks, at most 20, which were told to end and whose runs still go on, out of the worker's reach."""
    pressure: str = ""
    """Why it takes no tasks for now, as in "memory 512 MiB of 400 MiB"; "" where it does."""
    runs: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)
    """The runs of the last minute or two and how many of them failed, by task name; only the 50 names most run."""
    tasks: tuple[str, ...] = ()
    """The names of the tasks that it knows, where they are no more than MOST_NAMES; (): it does not say."""
    heartbeat: float = 0.0
    """Seconds between two of its reports; 0: it does not say."""
    profiling: bool = False
    """Whether it takes profiles of itself."""

    @classmethod
    def read(cls, report: Mapping[str, Any], seen_at: float) -> Self:
        """What a store has kept as JSON, whichever release has reported it.

        Arguments:
            report: the fields by name (of `dataclasses.asdict`); those that this release does not know are left out.
            seen_at: when the store got it, in seconds since the epoch.

        >>> report = {"id": "w1", "name": "n", "host": "h", "pid": 1, "queues": ["mail"], "state": "dozing", "new": 1}
        >>> info = WorkerInfo.read(report, seen_at=5.0)
        >>> info.queues, info.state.value, info.seen_at
        (('mail',), 'other', 5.0)
        """
        names = {each.name for each in fields(cls)}
        known = {name: value for name, value in report.items() if name in names}
        known["queues"] = tuple(known["queues"])
        for name in ("unresponsive", "tasks"):
            known[name] = tuple(known.get(name, ()))
        known["runs"] = {name: (runs, failures) for name, (runs, failures) in known.get("runs", {}).items()}
        is_known = known["state"] in tuple(WorkerState)
        known["state"] = WorkerState(known["state"]) if is_known else WorkerState.OTHER
        return cls(**{**known, "seen_at": seen_at})


class WorkerRegistry(Protocol):
    """Keeps the workers that reported within their time to live."""

    async def report(self, info: WorkerInfo, ttl: float) -> Sequence[Order]:
        """Note that the worker lives, for `ttl` seconds, and take what it is told (each order once)."""
        ...

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that live."""
        ...

    async def command(self, worker: str, command: WorkerCommand, argument: str = "") -> bool:
        """Tell a worker something with its next report; False where no such worker lives."""
        ...

    async def forget(self, worker: str) -> None:
        """The worker has stopped in good order."""
        ...

    async def take_duty(self, duty: str, holder: str, seconds: float) -> bool:
        """Take, or keep, a duty that one process at a time is enough for; nothing may depend on there being only one.

        Arguments:
            duty: its name.
            holder: who asks: random for each start of a process.
            seconds: for which it is kept; 0 gives it back.

        Returns:
            Whether the duty is the holder's now.
        """
        ...
