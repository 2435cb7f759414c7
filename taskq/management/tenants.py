"""Tenants: what each has, and what it may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from taskq.config import check_identifier
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.management.access import Forbidden, Permission
from taskq.management.desk import Desk
from taskq.ports import TenantLoad
from taskq.queue_settings import DEFAULT, Reader, number, read_settings, starts, whole

_MOST_BYTES = 1 << 50
_READERS: Mapping[str, Reader] = {
    "weight": number(1000.0, "1,000"),
    "running": whole(1_000_000),
    "rate": starts,
    "unfinished": whole(1_000_000_000),
    "payload_bytes": whole(_MOST_BYTES),
}


class Tenant(NamedTuple):
    """How a tenant stands."""

    name: str
    quota: Quota
    """What it may have."""
    load: TenantLoad
    """What it has."""


class Tenants(NamedTuple):
    """Some tenants, in the order of their names, and where to go on."""

    tenants: Sequence[Tenant]
    next_cursor: str | None = None


class TenantDesk(Desk):
    """The tenants of a store."""

    async def list(self, limit: int = 100, cursor: str | None = None) -> Tenants:
        """A page of the tenants for which something is set."""
        store = (await self.look(Permission.READ_FLEET)).tenants
        page = await store.quotas(limit, cursor)
        loads = await store.loads(list(page.quotas))
        found = [Tenant(*each) for each in zip(page.quotas, page.quotas.values(), loads, strict=True)]
        return Tenants(found, page.next_cursor)

    async def show(self, tenant: str) -> Tenant:
        """How one stands, of which nothing need be known.

        Raises:
            Forbidden: whoever asks is bound to another tenant.
        """
        store = (await self.look()).tenants
        if not self.actor.sees(check_identifier("tenant", tenant)):
            raise Forbidden(f"{self.actor.name} may not look at the tenant {tenant}: that is another's")
        [load] = await store.loads([tenant])
        return Tenant(tenant, await store.quota(tenant), load)

    async def configure(self, tenant: str, **settings: Any) -> Quota:
        """Change what a tenant may have; it holds at once, also for what waits already.

        Arguments:
            settings: what is not given, or None, stays as it is, and "default" takes it back. `weight`, how much of
                what runs it may have before others go first (1 for a tenth); `running`, the most of its tasks at once,
                in all queues; `rate`, how many start in a time: "100/s", starts a second, or a RateLimit; `unfinished`,
                the most tasks that are there and not over, and `payload_bytes`, the most bytes of them: what is over
                that is refused.

        Returns:
            What holds now.

        Raises:
            InvalidOption: settings are unknown, or values out of their ranges; the message names all of them.
        """
        checked = read_settings(_READERS, settings)
        store = (await self.look(Permission.TENANTS)).tenants
        before = await store.quota(check_identifier("tenant", tenant))
        changes = {name: value for name, value in checked.items() if value is not None}
        after = before._replace(
            **{name: getattr(NO_QUOTA, name) if value == DEFAULT else value for name, value in changes.items()}
        )
        told = [{name: msgspec.to_builtins(getattr(quota, name)) for name in changes} for quota in (before, after)]
        async with self.act(
            Permission.TENANTS, "tenant.configure", {"tenant": tenant}, before=told[0], after=told[1]
        ) as backend:
            await backend.tenants.configure(tenant, after)
        return after
