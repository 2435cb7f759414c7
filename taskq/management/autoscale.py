"""Hints of how many workers queues need: for people, and for what scales them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taskq.config import check_identifier, is_number, is_whole, require
from taskq.domain.autoscale import Scaling
from taskq.errors import ConfigError
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.scaling import Hinted, hinted, look

MOST_QUEUES = 100
"""Queues that one question may be about."""
MOST_WORKERS = 100_000
LONGEST = 86_400.0


def scaling_of(**said: Any) -> Scaling:
    """How hints are made, as far as something is said other than its defaults (taskq.domain.autoscale.Scaling).

    Raises:
        ConfigError: a value is out of its range.

    >>> scaling_of(least=0, most=20).most
    20
    """
    unknown = said.keys() - set(Scaling.__slots__)
    require(not unknown, f"autoscale has only {', '.join(Scaling.__slots__)}", ", ".join(sorted(unknown)))
    scaling = Scaling(**said)
    for option in ("least", "most"):
        value = getattr(scaling, option)
        require(is_whole(value) and 0 <= value <= MOST_WORKERS, f"{option} must be from 0 to {MOST_WORKERS:,}", value)
    if scaling.least > scaling.most or scaling.most == 0:
        raise ConfigError(f"most must be over 0, and least ({scaling.least}) not over most ({scaling.most})")
    for option, smallest in (("target", 0.1), ("up_after", 0.0), ("down_after", 0.0), ("down_every", 0.0)):
        value = getattr(scaling, option)
        in_range = is_number(value) and smallest <= value <= LONGEST
        require(in_range, f"{option} must be from {smallest:g} to {LONGEST:,.0f} seconds", value)
    for option, smallest in (("busy", 0.05), ("down_share", 0.01), ("tolerance", 0.0)):
        value = getattr(scaling, option)
        require(is_number(value) and smallest <= value <= 1, f"{option} must be from {smallest:g} to 1", value)
    return scaling


class AutoscaleDesk(Desk):
    """How many workers the queues of a store need."""

    async def hint(self, queues: Sequence[str], scaling: Scaling | None = None) -> Hinted:
        """How many workers should serve some queues together.

        Arguments:
            queues: those that the same workers serve.
            scaling: bounds and times; None: the defaults.

        Raises:
            ConfigError: there are no queues, or more than a hundred.
        """
        require(0 < len(queues) <= MOST_QUEUES, f"a hint is about 1 to {MOST_QUEUES} queues", len(queues))
        names = [check_identifier("queue", queue) for queue in queues]
        return await hinted(await self.look(Permission.READ_FLEET), names, scaling or Scaling())

    async def each(self, scaling: Scaling | None = None) -> Sequence[Hinted]:
        """A hint for each queue by itself, the most needed first, of at most a hundred queues."""
        backend = await self.look(Permission.READ_FLEET)
        seen = await look(backend)
        names = sorted({*seen.counts, *seen.standings})[:MOST_QUEUES]
        found = [await hinted(backend, [queue], scaling or Scaling(), seen) for queue in names]
        return sorted(found, key=lambda one: (-one.desired, one.queues))


def plain(hint: Hinted) -> Mapping[str, Any]:
    """A hint as JSON data."""
    at = datetime.fromtimestamp(hint.at, UTC).isoformat(timespec="milliseconds")
    return {**hint._asdict(), "queues": list(hint.queues), "at": at}


def external_metric(hint: Hinted) -> Mapping[str, int]:
    """A hint as the scaler `metrics-api` of KEDA reads it (docs/autoscale.md).

    >>> external_metric(Hinted(("mail",), 0.0, 4, 4, 2, 90, 1.5, 3.0, 1.0, ""))
    {'value': 4}
    """
    return {"value": hint.desired}
