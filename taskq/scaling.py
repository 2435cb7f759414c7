"""How many workers queues need, as the store tells: the same whoever asks, for what was told before is kept there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from hashlib import sha256
from typing import NamedTuple

import msgspec

from taskq.documents import Shelf, every
from taskq.domain.autoscale import STEADY, Autoscale, Group, Load, Memory, Scaling, hint
from taskq.domain.figures import QUEUE, RUN, SECONDS, chosen, series, total, unfinished
from taskq.domain.pace import Level, Pace, pace
from taskq.domain.state import TaskState
from taskq.ports import Backend, Standing, WorkerInfo
from taskq.rollups import Point, points
from taskq.store_clock import store_now

KIND = "autoscale"
"""Of the documents in which it is kept."""
MOST_HINTED = 100
"""Queues of which it is told how many workers they need, each by itself: each takes two commands."""
EVERY = 5.0
"""Seconds for which a hint is told again as it was."""
RUNS_OVER = 300.0
"""Seconds whose runs tell how long one takes."""
LEAST_SPAN = 10.0
"""Seconds below which a pace is not known."""
TRIES = 5
MOST_KEPT = 500
"""Hints of which something is remembered; of more, nothing is held steady."""
FORGOTTEN = 86_400.0
"""Seconds after which one for which nobody has asked is forgotten."""
NOTHING = Standing()


class Hinted(NamedTuple):
    """How many workers some queues should have, with what it comes of."""

    queues: tuple[str, ...]
    at: float
    """Seconds since the epoch, by the store's clock."""
    desired: int
    needed: int
    """By what was so then, not held steady."""
    workers: int
    """Those that live and serve one of the queues."""
    waiting: int
    oldest: float
    """For how many seconds the first task is ready."""
    arrival: float | None
    """Tasks that come in a second; None: it is not known yet."""
    drain: float | None
    reason: str
    """A sentence for people."""
    group: str = ""
    """The name of the queues together; "": they have none."""


class _Kept(msgspec.Struct, frozen=True):
    memory: Memory
    hinted: Hinted


_SHELF = Shelf(KIND, _Kept, "hint of how many workers are needed")


class Look(NamedTuple):
    """What the hints of all queues come of."""

    now: float
    counts: Mapping[str, Mapping[TaskState, int]]
    standings: Mapping[str, Standing]
    workers: Sequence[WorkerInfo]
    lately: Sequence[Point]
    """The seconds of the last minute."""
    runs: Sequence[Point]
    """The last minutes."""


async def look(backend: Backend) -> Look:
    """Look at a store."""
    at = (await store_now(backend)).timestamp()
    found = await asyncio.gather(
        backend.inspector.counts(),
        backend.queues.standings(),
        backend.registry.workers(),
        points(backend.metrics, 1, at - STEADY, at),
        points(backend.metrics, 60, at - RUNS_OVER, at),
    )
    return Look(at, *found)


async def hinted(backend: Backend, queues: Sequence[str], scaling: Scaling, seen: Look | None = None) -> Hinted:
    """How many workers should serve some queues together.

    Arguments:
        queues: those that the same workers serve, at least one.
        seen: a look that is of now, where there is one already.
    """
    names = tuple(sorted(set(queues)))
    id = _id(names, scaling)
    seen = seen or await look(backend)
    found = _hinted(names, scaling, seen, Memory())
    for _ in range(TRIES):
        document = await backend.documents.get(KIND, id)
        kept = None if document is None else _SHELF.known(document)
        if kept is not None and 0 <= seen.now - kept.hinted.at < EVERY:
            return kept.hinted
        found = _hinted(names, scaling, seen, Memory() if kept is None else kept.memory)
        if document is None and not await _has_room(backend, seen.now):
            break
        if await _SHELF.put(backend.documents, id, found, 0 if document is None else document.version):
            break
    return found.hinted


