"""Changes of many tasks at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from taskq import App, InvalidOption, TaskState
from taskq.errors import NotApplied
from taskq.management import Actor, Forbidden, Management, Role
from taskq.management.jobs import KIND, MOST_NAMED, RETENTION, SAMPLE, SILENCE, STEP, Job, JobNotFound, JobState
from tests.management.conftest import ADMIN
from tests.unit.support import buried, claim


async def put(app: App, number: int, **options: Any) -> list[str]:
    @app.task(name="load")
    def load(row: int) -> None: ...

    handles = await load.options(**options).aenqueue_many((n,) for n in range(number))
    app.tasks._tasks.pop("load")
    return [handle.id for handle in handles]


async def states(app: App) -> dict[TaskState, int]:
    counts = await (await app.backend()).inspector.counts()
    found: dict[TaskState, int] = {}
    for by_state in counts.values():
        for state, number in by_state.items():
            found[state] = found.get(state, 0) + number
    return found


async def edit(app: App, id: str, **fields: Any) -> None:
    """Have a job be otherwise."""
    documents = (await app.backend()).documents
    found = await documents.get(KIND, id)
    assert found is not None
    job = replace(msgspec.json.decode(found.data, type=Job), **fields)
    assert await documents.put(KIND, id, msgspec.json.encode(job), found.version)


async def test_a_plan_says_what_would_happen_and_changes_nothing(app: App, management: Management) -> None:
    await put(app, SAMPLE + 3)
    await buried(app)
    plan = await management.jobs.plan("cancel", "")
    assert (plan.counted.number, plan.counted.is_exact, len(plan.sample)) == (SAMPLE + 3, True, SAMPLE)
    assert all(record.body == b"" for record in plan.sample)
    assert (await management.jobs.plan("cancel", "", limit=5)).counted.number == 5
    assert (await management.jobs.plan("retry", "")).counted.number == 1
    assert await states(app) == {TaskState.PENDING: SAMPLE + 3, TaskState.DEAD: 1}
    assert [entry async for entry in management.audit.export()] == []


async def test_a_job_acts_on_all_that_is_meant(app: App, management: Management) -> None:
    number = 2 * STEP + 7
    await put(app, number, tenant="acme")
    await put(app, 3, tenant="other")
    await claim(app)
    job = await management.jobs.start("cancel", "tenant:acme", confirmed=number, reason="enough")
    assert (job.state, job.counted, job.done) == (JobState.RUNNING, number, 0)
    steps: list[int] = []
    done = await management.jobs.run(job.id, lambda job: steps.append(job.done))
    assert (done.state, done.answers) == (JobState.DONE, {"cancelled": number - 1, "asked to end": 1})
    assert steps == [STEP, 2 * STEP, number]
    assert await states(app) == {TaskState.CANCELLED: number - 1, TaskState.RUNNING: 1, TaskState.PENDING: 3}
    assert await management.jobs.get(job.id) == done
    assert done.ended_at is not None
    [record] = (await management.tasks.find("state:cancelled", limit=1)).records
    assert record.reason == "enough"
    [entry] = [entry async for entry in management.audit.export()]
    assert (entry.action, entry.on["query"]) == ("job.start", "tenant:acme")


async def test_tasks_start_anew_and_are_forgotten(app: App, management: Management) -> None:
    held = await app.aenqueue("mail.send", {}, unique_key="k")
    await held.acancel()
    await app.aenqueue("mail.send", {}, unique_key="k")
    dead = [await buried(app, queue="dead") for _ in range(3)]
    job = await management.jobs.start("retry", "state:ended", confirmed=4, queue="again")
    done = await management.jobs.run(job.id)
    assert done.answers == {"started anew": 3, "held": 1}
    assert done.left == {held.id: "held"}
    assert {record.queue for record in (await management.tasks.find(f"id:{','.join(dead)}")).records} == {"again"}
    job = await management.jobs.start("forget", "state:cancelled", confirmed=1)
    assert (await management.jobs.run(job.id)).answers == {"forgotten": 1}
    assert TaskState.CANCELLED not in await states(app)


async def test_more_than_was_agreed_to_is_refused(app: App, management: Management) -> None:
    await put(app, 3)
    with pytest.raises(NotApplied, match="3 tasks are meant by now, more than the 2 that were agreed to: ask anew"):
        await management.jobs.start("cancel", "", confirmed=2)
    assert await management.jobs.list() == []
    assert (await management.jobs.start("cancel", "", confirmed=2, limit=2)).counted == 2


async def test_what_comes_after_the_agreement_is_not_meant(app: App, management: Management) -> None:
    await put(app, 2)
    job = await management.jobs.start("cancel", "", confirmed=2)
    await put(app, 3)
    assert (await management.jobs.run(job.id)).done == 2
    assert (await states(app))[TaskState.PENDING] == 3


async def test_a_limit_is_kept(app: App, management: Management) -> None:
    await put(app, STEP + 20)
    job = await management.jobs.start("cancel", "", confirmed=STEP + 5, limit=STEP + 5)
    assert (await management.jobs.run(job.id)).done == STEP + 5
    assert await states(app) == {TaskState.CANCELLED: STEP + 5, TaskState.PENDING: 15}


async def test_a_job_is_cancelled_between_two_steps(app: App, management: Management) -> None:
    await put(app, 3 * STEP)
    job = await management.jobs.start("cancel", "", confirmed=3 * STEP)

    async def enough(job: Job) -> None:
        if job.done == STEP:
            await management.jobs.cancel(job.id)

    done = await management.jobs.run(job.id, enough)
    assert (done.state, done.done) == (JobState.CANCELLED, STEP)
    assert (await states(app))[TaskState.PENDING] == 2 * STEP
    assert await management.jobs.run(job.id) == done
    assert await management.jobs.cancel(job.id) == done
    actions = [entry.action async for entry in management.audit.export()]
    assert actions == ["job.start", "job.cancel"]


async def test_a_rate_makes_smaller_steps(app: App, management: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(app, 9)
    job = await management.jobs.start("cancel", "", confirmed=9, rate=4)
    pauses: list[float] = []

    async def pass_by(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("taskq.management.jobs.rest", pass_by)
    steps: list[int] = []
    await management.jobs.run(job.id, lambda job: steps.append(job.done))
    monkeypatch.undo()
    assert steps == [4, 8, 9]
    assert len(pauses) == 2
    assert all(0 < pause <= 1 for pause in pauses)


async def test_another_goes_on_where_a_runner_died(app: App, management: Management) -> None:
    await put(app, 3 * STEP)
    job = await management.jobs.start("cancel", "", confirmed=3 * STEP)

    def die(job: Job) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await management.jobs.run(job.id, die)
    assert (await management.jobs.get(job.id)).done == STEP
    assert await management.jobs.waiting() == []
    with pytest.raises(NotApplied, match=f"somebody else is at the job {job.id}"):
        await management.jobs.run(job.id)
    await edit(app, job.id, seen_at=datetime.now(UTC) - 2 * SILENCE)
    assert await management.jobs.waiting() == [job.id]
    assert (await management.jobs.run(job.id)).answers == {"cancelled": 3 * STEP}


async def test_who_was_overtaken_stops(app: App, management: Management) -> None:
    await put(app, 3 * STEP)
    job = await management.jobs.start("cancel", "", confirmed=3 * STEP)
    others: list[Job] = []

    async def overtake(job: Job) -> None:
        if not others:
            await edit(app, job.id, seen_at=datetime.now(UTC) - 2 * SILENCE)
            others.append(await management.jobs.run(job.id))

    with pytest.raises(NotApplied, match="somebody else has gone on with the job"):
        await management.jobs.run(job.id, overtake)
    assert others[0].done == 3 * STEP


async def test_two_who_start_at_once_are_told_apart(app: App, management: Management) -> None:
    await put(app, 5)
    job = await management.jobs.start("cancel", "", confirmed=5)
    answers = await asyncio.gather(*(management.jobs.run(job.id) for _ in range(3)), return_exceptions=True)
    done = [answer for answer in answers if isinstance(answer, Job)]
    assert done
    assert all(isinstance(answer, Job | NotApplied) for answer in answers)
    assert (await management.jobs.get(job.id)).done == 5


async def test_jobs_are_listed_for_a_week(app: App, management: Management) -> None:
    await put(app, 1)
    old = await management.jobs.start("cancel", "", confirmed=1)
    await management.jobs.run(old.id)
    new = await management.jobs.start("retry", "", confirmed=1)
    assert [job.id for job in await management.jobs.list()] == [new.id, old.id]
    await edit(app, old.id, ended_at=datetime.now(UTC) - RETENTION - timedelta(minutes=1))
    newest = await management.jobs.start("retry", "state:dead", confirmed=0)
    assert [job.id for job in await management.jobs.list()] == [newest.id, new.id]
    with pytest.raises(JobNotFound, match=f"there is no job {old.id}"):
        await management.jobs.get(old.id)


async def test_a_job_of_a_tenant_touches_its_tasks_alone_whoever_runs_it(app: App, management: Management) -> None:
    await put(app, 2, tenant="acme")
    await put(app, 3, tenant="other")
    bound = Management(app, Actor("bob", [Role.OPERATOR], tenant="acme"))
    other = Management(app, Actor("eve", [Role.OPERATOR], tenant="other"))
    job = await bound.jobs.start("cancel", "", confirmed=2)
    assert await other.jobs.list() == []
    for refused in (other.jobs.get(job.id), other.jobs.cancel(job.id), other.jobs.run(job.id)):
        with pytest.raises(JobNotFound):
            await refused
    assert (await management.jobs.run(job.id)).done == 2
    assert await states(app) == {TaskState.CANCELLED: 2, TaskState.PENDING: 3}


async def test_what_one_may_not_do_is_refused(app: App) -> None:
    viewer = Management(app, Actor("vic", [Role.VIEWER]))
    operator = Management(app, Actor("oz", [Role.OPERATOR]))
    for refused in (
        *(viewer.jobs.plan("cancel", ""), viewer.jobs.start("cancel", "", confirmed=1)),
        *(operator.jobs.plan("forget", ""), operator.jobs.start("forget", "", confirmed=1)),
    ):
        with pytest.raises(Forbidden):
            await refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"action": "dance"}, "action must be one of cancel, retry, forget, not 'dance'"),
        ({"limit": 0}, "limit must be a whole number over 0"),
        ({"rate": 0}, "rate must be from 0.001 to a million tasks a second"),
        ({"queue": "a b"}, "queue 'a b'"),
        ({"query": "stat:dead"}, "there is no field 'stat'"),
    ],
)
async def test_what_cannot_be_is_said(options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"action": "cancel", "query": "", "confirmed": 1, **options}
    with pytest.raises(InvalidOption, match=said):
        await Management(App("memory://"), ADMIN).jobs.start(given.pop("action"), given.pop("query"), **given)


async def test_only_so_many_are_named_that_were_left(app: App, management: Management) -> None:
    for n in range(MOST_NAMED + 2):
        held = await app.aenqueue("mail.send", {}, unique_key=f"k{n}")
        await held.acancel()
        await app.aenqueue("mail.send", {}, unique_key=f"k{n}")
    job = await management.jobs.start("retry", "state:cancelled", confirmed=MOST_NAMED + 2)
    done = await management.jobs.run(job.id)
    assert (done.answers, len(done.left)) == ({"held": MOST_NAMED + 2}, MOST_NAMED)
