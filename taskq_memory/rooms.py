"""Where tasks wait that a claim found behind a closed gate: a room for each gate and queue, and what was let out again.

rooms      queue → gate → ids, in the order of their lanes       PENDING
cleared    queue → ids that were let out                         PENDING, ahead of the lane of their priority
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from taskq.domain.limits import Limit

Order = tuple[int, float, int]
"""Priority, negated, the instant of becoming ready, and who came first at that instant: the order of being let out."""


@dataclass(slots=True)
class Room:
    """Those who wait at one gate."""

    limit: Limit
    """As the one who came last knows it."""
    opens_at: float
    """When the gate may open."""
    ids: dict[str, Order] = field(default_factory=dict)

    def heads(self, count: int) -> list[str]:
        """Those whose turn it is."""
        return sorted(self.ids, key=self.ids.__getitem__)[:count]

    def aged(self, before: float) -> list[str]:
        """The one that has been ready longest, if since before an instant."""
        oldest = min(self.ids, key=lambda id: self.ids[id][1])
        return [oldest] if self.ids[oldest][1] < before else []


class Rooms:
    """The rooms of all queues. Methods expect the lock of the store to be held."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, Room]] = defaultdict(dict)
        self.cleared: dict[str, dict[str, Order]] = defaultdict(dict)

    def park(self, queue: str, id: str, order: Order, limit: Limit, opens_at: float) -> None:
        """Have a task wait at a gate."""
        room = self.of[queue].setdefault(limit.gate, Room(limit, opens_at))
        room.limit, room.opens_at, room.ids[id] = limit, opens_at, order

    def clear(self, queue: str, gate: str, id: str) -> None:
        """Let a task out of its room."""
        self.cleared[queue][id] = self.of[queue][gate].ids[id]
        self._leave(queue, gate, id)

    def remove(self, queue: str, gate: str, id: str) -> bool:
        """Take a task out of its room, or from among those that were let out; returns whether it was there."""
        was_cleared = self.cleared[queue].pop(id, None) is not None
        if gate and not was_cleared:
            self._leave(queue, gate, id)
        return was_cleared

    def make_way(self, queue: str, limits: Iterable[Limit], now: float) -> None:
        """One who was let out will not start now: others may, where it would have passed."""
        for limit in limits:
            room = self.of.get(queue, {}).get(limit.gate)
            if room is not None:
                room.opens_at = now

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
        return [(gate, room) for gate, room in rooms if room.opens_at <= now]

    def next_due(self, queue: str) -> float | None:
        """The instant at which the next gate of a queue may open."""
        return min((room.opens_at for room in self.of.get(queue, {}).values()), default=None)

    def parked(self, queue: str, gate: str) -> int:
        """How many wait at a gate."""
        room = self.of.get(queue, {}).get(gate)
        return 0 if room is None else len(room.ids)

    def cleared_of(self, queue: str) -> list[str]:
        """What was let out, in the order of its claim."""
        ids = self.cleared.get(queue, {})
        return sorted(ids, key=ids.__getitem__)
