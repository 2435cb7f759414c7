"""How many workers a set of queues needs, from what arrives, what is done and what waits; no clock in it.

By Little's law (J. D. C. Little, "A proof for the queuing formula L = λW", 1961) as many workers are busy as tasks
arrive in the time that one worker takes for one. What waits already is to be gone within the target beside it. What is
told is held steady as the Horizontal Pod Autoscaler of Kubernetes does it ("Stabilization window"): up to the least
that was needed within a short time, down to the most that was needed within a long one, and down by steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

KEPT_EVERY = 5.0
"""Seconds between two needs that are remembered; within them the larger counts."""
SLOWEST = 1e-9
"""Tasks in a second that a worker does at the least: what is measured may be next to nothing."""
STEADY = 60.0
"""Seconds over which arrival and drain are known: what leaves is that of so many workers only after it."""
SATURATED = 1.0
"""Seconds that a task waits for a worker at least where all workers are busy."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a hint is made.

    Arguments:
        min, max: workers that there may be.
        target: seconds that a task may wait.
        busy: the share of its time that a worker should be busy; the rest is for what comes in bursts.
        up_after: seconds for which more must be needed before more are told.
        down_after: seconds within which no more may have been needed before fewer are told.
        down_every: seconds between two steps down.
        down_share: the share of the workers that one step takes away at most; one at least.
        tolerance: the share by which what is told may differ from what is needed, so that noise moves nothing.

    >>> Scaling(min=0, max=20).target
    30.0
    """

    min: int = 1
    max: int = 100
    target: float = 30.0
    busy: float = 0.8
    up_after: float = 15.0
    down_after: float = 300.0
    down_every: float = 60.0
    down_share: float = 0.25
    tolerance: float = 0.1


@dataclass(frozen=True, slots=True)
class Group:
    """Queues that the same workers serve: one deployment."""

    queues: tuple[str, ...]
    scaling: Scaling = Scaling()


@dataclass(frozen=True, slots=True)
class Autoscale:
    """What a configuration says of hints.

    >>> autoscale = Autoscale(groups={"office": Group(("mail", "reports"))})
    >>> autoscale.alone(["mail", "web"])
    ['web']
    """

    scaling: Scaling = Scaling()
    """Of queues by themselves."""
    groups: Mapping[str, Group] = field(default_factory=dict)
    """By name."""

    def alone(self, queues: Iterable[str]) -> list[str]:
        """Those queues that are in no group."""
        grouped = {queue for group in self.groups.values() for queue in group.queues}
        return [queue for queue in queues if queue not in grouped]


class Load(NamedTuple):
    """How the queues stand."""

    arrival: float | None
    """Tasks that come in a second; None: it is not known yet."""
    drain: float | None
    """Tasks that are over with a second."""
    waiting: int
    """Tasks that are ready."""
    oldest: float
    """For how many seconds the first of them is ready that only a worker is missing for."""
    workers: int
    """Those that live and serve them."""
    taken: int = 0
    """Workers that it takes to hold what runs now."""
    expected: float | None = None
    """Tasks a second that a worker should do, by its slots and how long runs take; None: none has ended lately."""


class Memory(NamedTuple):
    """What is known from the times before."""

    desired: int | None = None
    """What was told last."""
    needs: tuple[tuple[float, int], ...] = ()
    """What was needed, and when, the oldest first."""
    lowered_at: float = 0.0
    """When less was told last."""
    capacity: float | None = None
    """What a worker has done in a second when all were busy."""
    share: float | None = None
    """The same as a share of what was expected: where runs take longer by and by, it still holds."""
    workers: int = 0
    busy_since: float = 0.0
    """How many there are, and since when so many have had more than they could do."""


class Hint(NamedTuple):
    """How many workers there should be."""

    desired: int
    needed: int
    """By what is so now, not held steady."""
    reason: str
    """A sentence for people, without a full stop."""


def hint(scaling: Scaling, load: Load, memory: Memory, now: float) -> tuple[Hint, Memory]:
    """How many workers there should be, and what is to be known the next time.

    Arguments:
        now: the instant, in seconds; what lies after it in the memory is forgotten.

    >>> load = Load(arrival=40.0, drain=10.0, waiting=0, oldest=0.0, workers=2, expected=5.0)
    >>> found, memory = hint(Scaling(up_after=0.0), load, Memory(), now=0.0)
    >>> found.desired, found.reason
    (10, '40/s arrive and one worker does 5/s: 10 are needed, at 80 % busy')
    """
    memory = _learned(load, memory, now)
    wanted, why = _need(scaling, load, _capacity(load, memory))
    needed = min(scaling.max, max(scaling.min, wanted))
    needs = _with(memory.needs, needed, now, scaling)
    before = load.workers if memory.desired is None else memory.desired
    before = min(scaling.max, max(scaling.min, before))
    desired, lowered_at, held = _held(scaling, before, needs, memory.lowered_at, now)
    if needed != wanted:
        why += f"; there may be {scaling.min} to {scaling.max}"
    return Hint(desired, needed, why + held), memory._replace(desired=desired, needs=needs, lowered_at=lowered_at)


def _learned(load: Load, memory: Memory, now: float) -> Memory:
    """What a worker does, where that can be seen: while tasks wait for workers all are busy.

    What leaves is then what they can do, whatever limits them; once that is so for as long as it is measured.
    """
    is_busy = load.waiting > 0 and load.oldest >= SATURATED
    if load.workers != memory.workers or not is_busy:
        return memory._replace(workers=load.workers, busy_since=now)
    if not load.drain or not load.workers or now - memory.busy_since < STEADY:
        return memory
    capacity = load.drain / load.workers
    return memory._replace(capacity=capacity, share=capacity / load.expected if load.expected else None)


def _capacity(load: Load, memory: Memory) -> float | None:
    if load.expected is not None and memory.share is not None:
        return load.expected * memory.share
    return memory.capacity if memory.capacity is not None else load.expected


def _need(scaling: Scaling, load: Load, capacity: float | None) -> tuple[int, str]:
    if capacity is None:
        return _guess(scaling, load)
    arrival = load.arrival or 0.0
    needed = math.ceil((arrival + load.waiting / scaling.target) / max(SLOWEST, capacity * scaling.busy) - 1e-9)
    waiting = f" and {load.waiting:,} wait" if load.waiting else ""
    why = f"{_rate(arrival)} arrive{waiting} and one worker does {_rate(capacity)}"
    if load.oldest > scaling.target and needed < load.workers:
        return load.workers, f"{why}, but the first has waited {load.oldest:,.0f} s: none is spared"
    if needed < load.taken:
        return load.taken, f"{why}, but {load.taken} are needed for what runs"
    return needed, f"{why}: {needed} {'is' if needed == 1 else 'are'} needed, at {100 * scaling.busy:g} % busy"


def _rate(number: float) -> str:
    return f"{number:,.0f}/s" if number >= 100 else f"{number:.3g}/s"


def _guess(scaling: Scaling, load: Load) -> tuple[int, str]:
    """Where none has ended lately: what holds those that run; where some wait, what there is; twice that in the end."""
    if not load.waiting:
        return load.taken, "nothing waits, and none has ended lately"
    unknown = f"{load.waiting:,} wait, and none has ended lately"
    if load.oldest > scaling.target and load.workers:
        return 2 * load.workers, f"{unknown}; the first has waited {load.oldest:,.0f} s: twice the workers"
    return max(load.workers, 1), f"{unknown}: as many as there are, and one at least"


Needs = tuple[tuple[float, int], ...]


def _with(needs: Needs, needed: int, now: float, scaling: Scaling) -> Needs:
    """The needs of the time that counts, with this one, and one from just before it: so it is known to be whole."""
    since = now - max(scaling.up_after, scaling.down_after)
    before = [(at, number) for at, number in needs if since - STEADY <= at < since]
    kept = before[-1:] + [(at, number) for at, number in needs if since <= at <= now]
    if len(kept) > 1 and now - kept[-2][0] < KEPT_EVERY:
        # Not kept apart, so that a hint that is asked for often stays small.
        kept[-1] = (kept[-1][0], max(kept[-1][1], needed))
    else:
        kept.append((now, needed))
    return tuple(kept)


def _held(scaling: Scaling, before: int, needs: Needs, lowered_at: float, now: float) -> tuple[int, float, str]:
    """What is told, when less was told last, and why it is not what is needed now."""
    needed = needs[-1][1]
    up = min(number for at, number in needs if at >= now - scaling.up_after)
    is_confirmed = scaling.up_after <= 0 or any(at <= now - scaling.up_after for at, _ in needs)
    if abs(needed - before) <= scaling.tolerance * before:
        return before, lowered_at, "" if needed == before else f"; the {before} that were told are near enough"
    if up > before and (is_confirmed or before == 0):
        return up, lowered_at, ""
    if needed > before:
        return before, lowered_at, f"; more are told once that holds for {scaling.up_after:g} s"
    down = max(number for at, number in needs if at >= now - scaling.down_after)
    is_known = any(at <= now - scaling.down_after for at, _ in needs)
    if down >= before or not is_known:
        held = f"; fewer are told once that holds for {scaling.down_after:g} s" if needed < before else ""
        return before, lowered_at, held
    if 0 <= now - lowered_at < scaling.down_every:
        return before, lowered_at, f"; the next step down comes {scaling.down_every:g} s after the last"
    lowered = max(down, before - max(1, int(before * scaling.down_share)))
    return lowered, now, "" if lowered == down else f"; down by steps, to {down}"
