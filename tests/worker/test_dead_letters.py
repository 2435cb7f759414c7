"""The dead-letter queue on each backend: what workers gave up is found, starts anew, and is forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from taskq import App, NoRetry, Reject, TaskState, Unique
from taskq.dead_letters import DeadFilter
from tests.unit.support import BROKEN, buried
from tests.worker.support import ended, until, work

MINUTE = timedelta(minutes=1)


async def test_what_a_worker_gave_up_is_found_and_starts_anew(any_app: App) -> None:
    is_mended = False

    @any_app.task(name="mail.send", retry=NoRetry())
    async def send(to: str) -> str:
        if not is_mended:
            raise ConnectionError(f"no route to {to!r}")
        return to

    @any_app.task(name="mail.check")
    async def check() -> None:
        raise Reject("no such account")

    letters = any_app.dead_letters
    async with work(any_app, queues={"default": 1, "mail": 1}):
        handles = [await send.options(queue=queue).aenqueue("a@b.c") for queue in ("default", "mail")]
        rejected = await check.aenqueue()
        await asyncio.gather(*map(ended, handles), ended(rejected))
        found = await letters.alist(DeadFilter(error="ConnectionError", reason="exhausted", since=MINUTE))
        assert {record.id for record in found.letters} == {handle.id for handle in handles}
        [group] = (await letters.agroups(DeadFilter(name="mail.send"))).groups
        assert (group.count, group.queues) == (2, {"default", "mail"})
        assert {r.id for r in (await letters.alist(DeadFilter(fingerprint=group.fingerprint))).letters} == {
            handle.id for handle in handles
        }
        assert (await letters.ashow(rejected.id)).reason == "rejected"
        is_mended = True
        assert (await letters.aredrive(DeadFilter(fingerprint=group.fingerprint))).moved == 2
        assert [await handle.aresult(30) for handle in handles] == ["a@b.c"] * 2
    assert (await letters.apurge(DeadFilter(until=timedelta(0)))).purged == 1
    assert (await letters.alist()).letters == []


async def test_pages_over_several_queues_hold_each_letter_once(any_app: App) -> None:
    died = {await buried(any_app, queue="abc"[number % 3]) for number in range(20)}
    cursor, listed = None, list[str]()
    while not listed or cursor is not None:
        page = await any_app.dead_letters.alist(limit=3, cursor=cursor)
        cursor = page.next_cursor
        listed += [record.id for record in page.letters]
    assert (len(listed), set(listed)) == (20, died)
    ends = [(await any_app.dead_letters.ashow(id)).completed_at for id in listed]
    assert ends == sorted(ends, key=lambda at: at.timestamp() if at else 0.0, reverse=True)


async def test_a_redrive_by_a_filter_takes_more_than_one_step(any_app: App) -> None:
    for number in range(120):
        await buried(any_app, "sms.send" if number % 10 == 0 else "mail.send")
    done = await any_app.dead_letters.aredrive(DeadFilter(name="mail.*"), queue="again")
    assert (done.moved, done.held, done.gone, done.looked_at) == (108, 0, 0, 120)
    counts = await (await any_app.backend()).inspector.counts()
    assert counts["again"] == {TaskState.PENDING: 108}
    assert (await any_app.dead_letters.apurge(DeadFilter())).purged == 12


async def test_a_redrive_that_never_catches_up_ends(any_app: App) -> None:
    tasks = 150
    runs = 0

    @any_app.task(name="fails", retry=NoRetry())
    async def fails() -> None:
        nonlocal runs
        runs += 1
        raise ValueError("as ever")

    handles = await fails.aenqueue_many([()] * tasks)

    async def all_dead() -> bool:
        counts = await (await any_app.backend()).inspector.counts()
        return counts.get("default") == {TaskState.DEAD: tasks}

    async with work(any_app):
        await until(all_dead, "all are dead")
        done = await asyncio.wait_for(any_app.dead_letters.aredrive(DeadFilter()), 30)
        assert done.moved == tasks
        await until(lambda: runs == 2 * tasks, "each has run again")
        await until(all_dead, "all are dead again")
    page = await any_app.dead_letters.alist(limit=2 * tasks)
    assert sorted(record.id for record in page.letters) == sorted(handle.id for handle in handles)


async def test_a_held_key_keeps_a_task_dead_and_names_its_holder(any_app: App) -> None:
    @any_app.task(name="report", unique=Unique(), retry=NoRetry())
    async def report(day: int) -> None: ...

    died = await buried(any_app, "report", payload={"day": 1})
    holder = await report.aenqueue(1)
    assert holder.id != died
    done = await any_app.dead_letters.aredrive(DeadFilter())
    assert (done.moved, done.held, done.holders) == (0, 1, {died: holder.id})
    await holder.acancel()
    assert (await any_app.dead_letters.aredrive(died)).moved == 1


async def test_tasks_without_a_place_in_the_queue_are_redriven_by_their_ids(any_app: App) -> None:
    failed = await buried(any_app, dead_letter=False)
    assert (await any_app.dead_letters.alist()).letters == []
    record = await any_app.dead_letters.ashow(failed)
    assert (record.state, record.failure) == (TaskState.FAILED, BROKEN)
    assert (await any_app.dead_letters.aredrive(DeadFilter())).moved == 0
    assert (await any_app.dead_letters.aredrive(failed)).moved == 1


def test_blocking_calls(store_url: str) -> None:
    app = App(store_url)
    letters = app.dead_letters
    assert letters.list().is_complete
    assert letters.groups().total == 0
    handle = app.enqueue("mail.send")
    handle.cancel()
    assert letters.redrive([handle.id]).moved == 1
    assert letters.purge(handle.id).gone == 1
    assert handle.status() is TaskState.PENDING
    app.close()
