"""The doctor: what is wrong with a store and a fleet, who may mend it, and what the audit trail has of that."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App
from taskq.config import WorkerOptions
from taskq.errors import UnsafeStore
from taskq.management import Actor, Forbidden, Management, Role
from taskq.ports import Backend, Change, Damage, Finding, FindingStatus, ScheduleEntry, WorkerState
from taskq.runtime.worker import Worker
from taskq.testing.conformance.fleet import worker_info
from tests.management.conftest import ADMIN
from tests.servers import free_port
from tests.unit.support import claim

MANY = 2000


async def found(management: Management, deep: bool = False) -> dict[str, Finding]:
    """What is wrong, by its names; how fast a store answers is for the machine to say."""
    wrong = [each for each in await management.doctor.examine(deep) if each.status is not FindingStatus.OK]
    return {finding.check: finding for finding in wrong if not finding.check.endswith(".latency")}


async def staff(app: App, **fields: Any) -> None:
    """Have a worker live."""
    usual = {"id": "w1", "name": "n", "queues": ("default",), "state": WorkerState.IDLE, "running": 0, "tasks": ()}
    await (await app.backend()).registry.report(
        worker_info(**{**usual, "pressure": "", "unresponsive": (), **fields}), 900.0
    )


async def harm(backend: Backend) -> tuple[str, int]:
    """Damage a store in which a task runs; returns what must be found."""
    store = getattr(backend, "_store")  # noqa: B009 - of whatever kind it is
    match type(backend).__name__:
        case "MemoryBackend":
            store.running.clear()
        case "RedisBackend":
            await store.command(0, "DEL", store.keys[0].leases)
        case _:
            async with store.pool.connection() as connection:
                await connection.execute(f'delete from "{store.target.schema}".claim')
    return Damage.UNLEASED, 1


class TestFleet:
    """Queues, workers, schedules."""

    async def test_of_a_sound_fleet_nothing_is_wrong(self, app: App, management: Management) -> None:
        await staff(app)
        await app.aenqueue("mail.send", {})
        assert await found(management) == {}
        summary = {finding.check: finding.detail for finding in await management.doctor.examine()}
        assert summary["queues"] == "default: 1 pending"
        assert summary["workers"] == "n (w1) is idle, serves default"
        assert summary["records"].startswith("looked at all 1 records")

    async def test_without_a_worker_that_is_all_there_is_to_say(self, app: App, management: Management) -> None:
        await app.aenqueue("mail.send", {})
        [finding] = (await found(management)).values()
        assert (finding.check, finding.status, finding.detail) == ("workers", FindingStatus.WARNING, "none lives")
        assert "taskq worker" in finding.advice

    async def test_a_pause_matters_where_tasks_wait(self, app: App, management: Management) -> None:
        await staff(app)
        await management.queues.pause("default", "the relay is away")
        assert await found(management) == {}
        await app.aenqueue("mail.send", {})
        finding = (await found(management))["queues.paused"]
        assert finding.detail == "queues with waiting tasks are paused: default (the relay is away, 1 wait)"

    async def test_a_queue_that_fills_up(self, app: App, management: Management) -> None:
        await staff(app)
        await management.queues.configure("default", max_size=2, warn_at=0.5)
        await app.aenqueue("mail.send", {})
        finding = (await found(management))["queues.full"]
        assert (finding.status, finding.sample) == (FindingStatus.WARNING, ("default",))
        assert finding.detail == "queues are nearly full: default (1 of 2)"
        await app.aenqueue("mail.send", {}, delay=900)
        finding = (await found(management))["queues.full"]
        assert (finding.status, finding.number) == (FindingStatus.FAULT, 1)

    async def test_a_queue_that_nobody_serves(self, app: App, management: Management) -> None:
        await staff(app)
        await app.aenqueue("mail.send", {}, queue="mail")
        finding = (await found(management))["queues.unserved"]
        assert (finding.status, finding.detail) == (FindingStatus.FAULT, "no live worker serves mail (1 wait)")
        assert "taskq worker -Q mail" in finding.advice

    async def test_a_task_that_nobody_knows(self, app: App, management: Management) -> None:
        await staff(app, tasks=("mail.send",))
        await app.aenqueue("mail.send", {})
        assert await found(management) == {}
        await app.aenqueue("mail.read", {})
        await app.aenqueue("mail.burn", {}, delay=900)
        finding = (await found(management))["tasks.unknown"]
        assert (finding.status, finding.sample) == (FindingStatus.FAULT, ("mail.burn", "mail.read"))
        assert "mail.read (in default)" in finding.detail

    async def test_a_worker_that_does_not_say_what_it_knows_may_know_it(self, app: App, management: Management) -> None:
        await staff(app)
        await app.aenqueue("mail.read", {})
        assert await found(management) == {}

    async def test_workers_that_take_no_tasks(self, app: App, management: Management) -> None:
        await staff(app, pressure="memory 5 MiB of 4 MiB", unresponsive=("5b",), state=WorkerState.PRESSED)
        await staff(app, id="w2", state=WorkerState.PAUSED)
        findings = await found(management)
        assert set(findings) == {"workers.stuck", "workers.pressed", "workers.paused"}
        assert findings["workers.paused"].detail == "workers are paused: n (w2)"

    async def test_a_schedule_that_nobody_fires(self, app: App, management: Management) -> None:
        await staff(app)
        scheduler = (await app.backend()).scheduler
        assert scheduler is not None
        for name, ago in (("nightly", timedelta(hours=1)), ("now", timedelta(seconds=1))):
            due = datetime.now(UTC) - ago
            await scheduler.commit([Change(ScheduleEntry(name=name, queue="default", spec=b"{}", next_at=due))])
        finding = (await found(management))["schedules"]
        assert finding.detail == "schedules are overdue: nightly by 1 h"
        assert finding.sample == ("nightly",)

    async def test_a_task_that_cannot_be_used(self, app: App, management: Management) -> None:
        def broken(x: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

        app.task(name="broken")(broken)
        finding = (await found(management))["task"]
        assert (finding.status, "broken" in finding.detail) == (FindingStatus.FAULT, True)


class TestRepair:
    """Mending what is damaged."""

    async def test_what_was_mended_is_in_the_audit_trail(self, app: App, management: Management) -> None:
        id = (await app.aenqueue("mail.send", {})).id
        await claim(app)
        backend = await app.backend()
        check, number = await harm(backend)
        finding = (await found(management))[check]
        assert (finding.number, finding.sample, finding.is_repairable) == (number, (id,), True)
        assert list(await management.doctor.repair()) == [(check, number)]
        assert check not in await found(management)
        done, before = await management.audit.newest(2)
        assert (before.action, before.actor, before.before) == ("doctor.repair", ADMIN.name, {check: number})
        assert (done.action, done.after) == ("doctor.repair.done", {check: number})
        assert list(await management.doctor.repair()) == []
        assert len(await management.audit.newest(9)) == 2

    async def test_who_may(self, app: App) -> None:
        for role in (Role.VIEWER, Role.OPERATOR):
            desk = Management(app, Actor("bob", [role])).doctor
            assert await desk.examine()
            with pytest.raises(Forbidden, match="that takes the role admin"):
                await desk.repair()
        bound = Management(app, Actor("bob", [Role.ADMIN], tenant="acme")).doctor
        for attempt in (bound.examine(), bound.repair()):
            with pytest.raises(Forbidden, match="acme"):
                await attempt

    async def test_nothing_is_wrong_while_a_worker_drains_its_queue(self, app: App, management: Management) -> None:
        ran: Counter[int] = Counter()

        @app.task(name="count")
        async def count(n: int) -> None:
            ran[n] += 1

        handles = [handle async for handle in _enqueued(count, MANY)]
        assert len(handles) == MANY
        # On a busy machine its loop is late, or its store slow: the doctor would say so, and be right.
        unhurried = WorkerOptions(poll=0.05, max_loop_lag=None, max_backend_latency=None)
        async with Worker(app, unhurried).running():
            looks = 0
            while ran.total() < MANY or looks < 3:
                # It may be done before it has reported for the first time.
                assert set(await found(management, deep=True)) <= {"workers"}
                assert list(await management.doctor.repair(deep=True)) == []
                await asyncio.sleep(0)
                looks += 1
        assert set(ran.values()) == {1}


async def _enqueued(task: Any, number: int) -> Any:
    for at in range(0, number, 500):
        for result in await task.aenqueue_many((n,) for n in range(at, at + 500)):
            yield result


class TestStores:
    """Stores that are away, or cannot be trusted."""

    async def test_a_store_that_is_away_is_a_finding(self) -> None:
        app = App(f"redis://me:secret@127.0.0.1:{free_port()}")
        app.stores.hurry()
        [finding] = await Management(app, ADMIN).doctor.examine()
        assert (finding.check, finding.status) == ("store", FindingStatus.FAULT)
        assert "secret" not in finding.detail
        await app.aclose()

    async def test_results_apart_are_looked_at(self, postgres_url: str, redis_url: str) -> None:
        async with App(redis_url, results=postgres_url) as app:
            findings = {each.check: each for each in await Management(app, ADMIN).doctor.examine()}
            assert findings["results"].status is FindingStatus.OK
        away = App(redis_url, results=f"redis://127.0.0.1:{free_port()}")
        away.stores.hurry()
        async with away:
            findings = {each.check: each for each in await Management(away, ADMIN).doctor.examine()}
            assert findings["results"].status is FindingStatus.FAULT

    async def test_a_fault_is_said_once(self, app: App, management: Management, monkeypatch: Any) -> None:
        backend = await app.backend()
        said = Finding(check="redis.eviction", status=FindingStatus.FAULT, detail="it may evict tasks")

        async def check() -> list[str]:
            raise UnsafeStore(said.detail)

        async def servers() -> list[Finding]:
            return [said]

        monkeypatch.setattr(backend, "check", check)
        monkeypatch.setattr(backend.diagnosis, "servers", servers)
        assert [each for each in (await found(management)).values() if each.detail == said.detail] == [said]

        async def nothing() -> list[Finding]:
            return []

        monkeypatch.setattr(backend.diagnosis, "servers", nothing)
        assert (await found(management))["store"].detail == said.detail
