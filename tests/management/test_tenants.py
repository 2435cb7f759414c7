"""What tenants may have, set and told by the Management, and what it means to their tasks."""

from __future__ import annotations

import pytest

from taskq import App, InvalidOption, QuotaExceeded
from taskq.domain.limits import Rate
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.management import Actor, Forbidden, Management, Role
from taskq.ports import TenantLoad
from tests.worker.support import ended, work


async def test_what_is_set_is_told_and_noted(management: Management) -> None:
    tenants = management.tenants
    assert await tenants.configure("acme", running=5, rate="10/s") == Quota(running=5, rate=Rate("", 10.0, 1.0))
    await tenants.configure("acme", unfinished=100, rate="default", weight=None)
    shown = await tenants.show("acme")
    assert (shown.name, shown.quota, shown.load) == ("acme", Quota(running=5, unfinished=100), TenantLoad())
    assert [tenant.name for tenant in (await tenants.list()).tenants] == ["acme"]
    newest = (await management.audit.newest())[0]
    assert (newest.action, newest.on) == ("tenant.configure", {"tenant": "acme"})
    assert newest.before == {"unfinished": None, "rate": [*["", 10.0, 1.0], False]}
    assert newest.after == {"unfinished": 100, "rate": None}


async def test_all_that_is_wrong_is_told_at_once(management: Management) -> None:
    with pytest.raises(InvalidOption) as refused:
        await management.tenants.configure("acme", runing=5, weight=0, rate="fast", unfinished=1.5)
    for part in (
        "did you mean 'running'?",
        "weight must be over 0",
        "a rate must be like",
        "unfinished must be",
    ):
        assert part in str(refused.value)
    with pytest.raises(InvalidOption, match="tenant 'a b'"):
        await management.tenants.configure("a b", running=1)
    assert await management.audit.newest() == []


async def test_who_may_look_and_who_may_change(app: App, management: Management) -> None:
    await management.tenants.configure("acme", running=5)
    viewer, bound = Actor("vic", [Role.VIEWER]), Actor("bob", [Role.ADMIN], tenant="acme")
    assert (await Management(app, viewer).tenants.show("acme")).quota.running == 5
    assert (await Management(app, bound).tenants.show("acme")).quota.running == 5
    with pytest.raises(Forbidden, match="another's"):
        await Management(app, bound).tenants.show("other")
    for actor in (viewer, bound, Actor("op", [Role.OPERATOR])):
        with pytest.raises(Forbidden):
            await Management(app, actor).tenants.configure("acme", running=6)
    with pytest.raises(Forbidden):
        await Management(app, bound).tenants.list()


async def test_a_tenant_has_no_more_tasks_than_it_may(app: App, management: Management) -> None:
    @app.task(name="add")
    async def add(x: int) -> int:
        return x

    await management.tenants.configure("acme", unfinished=2)
    mine = add.options(tenant="acme")
    handles = await mine.aenqueue_many([(1,), (2,), (3,)])
    assert [handle.enqueued for handle in handles] == ["created", "created", "over quota"]
    with pytest.raises(QuotaExceeded, match="add: its tenant has as many tasks"):
        await mine.aenqueue(4)
    await add.options(tenant="other").aenqueue(5)
    async with work(app):
        for handle in handles[:2]:
            await ended(handle)
    await mine.aenqueue(4)
    assert (await management.tenants.show("acme")).load.unfinished == 1
    await management.tenants.configure("acme", unfinished="default")
    assert (await management.tenants.show("acme")).quota == NO_QUOTA


async def test_an_explanation_names_the_tenant(app: App, management: Management) -> None:
    await management.tenants.configure("acme", running=1)

    @app.task(name="add")
    async def add(x: int) -> int:
        return x

    first, second = [await add.options(tenant="acme").aenqueue(n) for n in range(2)]
    backend = await app.backend()
    taken = await backend.broker.fetch(["default"], 5, worker="w", lease=30, request_id="r")
    assert [delivery.id for delivery in taken.deliveries] == [first.id]
    texts = [check.text for check in (await management.tasks.explain(second.id)).checks if check.holds_back]
    assert any("1 of 1 slots of the tenant acme are taken" in text for text in texts)
