"""Whether a worker fails at what others do well: then the fault lies with it, and not with the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

LEAST = 20
"""Runs of a name, here and elsewhere, below which a share says nothing."""
FAILING = 0.5
"""The share of failed runs from which on a worker fails at a name."""
TIMES = 4.0
"""How many times the share of the others it must be."""
SOUND = 0.2
"""The share of failed runs up to which the others do well."""

Figures = Mapping[str, tuple[int, int]]
"""Of one worker, by task name: runs, and how many of them failed."""


class Tally(NamedTuple):
    """Runs, and how many of them failed."""

    runs: int = 0
    failures: int = 0

    @property
    def share(self) -> float:
        """The share of failed runs; 0 where there were none.

        >>> Tally(20, 5).share
        0.25
        """
        return self.failures / self.runs if self.runs else 0.0


class Outlier(NamedTuple):
    """A task name that fails on one worker and not on the others."""

    name: str
    own: Tally
    others: Tally


def suspicious(own: Figures) -> list[str]:
    """The names at which a worker fails, by its own figures: where there are none the others need not be asked.

    >>> suspicious({"mail.send": (20, 10), "mail.read": (20, 9), "rare": (2, 2)})
    ['mail.send']
    """
    tallies = {name: Tally(*figures) for name, figures in own.items()}
    return [name for name, tally in tallies.items() if tally.runs >= LEAST and tally.share >= FAILING]


def outlier(own: Figures, others: Iterable[Figures]) -> Outlier | None:
    """The name at which a worker fails worst while others do well, if there is one.

    Each name is compared by itself: a worker whose share of some bad task is larger than another's is no outlier. Where
    all fail, nobody is.

    Arguments:
        own: its figures.
        others: those of every other worker.

    >>> outlier({"mail.send": (20, 18)}, [{"mail.send": (60, 1)}, {"mail.send": (40, 2)}])
    Outlier(name='mail.send', own=Tally(runs=20, failures=18), others=Tally(runs=100, failures=3))
    >>> outlier({"mail.send": (20, 18)}, [{"mail.send": (60, 50)}]) is None
    True
    """
    everyone = tuple(others)
    found = [Outlier(name, Tally(*own[name]), _together(name, everyone)) for name in suspicious(own)]
    return max((each for each in found if _stands_out(each)), key=_distance, default=None)


def _together(name: str, everyone: Iterable[Figures]) -> Tally:
    tallies = [figures[name] for figures in everyone if name in figures]
    return Tally(sum(runs for runs, _ in tallies), sum(failures for _, failures in tallies))


def _stands_out(each: Outlier) -> bool:
    own, others = each.own.share, each.others.share
    return each.others.runs >= LEAST and others <= SOUND and own >= TIMES * others


def _distance(each: Outlier) -> tuple[float, int, str]:
    return each.own.share - each.others.share, each.own.runs, each.name
