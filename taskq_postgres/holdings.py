"""Which claims of this process are through: all their tasks settled, so that the reaper need not look at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskq.domain.message import Delivery

MOST_CLAIMS = 10_000
Run = tuple[str, int, str]


class Holdings:
    """Remembers the tasks of each claim until they are settled. What is forgotten here the reaper finds by itself."""

    def __init__(self) -> None:
        self._runs: dict[int, set[Run]] = {}
        self._claims: dict[Run, int] = {}
        self._workers: dict[str, dict[int, None]] = {}

    def claimed(self, worker: str, number: int, deliveries: Sequence[Delivery]) -> None:
        """Note a claim by its number."""
        if not deliveries:
            return
        runs = {(delivery.id, delivery.fence, delivery.worker) for delivery in deliveries}
        self._runs[number] = runs
        self._claims |= dict.fromkeys(runs, number)
        self._workers.setdefault(worker, {})[number] = None
        while len(self._runs) > MOST_CLAIMS:
            oldest = next(iter(self._runs))
            for owner in list(self._workers):
                self.forget(owner, [oldest])

    def settled(self, deliveries: Iterable[Delivery]) -> None:
        """Note runs that have ended."""
        for delivery in deliveries:
            run = (delivery.id, delivery.fence, delivery.worker)
            number = self._claims.pop(run, None)
            if number is not None:
                self._runs[number].discard(run)

    def through(self, worker: str) -> list[int]:
        """The claims of a worker that are through; its newest one never is, because it may be said again."""
        numbers = list(self._workers.get(worker, ()))
        return [number for number in numbers[:-1] if not self._runs[number]]

    def forget(self, worker: str, numbers: Iterable[int]) -> None:
        """The store knows that these claims of a worker are through."""
        held = self._workers.get(worker, {})
        for number in numbers:
            if number in held:
                del held[number]
                for run in self._runs.pop(number, ()):
                    self._claims.pop(run, None)
        if not held:
            self._workers.pop(worker, None)