async def hints(backend: Backend, autoscale: Autoscale) -> list[Hinted]:
    """A hint for each group, and for each queue that is in none by itself, of at most MOST_HINTED queues."""
    seen = await look(backend)
    alone = autoscale.alone(sorted({*seen.counts, *seen.standings}))[:MOST_HINTED]
    found = [await hinted_group(backend, name, group, seen) for name, group in sorted(autoscale.groups.items())]
    return found + [await hinted(backend, [queue], autoscale.scaling, seen) for queue in alone]


async def hinted_group(backend: Backend, name: str, group: Group, seen: Look | None = None) -> Hinted:
    """How many workers should serve the queues of a group."""
    return (await hinted(backend, group.queues, group.scaling, seen))._replace(group=name)


def load_of(queues: Sequence[str], seen: Look) -> Load:
    """How queues stand together."""
    counts = [seen.counts.get(queue, {}) for queue in queues]
    standings = [seen.standings.get(queue, NOTHING) for queue in queues]
    serving = [worker for worker in seen.workers if not set(queues).isdisjoint(worker.queues)]
    paces = [one for one in (_pace(queue, seen.lately) for queue in queues) if one is not None]
    slots = sum(worker.concurrency for worker in serving) / len(serving) if serving else 0.0
    running = sum(states.get(TaskState.RUNNING, 0) for states in counts)
    takes = _seconds(queues, seen.runs)
    return Load(
        arrival=sum(one.arrival for one in paces) if paces else None,
        drain=sum(one.drain for one in paces) if paces else None,
        waiting=sum(_unserved(states, standing) for states, standing in zip(counts, standings, strict=True)),
        oldest=max(standing.oldest or 0.0 for standing in standings),
        workers=len(serving),
        taken=min(len(serving), math.ceil(running / slots)) if slots else 0,
        expected=max(1.0, slots) / takes if takes else None,
    )


def _unserved(states: Mapping[TaskState, int], standing: Standing) -> int:
    """What waits for a worker: what a limit holds back is ready too, but no worker more would help it."""
    return 0 if standing.oldest is None else states.get(TaskState.PENDING, 0)


def _hinted(queues: tuple[str, ...], scaling: Scaling, seen: Look, memory: Memory) -> _Kept:
    load = load_of(queues, seen)
    found, memory = hint(scaling, load, memory, seen.now)
    told = (load.workers, load.waiting, load.oldest, load.arrival, load.drain, found.reason)
    return _Kept(memory, Hinted(queues, seen.now, found.desired, found.needed, *told))


def _pace(queue: str, lately: Sequence[Point]) -> Pace | None:
    """How quickly a queue fills and empties, by the seconds in which somebody has looked at it."""
    name = series(QUEUE, queue)
    found = [(point.at, point.frame[name]) for point in lately if name in point.frame]
    if len(found) < 2 or (span := found[-1][0] - found[0][0]) < LEAST_SPAN:
        return None
    came = sum(figures.counts.get("arrived", 0.0) for _, figures in found[1:])
    before, after = (unfinished(figures) for figures in (found[0][1], found[-1][1]))
    return pace(Level(0, before), Level(int(came), after), span)


def _seconds(queues: Sequence[str], runs: Sequence[Point]) -> float | None:
    """How long a run of these queues takes; None where none has ended lately."""
    whole = total(figures for point in runs for queue in queues for figures in chosen(point.frame, RUN, None, queue))
    number = sum(whole.sketches.get("duration", {}).values())
    return max(1e-6, whole.counts.get("duration" + SECONDS, 0.0) / number) if number else None


async def _has_room(backend: Backend, now: float) -> bool:
    """Whether one more may be remembered; those for which nobody asks any more make room."""
    number = 0
    async for document in every(backend.documents, KIND):
        kept = _SHELF.known(document)
        if kept is None or now - kept.hinted.at > FORGOTTEN:
            await backend.documents.delete(KIND, document.id, document.version)
        else:
            number += 1
    return number < MOST_KEPT


def _id(queues: tuple[str, ...], scaling: Scaling) -> str:
    """One for these queues with these bounds, so that those who ask otherwise do not disturb each other."""
    return sha256(repr((queues, astuple(scaling))).encode()).hexdigest()[:32]
