"""Profiles: which stacks a process was seen in, how often, and what they cost; in bounded memory, and as text.

A frame is a line such as "resize (shop/pictures.py:17)": where the code is, never what it was given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

MOST_STACKS = 5_000
"""Different stacks that a profile tells apart; what comes on top is counted together."""
DEEPEST = 100
"""Frames of a stack; of a deeper one those in the middle are left out."""
OUTERMOST = 20
"""How many of them are the outermost."""
OTHERS, LEFT_OUT = "(other stacks)", "(frames left out)"

Weight = Literal["cpu", "wall"]
"""What a stack is weighed by: the time for which a processor ran it, or the time for which it was there."""


class Stack(NamedTuple):
    """One stack, and how much of it there was."""

    frames: tuple[str, ...]
    """The thread first, then the frames, the outermost first."""
    samples: int
    cpu: float = 0.0
    """Seconds of a processor."""


class Profile(NamedTuple):
    """What was seen of a process."""

    seconds: float
    """For how long it was looked at."""
    samples: int
    """How often."""
    stacks: tuple[Stack, ...]
    knows_cpu: bool = True
    """Whether the host tells what a thread has cost; where it does not, stacks can be weighed by "wall" alone."""


class Stacks:
    """Counts stacks; of more than `most` different ones it counts those that come later together.

    >>> stacks = Stacks(most=1)
    >>> for name in ("a", "b", "c", "a", "a"):
    ...     stacks.add(("main", name), 0.5)
    >>> [(stack.frames, stack.samples, stack.cpu) for stack in stacks.all()]
    [(('main', 'a'), 3, 1.5), (('(other stacks)',), 2, 1.0)]
    """

    def __init__(self, most: int = MOST_STACKS) -> None:
        self._most = most
        self._found: dict[tuple[str, ...], tuple[int, float]] = {}

    def add(self, frames: tuple[str, ...], cpu: float) -> None:
        """A stack was seen.

        Arguments:
            cpu: seconds of a processor that its thread has used since it was looked at before.
        """
        frames = cut(frames)
        if frames not in self._found and len(self._found) >= self._most:
            frames = (OTHERS,)
        samples, before = self._found.get(frames, (0, 0.0))
        self._found[frames] = (samples + 1, before + cpu)

    def all(self) -> tuple[Stack, ...]:
        """The stacks, those first that cost the most."""
        stacks = [Stack(frames, samples, cpu) for frames, (samples, cpu) in self._found.items()]
        return tuple(sorted(stacks, key=lambda stack: (-stack.cpu, -stack.samples, stack.frames)))


def cut(frames: tuple[str, ...]) -> tuple[str, ...]:
    """A stack of which the middle is left out where it is too deep.

    >>> deep = cut(tuple(str(number) for number in range(1000)))
    >>> len(deep), deep[19:22], deep[-1]
    (100, ('19', '(frames left out)', '921'), '999')
    """
    if len(frames) <= DEEPEST:
        return frames
    return (*frames[:OUTERMOST], LEFT_OUT, *frames[OUTERMOST + 1 - DEEPEST :])


def without_rarest(profile: Profile, keep: int) -> Profile:
    """The profile with the stacks apart that cost the most; the others counted together.

    Arguments:
        keep: how many stay apart.

    >>> profile = Profile(1.0, 100, (Stack(("a",), 90, 0.9), Stack(("b",), 8, 0.1), Stack(("c",), 2)))
    >>> without_rarest(profile, 1).stacks
    (Stack(frames=('a',), samples=90, cpu=0.9), Stack(frames=('(other stacks)',), samples=10, cpu=0.1))
    """
    kept = [stack for stack in profile.stacks if stack.frames != (OTHERS,)][:keep]
    rest = [stack for stack in profile.stacks if stack not in kept]
    if not rest:
        return profile
    others = Stack((OTHERS,), sum(stack.samples for stack in rest), sum(stack.cpu for stack in rest))
    return profile._replace(stacks=(*kept, others))


def collapsed(profile: Profile, by: Weight = "cpu") -> str:
    """Stacks as lines that flamegraph.pl and speedscope read: frames with ";" between them, and milliseconds.

    Arguments:
        by: what they are weighed by; "wall" where the host does not tell what they cost.

    >>> profile = Profile(1.0, 100, (Stack(("main", "a (shop.py:1)"), 60, 0.59), Stack(("main", "b (shop.py:9)"), 40)))
    >>> print(collapsed(profile), end="")
    main;a (shop.py:1) 590
    >>> print(collapsed(profile, "wall"), end="")
    main;a (shop.py:1) 600
    main;b (shop.py:9) 400
    """
    weighed = [(stack.frames, round(weight)) for stack, weight in _weighed(profile, by)]
    return "".join(f"{';'.join(frames)} {weight}\n" for frames, weight in weighed if weight)


def speedscope(profile: Profile, name: str, by: Weight = "cpu") -> str:
    """The profile as a file of speedscope (https://www.speedscope.app/file-format-schema.json); times in milliseconds.

    Arguments:
        name: what it is called there.
        by: what is shown first; the other follows.

    >>> import json
    >>> profile = Profile(1.0, 100, (Stack(("main", "a (shop.py:1)"), 100, 0.5),))
    >>> shown = json.loads(speedscope(profile, "w1"))
    >>> shown["shared"]["frames"][1], [each["endValue"] for each in shown["profiles"]]
    ({'name': 'a (shop.py:1)'}, [500.0, 1000.0])
    """
    places: dict[str, int] = {}
    for stack in profile.stacks:
        for frame in stack.frames:
            places.setdefault(frame, len(places))
    ways: Sequence[Weight] = ("cpu", "wall") if by == "cpu" else ("wall", "cpu")
    ways = ways if profile.knows_cpu else ("wall",)
    shown = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": "taskq",
        "shared": {"frames": [{"name": frame} for frame in places]},
        "profiles": [_sampled(profile, f"{name} ({way})", places, way) for way in ways],
    }
    return json.dumps(shown, separators=(",", ":")) + "\n"


def _sampled(profile: Profile, name: str, places: dict[str, int], by: Weight) -> dict[str, Any]:
    weighed = [(stack, round(weight, 3)) for stack, weight in _weighed(profile, by) if weight > 0]
    return {
        "type": "sampled",
        "name": name,
        "unit": "milliseconds",
        "startValue": 0,
        "endValue": round(sum(weight for _, weight in weighed), 3),
        "samples": [[places[frame] for frame in stack.frames] for stack, _ in weighed],
        "weights": [weight for _, weight in weighed],
    }


def _weighed(profile: Profile, by: Weight) -> list[tuple[Stack, float]]:
    """Each stack with its milliseconds, the heaviest first."""
    each = 1000 * profile.seconds / max(1, profile.samples)
    by_cpu = by == "cpu" and profile.knows_cpu
    weighed = [(stack, stack.cpu * 1000 if by_cpu else stack.samples * each) for stack in profile.stacks]
    return sorted(weighed, key=lambda one: -one[1])
