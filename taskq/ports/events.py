"""Hints between processes: at most once, and never the only way to learn of a thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

CONTROL = "control"
"""The topic on which workers are hinted at cancel requests; the data is the task's id."""
SETTINGS = "settings"
"""The topic on which workers are hinted that the settings of a queue have changed; the data is its name."""
ALERTS = "alerts"
"""The topic of what somebody should look at; the data is a JSON object whose `kind` says what, never with a payload."""


PROGRESS = "progress"
"""The topic on which tasks that have said how far they are, are named; the data is a JSON object with their `id`."""


class Event(NamedTuple):
    """Something that happened, for whoever listens."""

    topic: str
    data: str


class EventBus(Protocol):
    """Spreads events to those who listen now; a listener that missed some takes a snapshot."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell the listeners; nothing is kept."""
        ...

    def subscribe(self, topics: Sequence[str]) -> AsyncIterator[Event]:
        """Events of these topics, from the moment of the first step of the iteration until it is closed."""
        ...
