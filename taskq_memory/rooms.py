"""Where tasks wait that a claim found behind a closed gate: a room for each gate and queue, and what was let out again.

rooms      queue → gate → ids, in the order of their lanes       PENDING
cleared    queue → ids that were let out                         PENDING, ahead of the lane of their priority
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from taskq.domain.limits import Limit

Order = tuple[int, float]
"""Priority, negated, and the instant of becoming ready: the order in which tasks are let out."""


@dataclass(slots=True)
class Room:
    """Those who wait at one gate."""

    limit: Limit
    """As the one who came last knows it."""
    opens_at: float | None = None
    """When the gate may open, None: when a holder leaves."""
    ids: dict[str, Order] = field(default_factory=dict)

    def heads(self, count: int) -> list[str]:
        """Those whose turn it is."""
        return sorted(self.ids, key=self.ids.__getitem__)[:count]


class Rooms:
    """The rooms of all queues. Methods expect the lock of the store to be held."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, Room]] = defaultdict(dict)
        self.cleared: dict[str, dict[str, Order]] = defaultdict(dict)

    def park(self, queue: str, id: str, order: Order, limit: Limit, opens_at: float | None) -> None:
        """Have a task wait at a gate."""
        room = self.of[queue].setdefault(limit.gate, Room(limit))
        room.limit, room.opens_at, room.ids[id] = limit, opens_at, order

    def clear(self, queue: str, gate: str, id: str) -> None:
        """Let a task out of its room."""
        self.cleared[queue][id] = self.of[queue][gate].ids[id]
        self._leave(queue, gate, id)

    def remove(self, queue: str, gate: str, id: str) -> None:
        """Take a task out of its room, or from among those that were let out."""
        if self.cleared[queue].pop(id, None) is None and gate:
            self._leave(queue, gate, id)

    def _leave(self, queue: str, gate: str, id: str) -> None:
        room = self.of[queue].get(gate)
        if room is not None:
            room.ids.pop(id, None)
            if not room.ids:
                del self.of[queue][gate]

    def open(self, gate: str, now: float) -> list[str]:
        """A gate may have opened; returns the queues in which somebody waits for it."""
        queues = [queue for queue, rooms in self.of.items() if gate in rooms]
        for queue in queues:
            self.of[queue][gate].opens_at = now
        return queues

    def due(self, queue: str, now: float) -> list[tuple[str, Room]]:
        """The rooms of a queue whose gates may be open."""
        rooms = self.of.get(queue, {}).items()
        return [(gate, room) for gate, room in rooms if room.opens_at is not None and room.opens_at <= now]

    def next_due(self, queue: str) -> float | None:
        """The instant at which the next gate of a queue may open."""
        return min((r.opens_at for r in self.of.get(queue, {}).values() if r.opens_at is not None), default=None)

    def parked(self, queue: str, gate: str) -> int:
        """How many wait at a gate."""
        room = self.of.get(queue, {}).get(gate)
        return 0 if room is None else len(room.ids)

    def cleared_of(self, queue: str) -> list[str]:
        """What was let out, in the order of its claim."""
        ids = self.cleared.get(queue, {})
        return sorted(ids, key=ids.__getitem__)
