"""Who works: the workers, what they say of themselves, and what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class WorkerState(StrEnum):
    """What a worker is doing."""

    IDLE = "idle"
    BUSY = "busy"
    PAUSED = "paused"
    SHUTTING_DOWN = "shutting down"


class WorkerCommand(StrEnum):
    """What a worker is told in the reply to its report."""

    PAUSE = "pause"
    RESUME = "resume"
    SHUTDOWN = "shutdown"


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


class WorkerRegistry(Protocol):
    """Keeps the workers that reported within their time to live."""

    async def report(self, info: WorkerInfo, ttl: float) -> Sequence[WorkerCommand]:
        """Note that the worker lives, for `ttl` seconds, and take what it is told (each command once)."""
        ...

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that live."""
        ...

    async def command(self, worker: str, command: WorkerCommand) -> bool:
        """Tell a worker something with its next report; False where no such worker lives."""
        ...

    async def forget(self, worker: str) -> None:
        """The worker has stopped in good order."""
        ...
