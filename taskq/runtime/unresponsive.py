"""Runs that were told to end, got their time to do so, and go on."""

from __future__ import annotations

from taskq.runtime.run import Run

MOST = 20
"""Ids that a worker reports."""


class Unresponsive:
    """Remembers the runs that were given up until they end after all.

    What a thread or a coroutine does not give back is out of reach: it is reported, for people to look at.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def add(self, run: Run) -> None:
        """A run was given up."""
        self._runs = [*(each for each in self._runs if not each.has_ended), run]

    def ids(self) -> tuple[str, ...]:
        """The ids of the tasks whose runs go on, oldest first, at most MOST; from any thread."""
        return tuple(dict.fromkeys(run.delivery.id for run in self._runs if not run.has_ended))[:MOST]
