"""Those who wait for something to happen in a memory store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count, product

Listener = Callable[[str, str], None]


class Listeners:
    """Those who wait for something to happen in the store; whoever waits for another thing is not disturbed."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], dict[int, Listener]] = {}
        self._numbers = count()

    def listen(self, kinds: Iterable[str], keys: Iterable[str], listener: Listener) -> Callable[[], None]:
        """Call `listener(key, data)` on what is told of these keys; returns the undo.

        Arguments:
            kinds: "ready" and "due" (of a queue), "ended" (of a task), "event" (of a topic).
            keys: the queues, tasks or topics.
            listener: called with the lock of the store held.
        """
        number, topics = next(self._numbers), list(product(kinds, keys))
        for topic in topics:
            self._of.setdefault(topic, {})[number] = listener
        return lambda: self._stop(number, topics)

    def tell(self, kind: str, key: str, data: str = "") -> None:
        """Tell those who listen to this."""
        for listener in tuple(self._of.get((kind, key), {}).values()):
            listener(key, data)

    def _stop(self, number: int, topics: Iterable[tuple[str, str]]) -> None:
        for topic in topics:
            listeners = self._of.get(topic, {})
            listeners.pop(number, None)
            if not listeners:
                self._of.pop(topic, None)
