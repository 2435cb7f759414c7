"""What tenants may have, on Postgres."""

from __future__ import annotations

import json
from collections.abc import Sequence

from taskq.domain.limits import Rate, pack_limits
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.ports import TenantLoad, TenantPage
from taskq_postgres.record import plain
from taskq_postgres.store import Store


class PostgresTenants:
    """See taskq.ports.Tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def quota(self, tenant: str) -> Quota:
        """What is set for a tenant."""
        rows = await self._store.run("quota", (plain(tenant),), reads=True)
        return _read(*rows[0]) if rows else NO_QUOTA

    def part(self, quota: Quota) -> Quota:
        """All of it."""
        return quota

    async def configure(self, tenant: str, quota: Quota) -> None:
        """Set what a tenant may have."""
        name = plain(tenant)
        rate = None if quota.rate is None else json.dumps([quota.rate.per_second, quota.rate.burst])
        weight = None if quota.is_nothing else float(quota.weight)
        bounds = (quota.running, rate, quota.unfinished, quota.payload_bytes)
        await self._store.run("set_quota", (name, weight, *bounds, pack_limits(quota.limits(name))))

    async def quotas(self, limit: int = 100, cursor: str | None = None) -> TenantPage:
        """A page of tenants for which something is set."""
        rows = await self._store.run("quotas", (plain(cursor or ""), limit + 1), reads=True)
        found = {name: _read(*row) for name, *row in rows[:limit]}
        return TenantPage(found, rows[limit - 1][0] if len(rows) > limit else None)

    async def loads(self, tenants: Sequence[str]) -> list[TenantLoad]:
        """What tenants have now."""
        rows = await self._store.run("loads", ([plain(tenant) for tenant in tenants],))
        return [TenantLoad(unfinished, size) for unfinished, size in rows]


def _read(
    weight: float, running: int | None, rate: str | None, unfinished: int | None, payload_bytes: int | None
) -> Quota:
    return Quota(weight, running, None if rate is None else Rate("", *json.loads(rate)), unfinished, payload_bytes)
