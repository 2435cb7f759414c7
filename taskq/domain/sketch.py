"""Sketches of many durations: counts in buckets whose bounds grow by a constant ratio, so that they add up.

The quantile of a sum of sketches is as exact as that of each: to within RATIO, 9 per cent. This is the logarithmic
mapping of DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch", VLDB 2019).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

Sketch = dict[int, int]
"""Bucket → how many durations it has seen. Bucket i holds those over bound(i - 1) and up to bound(i)."""

PER_OCTAVE = 8
"""Buckets between a duration and its double."""
RATIO = 2 ** (1 / PER_OCTAVE)
UNIT = 0.001
"""Seconds: bound(0)."""
LEAST, MOST = -80, 240
"""The first bucket holds all up to a microsecond, the last all from eleven days on."""


def bound(bucket: int) -> float:
    """The longest duration of a bucket, in seconds.

    >>> bound(0), bound(8), bound(-8)
    (0.001, 0.002, 0.0005)
    """
    return float(UNIT * 2.0 ** (bucket / PER_OCTAVE))


_BOUNDS = [bound(bucket) for bucket in range(LEAST, MOST)]


def bucket_of(seconds: float) -> int:
    """The bucket of a duration; what is below zero or no number counts as none at all.

    >>> bucket_of(0.001), bucket_of(0.00101), bucket_of(0.0), bucket_of(1e9)
    (0, 1, -80, 240)
    """
    return LEAST + bisect_left(_BOUNDS, seconds) if seconds > 0 else LEAST


def merge(into: Sketch, other: Mapping[int, int]) -> None:
    """Add one sketch to another.

    >>> sketch = {1: 1}
    >>> merge(sketch, {1: 2, 5: 1}); sketch
    {1: 3, 5: 1}
    """
    for bucket, count in other.items():
        into[bucket] = into.get(bucket, 0) + count


def quantile(sketch: Mapping[int, int], share: float) -> float | None:
    """The duration that so many of those seen do not exceed, in seconds; None where none was seen.

    Arguments:
        share: from 0 to 1: 0.95 for the 95th percentile.

    >>> quantile({0: 95, 80: 5}, 0.95), round(quantile({0: 95, 80: 5}, 0.96), 2), quantile({}, 0.5)
    (0.001, 1.02, None)
    """
    buckets = sorted(sketch)
    seen = list(accumulate(sketch[bucket] for bucket in buckets))
    return bound(buckets[bisect_left(seen, max(1, math.ceil(share * seen[-1])))]) if seen else None


def cumulative(sketch: Mapping[int, int], bounds: Iterable[int]) -> Iterator[int]:
    """For each of some buckets, in their order, how many durations were no longer than its bound.

    >>> list(cumulative({-3: 1, 0: 2, 9: 4}, [0, 8, 16]))
    [3, 3, 7]
    """
    rest, seen = sorted(sketch.items(), reverse=True), 0
    for each in bounds:
        while rest and rest[-1][0] <= each:
            seen += rest.pop()[1]
        yield seen
