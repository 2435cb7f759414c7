"""How many tasks this process has enqueued, by task and queue."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from taskq.domain.figures import OTHER
from taskq.domain.message import Message
from taskq.ports import Enqueued, EnqueueStatus

MOST_NAMES = 1000
"""Tasks and queues that are counted apart; what comes later counts as OTHER."""


class Tally:
    """Counts what stores have taken; from any thread.

    >>> tally = Tally()
    >>> tally.note([Message("5b", "mail.send", queue="mail")], [Enqueued("5b", EnqueueStatus.CREATED)])
    >>> tally.numbers
    {('mail.send', 'mail'): 1}
    """

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def note(self, messages: Sequence[Message], answers: Sequence[Enqueued]) -> None:
        """Count what is new of some messages."""
        with self._lock:
            for message, answer in zip(messages, answers, strict=True):
                if answer.status is EnqueueStatus.CREATED:
                    key = (message.name, message.queue)
                    if key not in self.numbers and len(self.numbers) >= MOST_NAMES:
                        key = (OTHER, OTHER)
                    self.numbers[key] = self.numbers.get(key, 0) + 1
