"""Which claims of this process are through: all their tasks settled, so that the reaper need not look at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskq.domain.message import Delivery

MOST_REQUESTS = 10_000
Run = tuple[str, int]


class Holdings:
    """Remembers the tasks of each claim until they are settled. What is forgotten here the reaper finds by itself."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], set[Run]] = {}
        self._owner: dict[Run, tuple[str, str]] = {}
        self._newest: dict[str, str] = {}

    def claimed(self, worker: str, request: str, deliveries: Sequence[Delivery]) -> None:
        """Note a claim. A worker's newest one is never through, because it may be said again."""
        self._newest.pop(worker, None)
        self._newest[worker] = request
        if deliveries:
            runs = {(delivery.id, delivery.fence) for delivery in deliveries}
            self._requests[worker, request] = runs
            self._owner |= dict.fromkeys(runs, (worker, request))
        for oldest in list(self._requests)[: len(self._requests) - MOST_REQUESTS]:
            self._drop(oldest)
        for idle in list(self._newest)[: len(self._newest) - MOST_REQUESTS]:
            del self._newest[idle]

    def settled(self, deliveries: Iterable[Delivery]) -> None:
        """Note runs that have ended."""
        for delivery in deliveries:
            run = (delivery.id, delivery.fence)
            owner = self._owner.pop(run, None)
            if owner is not None and owner in self._requests:
                self._requests[owner].discard(run)

    def through(self, worker: str) -> list[str]:
        """The requests of a worker that are through."""
        newest = self._newest.get(worker)
        return [
            request
            for (owner, request), runs in self._requests.items()
            if owner == worker and request != newest and not runs
        ]

    def forget(self, worker: str, requests: Iterable[str]) -> None:
        """The store knows that these are through."""
        for request in requests:
            self._drop((worker, request))

    def _drop(self, key: tuple[str, str]) -> None:
        for run in self._requests.pop(key, ()):
            self._owner.pop(run, None)
