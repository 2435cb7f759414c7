"""How many runs of each kind there may be at once, and how many more to hold ready."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from taskq.config import WorkerOptions
from taskq.runtime.run import Run

AHEAD = 0.005
"""Seconds of work that are held ready beside what runs: enough to hide the way to the store, too little to hoard."""
SMOOTHING = 0.1
FIRST_WINDOW = 8
LARGEST_WINDOW = 1 << 14
TIGHT_FOR = 1.0
"""Seconds for which a kind whose waiting runs were given back is asked for one task at a time."""
SOLITUDE = 10.0
"""Seconds for which a suspect has its worker for itself, and after which it no longer waits for what runs there.

A task that kills its process mostly does so early. Without a bound one long run would keep its worker from all others.
"""


class _Kind:
    """The slots of one kind of task."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.running = 0
        self.waiting: deque[Run] = deque()
        self.seconds = 0.01
        """A moving average of how long a run takes."""
        self.seen_at = 0.0
        self.tight_until = 0.0

    @property
    def free(self) -> int:
        return self.size - self.running - len(self.waiting)

    @property
    def ahead(self) -> int:
        """Runs to hold ready: what the slots get through in AHEAD seconds, at most twice the slots."""
        return min(2 * self.size, int(AHEAD * self.size / max(self.seconds, 1e-6)))

    def room(self, now: float) -> int:
        if now < self.tight_until:
            return max(0, min(1, self.free))
        return max(0, self.free + self.ahead)


class Slots:
    """Gives slots to runs, first come first served within a kind; suspects get the worker for themselves.

    Arguments:
        options: how many slots of each kind there are.
        begin: starts a run; False where it has parted with it instead.
        is_alone: whether the worker holds nothing else but what has run for SOLITUDE, not even what waits for a slot
            or to be settled; it gives back what else waits, so that a later answer may be yes.
        put_off: gives a suspect back, to be claimed again some time later.

    Attributes:
        on_end: called with each run that gives its slot back, and the monotonic second of its end.
    """

    def __init__(
        self,
        options: WorkerOptions,
        begin: Callable[[Run], bool],
        is_alone: Callable[[Run], bool],
        put_off: Callable[[Run], None],
    ) -> None:
        self._kinds = {
            "async": _Kind(options.concurrency),
            "thread": _Kind(options.threads),
            "process": _Kind(options.processes),
        }
        self._begin = begin
        self._is_alone = is_alone
        self._put_off = put_off
        self.on_end: Callable[[Run, float], None] | None = None
        self._window = FIRST_WINDOW
        self._suspects: deque[Run] = deque()
        self._alone: Run | None = None
        """The suspect that runs, for itself or since SOLITUDE beside others."""

    @property
    def running(self) -> int:
        """Runs that have a slot."""
        return sum(kind.running for kind in self._kinds.values())

    def levels(self) -> dict[str, float]:
        """How many slots of each kind there are, and how many of them are taken.

        >>> from taskq.config import WorkerOptions
        >>> Slots(WorkerOptions(concurrency=5), bool, bool, print).levels()["slots.async"]
        5
        """
        taken = {f"running.{name}": kind.running for name, kind in self._kinds.items()}
        return {**taken, **{f"slots.{name}": kind.size for name, kind in self._kinds.items()}}

    def room(self) -> int:
        """How many more deliveries to ask the store for.

        What comes is of any kind, so a kind that was met in the last second and has no room left holds the claim
        back; one that was not met does not. The window starts small and doubles with each claim that found its
        slots, so that a queue full of tasks for a few processes is not claimed by the hundred.
        """
        if self._is_held_back():
            return 0
        now = time.monotonic()
        loop = self._kinds["async"].room(now)
        others = [kind.room(now) for name, kind in self._kinds.items() if name != "async" and now - kind.seen_at < 1.0]
        return min(self._window, loop, *others)

    def take(self, run: Run) -> None:
        """Begin the run now, or when a slot is free."""
        if run.delivery.is_suspect and run.task.executor != "process":
            if self._alone is not None and not self._is_solitary():
                self._put_off(run)
                return
            self._suspects.append(run)
            run.waiting_since = time.monotonic()
            self._window = 1
            return
        kind = self._kinds[run.task.executor]
        kind.seen_at = time.monotonic()
        if kind.running < kind.size and not self._is_held_back():
            kind.running += self._begin(run)
        else:
            run.waiting_since = kind.seen_at
            kind.waiting.append(run)

    def widen(self) -> None:
        """All of a claim was taken in: the next may be larger, unless some of it still waits."""
        if self._is_held_back():
            self.next_suspect()
        elif not any(kind.waiting for name, kind in self._kinds.items() if name != "async"):
            self._window = min(2 * self._window, LARGEST_WINDOW)

    def give_back(self, run: Run) -> None:
        """A run is over: its slot goes to the next."""
        if run.started_at is None:
            return
        now = time.monotonic()
        seconds = now - run.started_at
        if self.on_end is not None:
            self.on_end(run, now)
        if run is self._alone:
            self._alone = None
            self.next_suspect()
            if not self._is_held_back():
                self._fill()
            return
        kind = self._kinds[run.task.executor]
        kind.running -= 1
        kind.seconds += SMOOTHING * (seconds - kind.seconds)
        if self._suspects:
            self.next_suspect()
        elif kind.waiting:
            self._fill()

    def withdraw(self, run: Run) -> None:
        """Take a run out that waits for a slot."""
        if run in self._suspects:
            self._suspects.remove(run)
        elif run in (kind := self._kinds[run.task.executor]).waiting:
            kind.waiting.remove(run)

    def waiting_since_before(self, instant: float) -> Sequence[Run]:
        """The runs that have waited for a slot since before `instant`; their kind counts as tight for a while."""
        found: list[Run] = []
        for kind in self._kinds.values():
            old = [run for run in kind.waiting if (run.waiting_since or 0.0) < instant]
            if old:
                kind.tight_until = time.monotonic() + TIGHT_FOR
                self._window = 1
            found += old
        return found

    def tend_suspects(self) -> None:
        """Begin a suspect whose time has come, and let others in beside one that takes long; to be called often."""
        if self._alone is not None and not self._is_solitary():
            while self._suspects:
                self._put_off(self._suspects.popleft())
            self._fill()
        self.next_suspect()

    def next_suspect(self) -> None:
        """Begin a suspect, if there is one, no other suspect runs, and it is alone."""
        if self._suspects and self._alone is None and self._is_alone(self._suspects[0]):
            suspect = self._suspects.popleft()
            self._alone = suspect if self._begin(suspect) else None

    def _is_held_back(self) -> bool:
        return bool(self._suspects) or self._is_solitary()

    def _is_solitary(self) -> bool:
        alone = self._alone
        return alone is not None and (alone.started_at is None or time.monotonic() - alone.started_at < SOLITUDE)

    def _fill(self) -> None:
        for kind in self._kinds.values():
            while kind.waiting and kind.running < kind.size and not self._is_held_back():
                kind.running += self._begin(kind.waiting.popleft())
