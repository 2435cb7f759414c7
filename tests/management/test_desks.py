"""Acting on tasks, queues and workers: what becomes of it, what it takes, and that it is noted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskq import App, Every, InvalidOption, InvalidPayload, TaskNotFound, TaskState, chain
from taskq.config import Settings
from taskq.crypto import Crypto
from taskq.dead_letters import DeadFilter
from taskq.domain.flow import FlowKind
from taskq.domain.limits import Rate
from taskq.errors import NotApplied
from taskq.management import Actor, AuditEntry, Forbidden, Management, Permission, Role, WorkerNotFound
from taskq.management.desk import MOST_IDS, named
from taskq.ports import CancelStatus, Order, RedriveStatus, WorkerCommand
from taskq.testing.conformance.fleet import worker_info
from tests.management.conftest import ADMIN
from tests.unit.support import buried, claim, headers_of, payload_of, record_of

GONE = "01980000-0000-7000-8000-000000000000"


async def trail(management: Management) -> list[AuditEntry]:
    return [entry async for entry in management.audit.export()]


async def noted(management: Management) -> AuditEntry:
    return (await trail(management))[-1]


async def states(app: App, *ids: str) -> list[TaskState | None]:
    records = await (await app.backend()).inspector.get_many(ids)
    return [None if record is None else record.state for record in records]


async def test_tasks_are_cancelled(app: App, management: Management) -> None:
    waits, runs, ended = [(await app.aenqueue("mail.send", {"n": n})).id for n in range(3)]
    await management.tasks.cancel([ended])
    backend = await app.backend()
    while (await claim(app)).id != runs:
        pass
    await backend.broker.cancel([])
    waits = (await app.aenqueue("mail.send", {})).id
    answers = await management.tasks.cancel([waits, runs, ended, GONE], "enough")
    assert list(answers) == [
        *(CancelStatus.CANCELLED, CancelStatus.REQUESTED, CancelStatus.FINAL, CancelStatus.UNKNOWN),
    ]
    assert await states(app, waits, runs) == [TaskState.CANCELLED, TaskState.RUNNING]
    entry = await noted(management)
    assert (entry.actor, entry.action, entry.request_id) == ("ann", "tasks.cancel", "r1")
    assert (entry.on, entry.after) == ({"ids": [waits, runs, ended, GONE]}, {"reason": "enough"})


async def test_tasks_are_started_anew(app: App, management: Management) -> None:
    dead = await buried(app)
    waits = (await app.aenqueue("mail.send", {})).id
    answers = await management.tasks.retry([dead, waits, dead], queue="again")
    assert [answer.status for answer in answers] == [RedriveStatus.MOVED, RedriveStatus.NOT_FINAL]
    assert await states(app, dead) == [TaskState.PENDING]
    assert (await management.tasks.show(dead)).queue == "again"
    entry = await noted(management)
    assert (entry.action, entry.on, entry.after) == ("tasks.retry", {"ids": [dead, waits]}, {"queue": "again"})


async def test_who_is_bound_to_a_tenant_touches_its_tasks_alone(app: App, management: Management) -> None:
    bound = Management(app, Actor("bob", [Role.OPERATOR], tenant="acme"))
    own = (await app.aenqueue("mail.send", {}, tenant="acme")).id
    other = (await app.aenqueue("mail.send", {}, tenant="other")).id
    cancelled = await bound.tasks.cancel([other, own])
    assert list(cancelled) == [CancelStatus.UNKNOWN, CancelStatus.CANCELLED]
    assert await states(app, other, own) == [TaskState.PENDING, TaskState.CANCELLED]
    await management.tasks.cancel([other])
    answers = await bound.tasks.retry([other, own])
    assert [answer.status for answer in answers] == [RedriveStatus.NOT_FINAL, RedriveStatus.MOVED]
    for look in (bound.tasks.show(other), bound.tasks.again(other)):
        with pytest.raises(TaskNotFound):
            await look
    assert (await bound.tasks.show(own)).id == own
    assert (await noted(management)).tenant == "acme"
    again = await bound.tasks.again(own, tenant="other")
    assert (await record_of(app, again)).tenant == "acme"
    assert await bound.tasks.cancel([other]) == [CancelStatus.UNKNOWN]


async def test_who_is_bound_to_a_tenant_learns_nothing_of_others(app: App) -> None:
    bound = Management(app, Actor("bob", [Role.OPERATOR], tenant="acme"))
    own = await app.aenqueue("mail.send", {}, tenant="acme", unique_key="k")
    await own.acancel()
    await app.aenqueue("mail.send", {}, tenant="acme", unique_key="k")
    [answer] = await bound.tasks.retry([own.id])
    assert (answer.status, answer.holder) == (RedriveStatus.HELD, "")
    for refused in (bound.queues.list(), bound.queues.waiting("default"), bound.workers.list()):
        with pytest.raises(Forbidden):
            await refused


async def test_what_was_encrypted_is_so_again(url: str) -> None:
    keys = Crypto(keys={"k": b"k" * 32}, active="k")
    async with App(url, settings=Settings(crypto=keys)) as app:
        first = await app.aenqueue("mail.send", {"iban": "DE02120300000000202051"}, encrypt=True)
        again = await Management(app, ADMIN).tasks.again(first.id, {"cents": 6})
        record = await record_of(app, again)
        assert headers_of(record).encrypted
        assert b"DE02" not in record.body


async def test_a_task_runs_again_with_other_arguments(app: App, management: Management) -> None:
    @app.task(name="mail.send")
    def send(to: str, subject: str = "") -> None: ...

    options: dict[str, Any] = {"queue": "mail", "priority": "high", "tenant": "acme", "metadata": {"plan": "pro"}}
    first = await send.options(**options, tags=["vip"], retention=77).aenqueue("a@b.c", subject="hello")
    again = await management.tasks.again(first.id, {"to": "x@y.z"}, priority="low")
    record, old = await record_of(app, again), await record_of(app, first)
    assert record.id != old.id
    assert payload_of(record) == {"to": "x@y.z", "subject": "hello"}
    assert headers_of(record).metadata == {"plan": "pro"}
    assert (record.queue, record.tenant, record.tags, record.retention) == ("mail", "acme", ("vip",), 77)
    assert record.priority.name == "LOW"
    entry = await noted(management)
    assert (entry.action, entry.on, entry.after) == ("tasks.again", {"id": first.id}, {"changed": ["priority", "to"]})
    with pytest.raises(InvalidPayload):
        await management.tasks.again(first.id, {"too": "x@y.z"})
    assert [entry.action for entry in (await trail(management))[-2:]] == ["tasks.again", "tasks.again.failed"]
    assert (await noted(management)).after == {"error": "InvalidPayload"}


async def test_a_task_that_takes_the_results_of_others_does_not_run_again_alone(
    app: App, management: Management
) -> None:
    @app.task
    def number() -> int:
        return 1

    @app.task
    def double(number: int) -> int:
        return 2 * number

    run = await chain(number.s(), double.s()).aenqueue()
    [id] = [node.record.id for node in await run.anodes() if node.record.state is TaskState.BLOCKED]
    with pytest.raises(InvalidOption, match="takes results of others: run its workflow again"):
        await management.tasks.again(id)
    assert await trail(management) == []


async def test_what_one_may_not_do_is_neither_done_nor_noted(app: App, management: Management) -> None:
    id = (await app.aenqueue("mail.send", {})).id
    viewer = Management(app, Actor("vic", [Role.VIEWER]))
    operator = Management(app, Actor("oz", [Role.OPERATOR]))
    for refused in (
        *(viewer.tasks.cancel([id]), viewer.tasks.retry([id]), viewer.tasks.again(id), viewer.queues.pause("default")),
        *(viewer.queues.resume("default"), viewer.queues.configure("default", workers=1)),
        *(viewer.workers.pause("w"), operator.queues.purge("default", 1), operator.audit.head()),
        *(operator.audit.trim(timedelta(0)), operator.audit.newest()),
    ):
        with pytest.raises(Forbidden):
            await refused
    assert await states(app, id) == [TaskState.PENDING]
    assert await trail(management) == []


async def test_too_many_ids_are_refused(management: Management) -> None:
    with pytest.raises(InvalidOption, match="one call takes at most 1,000 ids, not 1,001"):
        await management.tasks.cancel([str(n) for n in range(1001)])
    assert await management.tasks.cancel(GONE) == [CancelStatus.UNKNOWN]
    assert named([GONE] * (MOST_IDS + 1)) == {"ids": [GONE] * MOST_IDS, "count": MOST_IDS + 1}


async def test_queues_are_steered(app: App, management: Management) -> None:
    await app.aenqueue("mail.send", {}, queue="mail")
    await management.queues.pause("mail", "the relay is away", timedelta(hours=1))
    entry = await noted(management)
    assert (entry.action, entry.on) == ("queue.pause", {"queue": "mail"})
    assert entry.after is not None
    assert entry.after["reason"] == "the relay is away"
    assert "until" in entry.after
    [state] = await management.queues.list()
    assert state.settings.paused_reason == "the relay is away"
    await management.queues.resume("mail")
    assert (await noted(management)).action == "queue.resume"
    await management.queues.configure("mail", workers=3, rate="90/m")
    entry = await noted(management)
    assert (entry.before, entry.after) == ({"workers": None, "rate": None}, {"workers": 3, "rate": "90/m"})
    [state] = await management.queues.list(["mail"])
    assert (state.is_paused, state.settings.workers) == (False, 3)
    with pytest.raises(InvalidOption):
        await management.queues.configure("mail", wokers=3)
    assert await noted(management) == entry


async def test_queues_of_the_application_are_listed_without_tasks(app: App, management: Management) -> None:
    @app.task(queue="unused")
    def idle() -> None: ...

    await app.aenqueue("mail.send", {}, queue="mail")
    assert [state.name for state in await management.queues.list()] == ["mail", "unused"]


async def test_a_purge_cancels_no_more_than_was_confirmed(app: App, management: Management) -> None:
    ids = [(await app.aenqueue("mail.send", {}, queue="mail")).id for _ in range(3)]
    assert await management.queues.waiting("mail") == 3
    with pytest.raises(NotApplied, match="3 tasks wait in mail, more than the 2 that were confirmed: ask anew"):
        await management.queues.purge("mail", 2)
    assert await trail(management) == []
    assert await management.queues.purge("mail", 3) == 3
    assert await states(app, *ids) == [TaskState.CANCELLED] * 3
    entry = await noted(management)
    assert (entry.action, entry.before) == ("queue.purge", {"waiting": 3})


async def test_workers_are_told(app: App, management: Management) -> None:
    registry = (await app.backend()).registry
    first, second, other = (
        worker_info(id="w1", name="n"),
        worker_info(id="w2", name="n"),
        worker_info(id="w3", name="o"),
    )
    for info in (other, second, first):
        await registry.report(info, 900.0)
    assert [worker.id for worker in await management.workers.list()] == ["w1", "w2", "w3"]
    assert list(await management.workers.pause("n")) == ["w1", "w2"]
    assert list(await management.workers.resume("w2")) == ["w2"]
    assert list(await management.workers.shutdown("w3")) == ["w3"]
    assert list(await registry.report(first, 900.0)) == [Order(WorkerCommand.PAUSE)]
    assert list(await registry.report(second, 900.0)) == [Order(WorkerCommand.PAUSE), Order(WorkerCommand.RESUME)]
    assert list(await registry.report(other, 900.0)) == [Order(WorkerCommand.SHUTDOWN)]
    assert list(await management.workers.log_level("w1", "DEBUG")) == ["w1"]
    assert list(await registry.report(first, 900.0)) == [Order(WorkerCommand.LOG_LEVEL, "DEBUG")]
    with pytest.raises(InvalidOption, match="level must be one of DEBUG, INFO, WARNING, ERROR, not 'LOUD'"):
        await management.workers.log_level("w1", "LOUD")
    entry = await noted(management)
    assert (entry.action, entry.on, entry.after) == (*("worker.log_level", {"workers": ["w1"]}, {"argument": "DEBUG"}),)
    actions = [(entry.action, entry.on["workers"]) for entry in (await trail(management))[:-1]]
    assert actions == [("worker.pause", ["w1", "w2"]), ("worker.resume", ["w2"]), ("worker.shutdown", ["w3"])]
    with pytest.raises(WorkerNotFound, match="no worker w4 lives; `taskq workers list` shows those that do"):
        await management.workers.pause("w4")


async def test_schedules_are_changed_and_noted(app: App, management: Management) -> None:
    schedules = management.schedules
    await schedules.put("tick", Every(seconds=30), "job", {"secret": "s3cret"}, queue="mail")
    await schedules.change("tick", jitter=5, payload={"secret": "s3cret"})
    await schedules.pause("tick", "too loud")
    await schedules.resume("tick")
    handle = await schedules.run("tick")
    assert (await handle.ainfo()).queue == "mail"
    assert [schedule.name for schedule in await schedules.list()] == ["tick"]
    assert (await schedules.get("tick")).rules.jitter == 5
    with pytest.raises(InvalidOption):
        await schedules.reset("tick")
    await schedules.remove("tick")
    entries = await trail(management)
    assert [entry.action for entry in entries] == [
        *("schedule.put", "schedule.change", "schedule.pause", "schedule.resume", "schedule.run"),
        *("schedule.reset", "schedule.reset.failed", "schedule.remove"),
    ]
    assert {entry.on["schedule"] for entry in entries} == {"tick"}
    assert entries[1].after == {"set": ["jitter", "payload"]}
    assert "s3cret" not in str(entries)


async def test_workflows_and_batches_are_steered_and_noted(app: App, management: Management) -> None:
    @app.task
    def number() -> int:
        return 1

    run = await chain(number.si(), number.si()).aenqueue()
    assert await management.flows.cancel(FlowKind.WORKFLOW, run.id, "enough")
    assert not await management.flows.cancel(FlowKind.WORKFLOW, run.id)
    assert await management.flows.retry(FlowKind.WORKFLOW, run.id) == 2
    assert await management.flows.retry(FlowKind.WORKFLOW, run.id, only_failed=True) == 0
    again = await management.flows.again(run.id)
    assert again.id != run.id
    async with app.batch() as batch:
        await batch.aenqueue(number)
    await management.flows.close(batch.id)
    assert await management.flows.cancel(FlowKind.BATCH, batch.id)
    told = [(entry.action, entry.on["id"]) for entry in await trail(management)]
    assert told == [
        *[("workflow.cancel", run.id)] * 2,
        *[("workflow.retry", run.id)] * 2,
        *(("workflow.again", run.id), ("batch.close", batch.id), ("batch.cancel", batch.id)),
    ]


async def test_dead_letters_are_started_anew_and_forgotten_and_that_is_noted(app: App, management: Management) -> None:
    first, second, third = [await buried(app) for _ in range(3)]
    desk = management.dead_letters
    assert len((await desk.list()).letters) == 3
    assert (await desk.groups()).total == 3
    assert (await desk.show(first)).body != b""
    assert (await desk.redrive(iter([first]), queue="again")).moved == 1
    assert (await desk.redrive(DeadFilter(reason="exhausted"), limit=1)).moved == 1
    assert (await desk.purge(second)).purged + (await desk.purge(third)).purged == 1
    entries = await trail(management)
    assert [(entry.action, entry.on, entry.after) for entry in entries[:2]] == [
        ("dead.redrive", {"ids": [first]}, {"queue": "again"}),
        ("dead.redrive", {"filter": {"reason": "exhausted"}}, {"limit": 1}),
    ]
    assert [entry.action for entry in entries[2:]] == ["dead.purge", "dead.purge"]


@pytest.mark.parametrize(
    "actor", [Actor("vic", [Role.VIEWER]), Actor("oz", [Role.ADMIN], payloads=False)], ids=["viewer", "withheld"]
)
async def test_arguments_are_for_those_who_may_see_them(app: App, management: Management, actor: Actor) -> None:
    await buried(app, payload={"iban": "DE02120300000000202051"})
    await management.schedules.put("tick", Every(seconds=30), "job", {"iban": "DE02120300000000202051"})
    mine = Management(app, actor)
    shown = [(await mine.dead_letters.list()).letters, await mine.schedules.list(), await mine.schedules.get("tick")]
    if actor.may(Permission.SCHEDULE):
        shown.append(await mine.schedules.pause("tick"))
    assert "DE02" not in str(shown)
    assert b"DE02" in (await management.dead_letters.list()).letters[0].body
    for schedule in (*await management.schedules.list(), await management.schedules.get("tick")):
        assert schedule.payload == {"iban": "DE02120300000000202051"}


async def test_limits_are_reset_and_that_is_noted(app: App, management: Management) -> None:
    limit = Rate("mail", 0.001, 1.0)
    [gauge] = await management.limits.gauges("mail", [limit])
    assert gauge.tokens == 1.0
    await management.limits.reset("mail", [limit])
    entry = await noted(management)
    assert (entry.action, entry.on) == ("limits.reset", {"queue": "mail", "gates": ["r:mail"]})


async def test_what_is_everybodys_is_not_for_one_tenant(app: App) -> None:
    bound = Management(app, Actor("bob", [Role.ADMIN], tenant="acme"))
    for refused in (
        *(bound.schedules.list(), bound.schedules.get("tick"), bound.schedules.remove("tick")),
        *(bound.dead_letters.list(), bound.dead_letters.groups(), bound.dead_letters.show(GONE)),
        *(bound.dead_letters.redrive(GONE), bound.dead_letters.purge(GONE), bound.limits.gauges("mail", [])),
        *(bound.limits.reset("mail", []), bound.flows.cancel(FlowKind.BATCH, GONE), bound.flows.close(GONE)),
        *(bound.flows.again(GONE), bound.flows.retry(FlowKind.BATCH, GONE)),
    ):
        with pytest.raises(Forbidden):
            await refused
