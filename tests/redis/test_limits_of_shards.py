"""Limits and unique keys on a store of several shards: counted in one of them, or refused."""

from __future__ import annotations

from uuid import uuid4

import pytest

from taskq import App, CapabilityMissing, Concurrency, Unique
from taskq.management import Actor, Management, Role
from taskq.ports import Capability


@pytest.fixture
def app(redis_url: str) -> App:
    return App(f"{redis_url}?shards=4", namespace=uuid4().hex)


def apart(app: App, queue: str) -> str:
    """A queue in another shard."""
    names = (f"queue-{n}" for n in range(100))
    return next(name for name in names if app.stores.root.shard_of(name) != app.stores.root.shard_of(queue))


async def test_a_limited_task_goes_to_queues_of_its_shard_only(app: App) -> None:
    @app.task(name="job", queue="home", concurrency=Concurrency(1), unique=Unique())
    async def job(number: int) -> None: ...

    there = apart(app, "home")
    async with app:
        assert Capability.LIMITS_SPAN_QUEUES not in (await app.backend()).capabilities
        await job.aenqueue(1)
        with pytest.raises(CapabilityMissing, match=f"its queue 'home' lies: queue '{there}' of job lies in another"):
            await job.options(queue=there).aenqueue(2)


async def test_tasks_that_share_a_limit_go_to_queues_of_one_shard_only(app: App) -> None:
    there = apart(app, "home")

    @app.task(name="print", queue="home", concurrency=Concurrency(1, name="printer"))
    async def on_paper() -> None: ...

    @app.task(name="plot", queue=there, concurrency=Concurrency(1, name="printer"))
    async def plot() -> None: ...

    async with app:
        with pytest.raises(CapabilityMissing, match=r"plot has limits .* queue 'home' of print lies in another shard"):
            await on_paper.aenqueue()


async def test_a_key_of_a_call_is_kept_where_its_task_is_at_home(app: App) -> None:
    @app.task(name="job", queue="home")
    async def job() -> None: ...

    async with app:
        first = await job.options(unique_key="k").aenqueue()
        assert (await job.options(unique_key="k").aenqueue()).id == first.id
        with pytest.raises(CapabilityMissing):
            await job.options(unique_key="k", queue=apart(app, "home")).aenqueue()


async def test_a_task_is_told_of_the_part_of_a_quota_that_its_shard_keeps_to(app: App) -> None:
    job = app.task(name="job")(nothing)
    async with app:
        root = Management(app, Actor("root", [Role.ADMIN]))
        await root.tenants.configure("acme", running=8)
        id = (await job.options(tenant="acme").aenqueue()).id
        checks = (await root.tasks.explain(id)).checks
    assert [check.text for check in checks if check.name == "limit"] == ["0 of 2 slots of the tenant acme are taken"]


async def nothing() -> None: ...
