"""Tenants: what each may have, and what it has. A tenant is the group of its tasks' lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from taskq.domain.tenants import Quota


class TenantLoad(NamedTuple):
    """What a tenant has now."""

    unfinished: int = 0
    """Its tasks that are there and not over."""
    payload_bytes: int = 0
    """What those take."""


class TenantPage(NamedTuple):
    """Tenants for which something is set, in the order of their names, and where to go on."""

    quotas: Mapping[str, Quota]
    next_cursor: str | None = None


class Tenants(Protocol):
    """Keeps quotas, which claims and enqueues keep to.

    A store that counts no limits over several shards (Capability.LIMITS_SPAN_QUEUES) divides those of a tenant among
    them: each shard keeps to its part, of at least one task. So a quota is perhaps not used up, and is exceeded only
    where it allows less than one task for each shard.
    """

    async def quota(self, tenant: str) -> Quota:
        """What is set for a tenant."""
        ...

    def part(self, quota: Quota) -> Quota:
        """What of it each shard keeps to: all of it, where the store divides nothing."""
        ...

    async def configure(self, tenant: str, quota: Quota) -> None:
        """Set what a tenant may have, in place of what it might. It holds for tasks that wait already, too."""
        ...

    async def quotas(self, limit: int = 100, cursor: str | None = None) -> TenantPage:
        """A page of tenants for which something is set."""
        ...

    async def loads(self, tenants: Sequence[str]) -> Sequence[TenantLoad]:
        """What tenants have now, in their order; as it was a second ago, perhaps."""
        ...
