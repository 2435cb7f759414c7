"""What may be said of how many workers queues need, whoever says it: the configuration, a command or code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from taskq.config import is_number, is_whole, require
from taskq.domain.autoscale import Scaling
from taskq.errors import ConfigError

MOST_WORKERS = 100_000
LONGEST = 86_400.0


def scaling_of(base: Scaling | None = None, /, **said: Any) -> Scaling:
    """How hints are made, as far as something is said other than what holds (taskq.domain.autoscale.Scaling).

    Arguments:
        base: what holds where nothing is said; None: the defaults.

    Raises:
        ConfigError: a value is out of its range.

    >>> scaling_of(min=0, max=20).max
    20
    >>> scaling_of(Scaling(min=5), target=10).min
    5
    """
    unknown = said.keys() - set(Scaling.__slots__)
    require(not unknown, f"autoscale has only {', '.join(Scaling.__slots__)}", ", ".join(sorted(unknown)))
    scaling = replace(base or Scaling(), **said)
    for option in ("min", "max"):
        value = getattr(scaling, option)
        require(is_whole(value) and 0 <= value <= MOST_WORKERS, f"{option} must be from 0 to {MOST_WORKERS:,}", value)
    if scaling.min > scaling.max or scaling.max == 0:
        raise ConfigError(f"max must be over 0, and min ({scaling.min}) not over max ({scaling.max})")
    for option, smallest in (("target", 0.1), ("up_after", 0.0), ("down_after", 0.0), ("down_every", 0.0)):
        value = getattr(scaling, option)
        in_range = is_number(value) and smallest <= value <= LONGEST
        require(in_range, f"{option} must be from {smallest:g} to {LONGEST:,.0f} seconds", value)
    for option, smallest in (("busy", 0.05), ("down_share", 0.01), ("tolerance", 0.0)):
        value = getattr(scaling, option)
        require(is_number(value) and smallest <= value <= 1, f"{option} must be from {smallest:g} to 1", value)
    return scaling
