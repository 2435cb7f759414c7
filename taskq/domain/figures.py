"""Figures of a stretch of time: counts, sketches of durations and levels, by series, so that they add up.

A series is named by its kind and what it is about, with spaces between: "run mail.send mail" is what became of the
runs of the task mail.send in the queue mail. No name of a task, queue or tenant has a space; others lose theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from taskq.domain.sketch import Sketch, bucket_of, merge
from taskq.domain.state import TaskState

RUN, TENANT, PROCESS = "run", "tenant", "process"
"""Kinds of what processes count: of a task in a queue · of a tenant · of the processes themselves."""
QUEUE, GROUP, LIMIT, BREAKER, SCHEDULE, FLEET = "queue", "group", "limit", "breaker", "schedule", "fleet"
"""Kinds of what stands in the store: a queue · a group of queues · a limit · a breaker · a schedule · the workers."""
OTHER = "other"
"""What stands for all names that came after there were MOST_SERIES."""
MOST_SERIES = 300
"""Series of one kind: beyond them, what is new counts as OTHER."""
_LIVE = tuple(f"state.{state}" for state in TaskState if not state.is_final)
SECONDS = ".seconds"
"""The ending of the count that sums up the durations of a sketch."""


@dataclass(slots=True)
class Figures:
    """The figures of one series.

    >>> figures = Figures()
    >>> figures.count("completed"); figures.time("duration", 0.002); figures.counts
    {'completed': 1, 'duration.seconds': 0.002}
    """

    counts: dict[str, float] = field(default_factory=dict)
    """How many of something there were."""
    sketches: dict[str, Sketch] = field(default_factory=dict)
    """How long something took; their sums are among the counts."""
    levels: dict[str, float] = field(default_factory=dict)
    """How much of something there was at the end."""

    def count(self, name: str, number: float = 1) -> None:
        """Count something."""
        self.counts[name] = self.counts.get(name, 0) + number

    def time(self, name: str, seconds: float) -> None:
        """Note that something took so long."""
        sketch = self.sketches.get(name)
        if sketch is None:
            sketch = self.sketches[name] = {}
        bucket = bucket_of(seconds)
        sketch[bucket] = sketch.get(bucket, 0) + 1
        total = name + SECONDS
        self.counts[total] = self.counts.get(total, 0) + seconds

    def add(self, other: Figures, *, is_later: bool = True) -> None:
        """Add figures.

        Arguments:
            is_later: whether their levels stand in place of those here, as what came later; else they were seen at the
                same moment, of something else, and are added too.
        """
        for name, number in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + number
        for name, sketch in other.sketches.items():
            merge(self.sketches.setdefault(name, {}), sketch)
        for name, level in other.levels.items():
            self.levels[name] = level if is_later else self.levels.get(name, 0) + level


Frame = dict[str, Figures]
"""Series → its figures, all of one stretch of time."""


def series(kind: str, *names: str) -> str:
    """The name of a series.

    >>> series(RUN, "mail.send", "mail"), series(SCHEDULE, "every night")
    ('run mail.send mail', 'schedule every_night')
    """
    return " ".join((kind, *(name.replace(" ", "_") for name in names)))


def add(into: Frame, other: Mapping[str, Figures], *, is_later: bool = True) -> None:
    """Add one frame to another, in which there are never more series of a kind than MOST_SERIES and those of the rest.

    Arguments:
        is_later: see Figures.add.

    >>> frame = {}
    >>> add(frame, {"tenant acme": Figures({"completed": 2})}); add(frame, {"tenant acme": Figures({"completed": 3})})
    >>> frame["tenant acme"].counts
    {'completed': 5}
    """
    room = _room(into)
    folded: Frame = {}
    for name, figures in other.items():
        known = into.get(name)
        if known is None:
            kind = name.partition(" ")[0]
            if room.setdefault(kind, MOST_SERIES) <= 0:
                folded.setdefault(rest_of(name), Figures()).add(figures, is_later=False)
                continue
            room[kind] -= 1
            known = into[name] = Figures()
        known.add(figures, is_later=is_later)
    for name, figures in folded.items():  # all of one moment: their levels were summed up first
        into.setdefault(name, Figures()).add(figures, is_later=is_later)


def summed(before: Mapping[str, Figures], more: Mapping[str, Figures]) -> Frame:
    """The sum of two frames, as `add` has it, with neither changed: what `more` does not speak of is the same object.

    >>> before = {"tenant acme": Figures({"completed": 2}), "tenant zoo": Figures({"completed": 1})}
    >>> after = summed(before, {"tenant acme": Figures({"completed": 3})})
    >>> after["tenant acme"].counts, before["tenant acme"].counts, after["tenant zoo"] is before["tenant zoo"]
    ({'completed': 5}, {'completed': 2}, True)
    """
    whole = dict(before)
    for name in {*more, *(rest_of(name) for name in more if name not in before)}:
        if name in whole:
            own = whole[name] = Figures()
            own.add(before[name])
    add(whole, more)
    return whole


def is_of_store(name: str) -> bool:
    """Whether a series is the same whichever process has looked at the store.

    >>> is_of_store("queue mail"), is_of_store("run mail.send mail")
    (True, False)
    """
    return name.partition(" ")[0] not in (RUN, TENANT, PROCESS)


def unfinished(figures: Figures) -> int:
    """How many tasks of a queue have not ended.

    >>> unfinished(Figures(levels={"state.pending": 2.0, "state.completed": 9.0}))
    2
    """
    return int(sum(figures.levels.get(name, 0.0) for name in _LIVE))


def desired_workers(frame: Mapping[str, Figures], name: str) -> float | None:
    """How many workers a group of queues needs, or a queue where no group has that name; None: it is not known.

    >>> desired_workers({"group office": Figures(levels={"desired": 4})}, "office")
    4
    """
    for kind in (GROUP, QUEUE):
        figures = frame.get(series(kind, name))
        if figures is not None and "desired" in figures.levels:
            return figures.levels["desired"]
    return None


def rest_of(name: str) -> str:
    """The series that stands for one for which there is no room.

    >>> rest_of("run mail.send mail"), rest_of("process")
    ('run other other', 'process')
    """
    kind, *names = name.split(" ")
    return series(kind, *(OTHER for _ in names))


def chosen(frame: Mapping[str, Figures], kind: str, *names: str | None) -> Iterator[Figures]:
    """The figures of the series of a kind whose names are these; None stands for any.

    >>> frame = {"run a mail": Figures({"n": 1}), "run b mail": Figures({"n": 2}), "run a web": Figures({"n": 4})}
    >>> [figures.counts["n"] for figures in chosen(frame, RUN, None, "mail")]
    [1, 2]
    """
    for name, figures in frame.items():
        first, *rest = name.split(" ")
        matches = zip(names, rest, strict=False)
        if first == kind and all(wanted in (None, found) for wanted, found in matches):
            yield figures


def total(several: Iterable[Figures]) -> Figures:
    """The sum of figures of one stretch of time, their levels too.

    >>> total([Figures({"n": 1}), Figures({"n": 2})]).counts
    {'n': 3}
    """
    whole = Figures()
    for figures in several:
        whole.add(figures, is_later=False)
    return whole


def _room(frame: Iterable[str]) -> dict[str, int]:
    room: dict[str, int] = {}
    for name in frame:
        kind = name.partition(" ")[0]
        room[kind] = room.get(kind, MOST_SERIES) - 1
    return room
