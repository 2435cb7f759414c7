"""Hints of how many workers queues need: for people, and for what scales them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taskq.config import check_identifier, require, shown
from taskq.domain.autoscale import Autoscale, Group, Scaling
from taskq.errors import ConfigError
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.scaling import Hinted, hinted, hinted_group, hints
from taskq.scaling_rules import scaling_of

__all__ = ["MOST_QUEUES", "AutoscaleDesk", "external_metric", "plain", "scaling_of"]
MOST_QUEUES = 100
"""Queues that one question may be about."""


class AutoscaleDesk(Desk):
    """How many workers the queues of a store need, within the bounds that the configuration says."""

    @property
    def configured(self) -> Autoscale:
        """Bounds and groups, as the configuration of the application says."""
        return self.app.assumed.autoscale

    def group_of(self, name: str) -> Group:
        """A group of queues.

        Raises:
            ConfigError: the configuration names none so.
        """
        groups = self.configured.groups
        if name not in groups:
            known = ", ".join(sorted(groups)) or "none"
            raise ConfigError(f"autoscale.groups has no group {shown(name)}; there are: {known}")
        return groups[name]

    async def hint(self, queues: Sequence[str], scaling: Scaling | None = None) -> Hinted:
        """How many workers should serve some queues together.

        Arguments:
            queues: those that the same workers serve.
            scaling: bounds and times; None: those of the configuration.

        Raises:
            ConfigError: there are no queues, or more than a hundred.
        """
        require(0 < len(queues) <= MOST_QUEUES, f"a hint is about 1 to {MOST_QUEUES} queues", len(queues))
        names = [check_identifier("queue", queue) for queue in queues]
        return await hinted(await self.look(Permission.READ_FLEET), names, scaling or self.configured.scaling)

    async def group(self, name: str, scaling: Scaling | None = None) -> Hinted:
        """How many workers should serve a group of queues.

        Arguments:
            name: of the group, in the section `autoscale.groups` of the configuration.
            scaling: bounds and times; None: those of the group.

        Raises:
            ConfigError: there is no such group.
        """
        group = self.group_of(name)
        backend = await self.look(Permission.READ_FLEET)
        return await hinted_group(backend, name, Group(group.queues, scaling or group.scaling))

    async def each(self, scaling: Scaling | None = None) -> Sequence[Hinted]:
        """A hint for each group, and for each queue that is in none, the most needed first.

        Arguments:
            scaling: bounds and times of all of them; None: those of the configuration.
        """
        said = self.configured
        if scaling is not None:
            said = Autoscale(scaling, {name: Group(group.queues, scaling) for name, group in said.groups.items()})
        found = await hints(await self.look(Permission.READ_FLEET), said)
        return sorted(found, key=lambda one: (-one.desired, one.group, one.queues))


def plain(hint: Hinted) -> Mapping[str, Any]:
    """A hint as JSON data."""
    at = datetime.fromtimestamp(hint.at, UTC).isoformat(timespec="milliseconds")
    return {**hint._asdict(), "queues": list(hint.queues), "at": at, "group": hint.group or None}


def external_metric(hint: Hinted) -> Mapping[str, int]:
    """A hint as the scaler `metrics-api` of KEDA reads it (docs/autoscale.md).

    >>> external_metric(Hinted(("mail",), 0.0, 4, 4, 2, 90, 1.5, 3.0, 1.0, ""))
    {'value': 4}
    """
    return {"value": hint.desired}
