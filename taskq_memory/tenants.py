"""What tenants may have, on the memory store."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.domain.tenants import Quota
from taskq.ports import TenantLoad, TenantPage
from taskq_memory.passage import Passage
from taskq_memory.store import Store


class MemoryTenants:
    """See taskq.ports.Tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._passage = Passage(store)

    async def quota(self, tenant: str) -> Quota:
        """What is set for a tenant."""
        with self._store.lock:
            return self._store.tenancy.quota_of(tenant)

    def part(self, quota: Quota) -> Quota:
        """All of it."""
        return quota

    async def configure(self, tenant: str, quota: Quota) -> None:
        """Set what a tenant may have."""
        with self._store.lock:
            if quota.is_nothing:
                self._store.tenancy.quotas.pop(tenant, None)
            else:
                self._store.tenancy.quotas[tenant] = quota
            self._passage.refit(tenant)
            self._store.note_change()

    async def quotas(self, limit: int = 100, cursor: str | None = None) -> TenantPage:
        """A page of tenants for which something is set."""
        with self._store.lock:
            names = sorted(name for name in self._store.tenancy.quotas if cursor is None or name > cursor)
            page = {name: self._store.tenancy.quotas[name] for name in names[:limit]}
        return TenantPage(page, names[limit - 1] if len(names) > limit else None)

    async def loads(self, tenants: Sequence[str]) -> list[TenantLoad]:
        """What tenants have now."""
        with self._store.lock:
            return [self._store.tenancy.load_of(tenant) for tenant in tenants]
