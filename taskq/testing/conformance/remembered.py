"""What the model-based test remembers of all that it has sent, and the form of a command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from taskq.domain.message import Delivery, Message
from taskq.ports import Backend, Capability
from taskq.testing.conformance.bench import LONG
from taskq.testing.conformance.model import QueueModel


class Step(NamedTuple):
    """A command made concrete: what is sent, and the rule that its answer has to obey."""

    send: Callable[[], Awaitable[Any]]
    explain: Callable[[QueueModel, Any], None]
    """Moves the model on; raises AssertionError where the answer is not one that the contract allows."""
    promotes: frozenset[str] = frozenset()
    """The queues whose due tasks it makes ready by itself."""
    is_said_again: bool = False
    """Whether, sent at once with others, it may have left something as it was: who sends it will say it again."""


class Request(NamedTuple):
    """A claim that was sent."""

    worker: str
    request_id: str
    queues: tuple[str, ...]
    limit: int


@dataclass
class Memory:
    """What was ever sent and handed out: material for repetitions and for stale writes."""

    backend: Backend
    short: float
    are_many: bool = False
    """Whether commands are sent at once: then nothing may be over before the last of them."""
    must_lapse: bool = False
    """Whether the newest command made something that is to be over before the next one."""
    messages: list[Message] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    live: list[Delivery] = field(default_factory=list)
    """Those of them that may still write, as far as is known."""
    requests: list[Request] = field(default_factory=list)

    @property
    def is_virtual(self) -> bool:
        """Whether the store's clock can be turned."""
        return Capability.VIRTUAL_TIME in self.backend.capabilities

    def span(self, seconds: float) -> float:
        """A lifetime as drawn; a store with a clock of its own knows two kinds: over at once, and never."""
        if self.is_virtual:
            return seconds
        if seconds >= LONG or self.are_many:
            return LONG
        self.must_lapse = True
        return self.short

    def delivery(self, choice: Choice) -> Delivery:
        """One that was handed out at some time, perhaps forged."""
        held = self.live if choice.is_live and self.live else self.deliveries
        delivery = held[-1 - choice.pick % len(held)]
        fence = max(1, delivery.fence + choice.later)
        return delivery._replace(fence=fence, worker=choice.worker or delivery.worker)

    def message(self, pick: int) -> Message:
        """One that was sent at some time."""
        return self.messages[-1 - pick % len(self.messages)]

    def new_id(self, queue: str) -> str:
        """The same ids each time that an example is run."""
        number = len(self.messages) << 8 | self.backend.shard_of(queue)
        return str(UUID(int=0x7 << 76 | 0x2 << 62 | number))


class Choice(NamedTuple):
    """Which delivery to use, and what to forge of it: a fence later by so many, another worker."""

    pick: int
    is_live: bool = False
    later: int = 0
    worker: str = ""


class Command(Protocol):
    """Something drawn at random."""

    def bind(self, memory: Memory) -> Step | None:
        """Make it concrete, None where there is nothing yet to do it with."""
        ...
