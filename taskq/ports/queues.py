"""Steering queues and limits, for the whole fleet and at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from taskq.domain.limits import Breaker, Bucket, Rate

DEFAULT_MAX_FINISHED = 100_000
"""Finished tasks kept of a queue; when there are more, the oldest go."""
DEFAULT_MAX_SIZE = 1_000_000
"""Waiting tasks that a queue may hold."""
DEFAULT_WARN_AT = 0.8
"""The share of its size at which a queue gives warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """What can be set for a queue at run time; None leaves it as it is, and a text "default" takes it back.

    The last four are defaults for tasks of the queue that say nothing themselves: `expires` the store gives them when
    they are enqueued, of the others it only keeps what workers look up.
    """

    max_finished: int | str | None = None
    """Finished tasks to keep; dead letters count apart."""
    max_size: int | str | None = None
    """Waiting tasks that it may hold: beyond them an enqueue is refused."""
    warn_at: float | str | None = None
    """The share of `max_size` at which it gives warning."""
    workers: int | str | None = None
    """The most of its tasks that run at once in the whole fleet."""
    rate: Rate | str | None = None
    """How many of its tasks start a second in the whole fleet; the key counts for nothing."""
    weight: float | str | None = None
    """How often it is served by workers that give it no weight of their own."""
    retry: dict[str, Any] | str | None = None
    """A retry policy as plain data (taskq.domain.retry.from_dict)."""
    timeout: float | str | None = None
    """Seconds that a run may take."""
    soft_timeout: float | str | None = None
    """Seconds after which a run is asked to end."""
    expires: float | str | None = None
    """Seconds after which a task that nobody has begun ends as EXPIRED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What holds for a queue now: what was set, else the default; None where there is no limit."""

    max_finished: int = DEFAULT_MAX_FINISHED
    max_size: int = DEFAULT_MAX_SIZE
    warn_at: float = DEFAULT_WARN_AT
    workers: int | None = None
    rate: Rate | None = None
    weight: float | None = None
    retry: dict[str, Any] | None = None
    timeout: float | None = None
    soft_timeout: float | None = None
    expires: float | None = None
    paused_reason: str | None = None
    """Why it is paused; None where it is not."""
    paused_until: datetime | None = None
    """When the pause ends by itself."""


class GateState(NamedTuple):
    """How a limit stands."""

    gate: str
    bucket: Bucket | None = None
    """Of a rate: None where nothing was counted lately, so that it is full."""
    holders: tuple[str, ...] = ()
    """Of a concurrency limit: the tasks that run."""
    breaker: Breaker | None = None
    """Of a circuit breaker: None where nothing was counted lately, so that it is closed."""
    parked: int = 0
    """Tasks that wait until it opens."""


class Standing(NamedTuple):
    """How a queue stands now."""

    arrived: int = 0
    """Tasks that came into it, new ones and those that were started anew. It only grows, but begins at 0 again where a
    store has forgotten the queue, or itself."""
    pending: tuple[int, ...] = (0, 0, 0, 0)
    """PENDING by priority. Where thousands of groups or limits have tasks, those of STANDING_REACH of them."""
    oldest: float | None = None
    """For how many seconds the first of them is ready that only a worker is missing for; None: there is none."""


STANDING_REACH = 2000
"""Groups, and limits, of a queue that are looked at for its standing."""


class QueueControl(Protocol):
    """Steers queues and limits."""

    async def settings(self, queue: str) -> QueueSettings:
        """What holds for a queue now."""
        ...

    async def configure(self, queue: str, config: QueueConfig) -> None:
        """Change what is set for a queue."""
        ...

    async def pause(self, queue: str, reason: str = "", until: datetime | None = None) -> None:
        """Hand out no task of this queue, to any worker, until `until` or `resume`."""
        ...

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        ...

    async def gates(self, queue: str, gates: Sequence[str]) -> list[GateState]:
        """How limits stand, as tasks of this queue meet them.

        Arguments:
            queue: limits are kept where their queue is.
            gates: their names (taskq.domain.limits: `gate`).
        """
        ...

    async def standings(self) -> Mapping[str, Standing]:
        """How each queue stands that has, or had, tasks."""
        ...

    async def reset(self, queue: str, gate: str) -> None:
        """Forget what a limit has counted: a full bucket, a closed breaker. Its holders stay what they are."""
        ...
