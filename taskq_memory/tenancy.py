"""What tenants may have, and what they have."""

from __future__ import annotations

from taskq.domain.tenants import MARK, NO_QUOTA, Quota, stamped
from taskq.ports import TenantLoad
from taskq_memory.rows import Task


class Tenancy:
    """The tenants of a store. Methods expect its lock to be held."""

    def __init__(self) -> None:
        self.quotas: dict[str, Quota] = {}
        self.loads: dict[str, TenantLoad] = {}

    def quota_of(self, tenant: str) -> Quota:
        """What is set for a tenant."""
        return self.quotas.get(tenant, NO_QUOTA)

    def load_of(self, tenant: str) -> TenantLoad:
        """What it has."""
        return self.loads.get(tenant, TenantLoad())

    def is_over(self, tenant: str, number: int, size: int) -> bool:
        """Whether a tenant may not have so many tasks more, of so many bytes together."""
        quota, load = self.quota_of(tenant), self.load_of(tenant)
        is_too_many = quota.unfinished is not None and load.unfinished + number > quota.unfinished
        return is_too_many or (quota.payload_bytes is not None and load.payload_bytes + size > quota.payload_bytes)

    def load(self, tenant: str, change: int, size: int) -> None:
        """A task of a tenant is there, or is over.

        Arguments:
            change: 1 or -1.
            size: of its payload, in bytes.
        """
        before = self.load_of(tenant)
        self.loads[tenant] = TenantLoad(before.unfinished + change, before.payload_bytes + change * size)
        if not self.loads[tenant].unfinished:
            del self.loads[tenant]

    def stamp(self, task: Task) -> None:
        """Have a task keep to what its tenant may have now."""
        if task.group in self.quotas or f'"{MARK}' in task.gates:
            task.gates = stamped(task.gates, self.quota_of(task.group).limits(task.group))
