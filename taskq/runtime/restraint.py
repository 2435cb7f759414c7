"""What of a worker's own keeps it from taking tasks: its rate, pressure, and failures that only it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from taskq.config import WorkerOptions
from taskq.domain.message import Delivery
from taskq.domain.outcome import Settlement
from taskq.ports import Backend
from taskq.runtime.comparison import Comparison
from taskq.runtime.latency import Latency
from taskq.runtime.pace import Pace
from taskq.runtime.pressure import Pressure
from taskq.runtime.service import Tick


class Restraint:
    """Owns what measures a worker.

    Arguments:
        options: its rate and its limits.
        worker: the random id of this start.
        backend: the store, opened for the worker's loop.
    """

    def __init__(self, options: WorkerOptions, worker: str, backend: Backend) -> None:
        queue = next(iter(options.queues))
        self._rate = options.rate
        self.pace = Pace(options.rate)
        self.latency = Latency()
        self.pressure = Pressure(options, self.latency, lambda: backend.queues.settings(queue))
        self.comparison = Comparison(worker, backend.registry, backend.events) if options.compare else None

    @property
    def reason(self) -> str:
        """Why no tasks should be taken now; "" where they may be. From any thread."""
        return self.pressure.sentence or ("" if self.comparison is None else self.comparison.reason)

    @property
    def hooks(self) -> tuple[Callable[[Delivery, Settlement], None], ...]:
        """What is to be called with each settlement that the store has accepted."""
        return () if self.comparison is None else (self.comparison.note,)

    def figures(self) -> Mapping[str, tuple[int, int]]:
        """Runs and failures by task name, for the others; from any thread."""
        return {} if self.comparison is None else self.comparison.figures()

    def ticks(self) -> Sequence[tuple[str, Tick]]:
        """What is to be called again and again, with its name."""
        pressure: tuple[str, Tick] = ("the watch over pressure", self.pressure.tick)
        if self.comparison is None:
            return (pressure,)
        return (pressure, ("the comparison with other workers", self.comparison.tick))

    def retune(self, options: WorkerOptions) -> None:
        """Another rate, and other limits; the rate that is the same has spent what it has."""
        if options.rate != self._rate:
            self._rate = options.rate
            self.pace.retune(options.rate)
        self.pressure.retune(options)

    def resume(self) -> None:
        """Somebody says that the worker should take tasks again: end the pause that it has given itself."""
        if self.comparison is not None:
            self.comparison.resume()
