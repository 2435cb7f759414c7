"""Finding tasks that have ended by what they were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Retry, Settlement
from taskq.domain.record import Failure, TaskRecord
from taskq.domain.state import FINAL, TaskState
from taskq.ports import EndedQuery, Key, Place, SettleStatus
from taskq.testing.conformance.bench import Bench, eventually
from taskq.testing.conformance.kit import Kit

ALL = tuple(FINAL)
NOBODY = "00000000-0000-7000-8000-000000000000"
WRONG = Failure("TimeoutError", "late", "…", "f1")


async def ended(bench: Bench, settlement: Settlement | None = None, **fields: Any) -> TaskRecord:
    """A task that has ended, at another instant than the one before."""
    record = await bench.apply(await bench.running(**fields), settlement or Complete())
    await bench.lapse()
    return record


async def find(bench: Bench, limit: int = 100, **said: Any) -> list[str]:
    """The ids of the ended tasks that are found, page by page."""
    ids: list[str] = []
    before: Place | None = None
    while True:
        query = EndedQuery(**{"states": ALL, **said}, limit=limit, before=before)
        found = await bench.backend.search.ended(query)
        assert len(found.records) <= limit
        ids += [record.id for record in found.records]
        before = found.next_place
        if before is None:
            return ids


async def number(bench: Bench, most: int = 10_000, **said: Any) -> int:
    """How many ended tasks are counted."""
    return (await bench.backend.search.count(EndedQuery(**{"states": ALL, **said}), most)).number


async def soon(bench: Bench, expected: Sequence[str], **said: Any) -> None:
    """See to it that these are found, as soon as the index has caught up."""

    async def is_found() -> bool:
        return await find(bench, **said) == list(expected)

    await eventually(is_found, bench.kit.deadline)


def ways(bench: Bench) -> list[dict[str, Any]]:
    """Two ways to ask for the tasks of a tenant that has all of the bench."""
    return [{"key": Key.TENANT, "value": "acme"}, {"queues": [bench.queue]}]


class FindingRules(Kit):
    """Ended tasks are found by name, tenant, tag, error and fingerprint, the newest end first."""

    async def test_each_key_finds_its_tasks(self, bench: Bench) -> None:
        mail = await ended(bench, name="mail.send", tenant="acme", tags=("vip", "b c"))
        dead = await ended(bench, Bury("rejected", WRONG), name="mail.send", tenant="other")
        await ended(bench, name="mail.sen", tags=("vi",))
        last = await ended(bench, Fail("exhausted", Failure("OSError", "no")), tenant="acme", tags=("vip",))
        cases: list[tuple[Key, str, list[TaskRecord]]] = [
            (Key.NAME, "mail.send", [dead, mail]),
            (Key.TENANT, "acme", [last, mail]),
            (Key.TAG, "vip", [last, mail]),
            (Key.TAG, "b c", [mail]),
            (Key.ERROR, "TimeoutError", [dead]),
            (Key.ERROR, "OSError", [last]),
            (Key.FINGERPRINT, "f1", [dead]),
            (Key.NAME, "mail", []),
        ]
        for key, value, expected in cases:
            await soon(bench, [record.id for record in expected], key=key, value=value)
            count = await bench.backend.search.count(EndedQuery(states=ALL, key=key, value=value))
            assert count == (len(expected), True), (key, value)

    async def test_a_failure_of_any_text_ends_its_task_and_is_found(self, bench: Bench) -> None:
        text = 'NUL \x00, half a pair \ud800, {"type":"Fake","fingerprint":"fake"}'
        failures = [Failure("OSError", text, text, "f1"), Failure("größe.Ü", text, "", 'f"2\\')]
        for failure in failures:
            delivery = await bench.running()
            assert await bench.settle(delivery, Retry(0.0, failure)) == SettleStatus.APPLIED
            record = await bench.apply(await bench.take_one(), Complete(b"1"))
            assert record.result == b"1"
            for key, value in ((Key.ERROR, failure.type), (Key.FINGERPRINT, failure.fingerprint)):
                await soon(bench, [record.id], key=key, value=value)
                assert value in (await bench.backend.search.values(key)).values
        assert await find(bench, key=Key.ERROR, value="Fake") == []
        assert await find(bench, key=Key.FINGERPRINT, value="fake") == []

    async def test_what_is_found_is_whole(self, bench: Bench) -> None:
        task = await ended(bench, Bury("rejected", WRONG), name="mail.send", tags=("vip",))
        await soon(bench, [task.id], key=Key.TAG, value="vip")
        found = await bench.backend.search.ended(EndedQuery(states=ALL, key=Key.TAG, value="vip"))
        assert list(found.records) == [await bench.record(task.id)]
        assert found.records[0].tags == ("vip",)

    async def test_only_the_states_asked_for_are_found(self, bench: Bench) -> None:
        settlements: list[Settlement] = [Complete(), Bury("rejected", WRONG), Fail("exhausted", WRONG), Cancel()]
        tasks = [await ended(bench, settlement, tenant="acme") for settlement in settlements]
        waiting = await bench.put(tenant="acme")
        await soon(bench, [task.id for task in reversed(tasks)], key=Key.TENANT, value="acme")
        for task in tasks:
            assert await find(bench, states=(task.state,), key=Key.TENANT, value="acme") == [task.id]
            assert await number(bench, states=(task.state,), key=Key.TENANT, value="acme") == 1
        assert waiting.id not in await find(bench, queues=[bench.queue])

    async def test_all_that_have_ended_are_found_by_queue_and_time(self, bench: Bench) -> None:
        other, third = bench.beside("other"), bench.beside("third")
        tasks = [await ended(each) for each in (bench, other, bench, third, other)]
        dead = await ended(bench, Bury("rejected", WRONG))
        ids = [task.id for task in tasks]
        assert await find(bench, queues=[bench.queue, other.queue]) == [dead.id, ids[4], ids[2], ids[1], ids[0]]
        assert await find(bench, queues=[third.queue], limit=1) == [ids[3]]
        assert await find(bench, queues=[bench.queue, other.queue], states=(TaskState.DEAD,)) == [dead.id]
        assert await find(bench, queues=[]) == []
        since, until = (task.completed_at for task in (tasks[1], tasks[4]))
        found = await find(bench, queues=[bench.queue, other.queue], since=since, until=until)
        assert found == [ids[2], ids[1]]
        await soon(bench, [dead.id, *reversed(ids)], key=Key.NAME, value=dead.name)
        for states, there in ((ALL, 3), ((TaskState.DEAD,), 0), ((TaskState.COMPLETED,), 3)):
            query = EndedQuery(states=states, since=since, until=until)
            assert await bench.backend.search.count(query) == (there, True)
            assert await bench.backend.search.count(query, 2) == (min(there, 2), there < 2)

    async def test_times_bound_what_a_key_finds(self, bench: Bench) -> None:
        tasks = [await ended(bench, tenant="acme") for _ in range(4)]
        await soon(bench, [task.id for task in reversed(tasks)], key=Key.TENANT, value="acme")
        since, until = tasks[1].completed_at, tasks[3].completed_at
        said: dict[str, Any] = {"key": Key.TENANT, "value": "acme", "since": since, "until": until}
        assert await find(bench, **said) == [tasks[2].id, tasks[1].id]
        assert await number(bench, **said) == 2
        assert until is not None
        assert await find(bench, **{**said, "since": until + timedelta(seconds=1), "until": None}) == []

    async def test_pages_hold_each_task_once(self, bench: Bench) -> None:
        ids = await bench.put_many(11, tenant="acme", name="mail.send")
        for delivery in await bench.take(11):
            # Several may end at the same instant: then the greater id stands first.
            await bench.apply(delivery, Complete() if delivery.id != ids[3] else Bury("rejected", WRONG))
        for said in ways(bench):
            records = [record for id in ids if (record := await bench.backend.inspector.get(id))]
            records.sort(key=lambda record: (record.completed_at or record.created_at, record.id), reverse=True)
            expected = [record.id for record in records]
            await soon(bench, expected, **said)
            for limit in (1, 4, 5, 11):
                assert await find(bench, limit, **said) == expected

    async def test_a_count_stops_where_it_is_told(self, bench: Bench) -> None:
        ids = await bench.put_many(7, name="mail.send")
        await bench.backend.broker.cancel(ids)
        await soon(bench, sorted(ids, reverse=True), key=Key.NAME, value="mail.send")
        query = EndedQuery(states=ALL, key=Key.NAME, value="mail.send", limit=1)
        counts = [await bench.backend.search.count(query, most) for most in (3, 7, 8)]
        assert counts == [(3, False), (7, False), (7, True)]

    async def test_what_starts_anew_or_is_forgotten_is_found_no_more(self, bench: Bench) -> None:
        kept, redriven, discarded = [
            await ended(bench, Bury("rejected", WRONG), tenant="acme", tags=("vip",)) for _ in range(3)
        ]
        said: list[dict[str, Any]] = [
            {"key": Key.TENANT, "value": "acme"},
            {"key": Key.TAG, "value": "vip"},
            {"key": Key.ERROR, "value": "TimeoutError"},
            {"queues": [bench.queue]},
        ]
        await soon(bench, [discarded.id, redriven.id, kept.id], **said[0])
        await bench.backend.inspector.redrive([redriven.id])
        await bench.backend.inspector.discard([discarded.id])
        for each in said:
            assert await find(bench, **each) == [kept.id]
        assert await number(bench, key=Key.TENANT, value="acme") == 1
        again = await bench.apply(await bench.take_one(), Complete())
        await soon(bench, [again.id, kept.id], key=Key.TENANT, value="acme")

    async def test_what_was_pruned_is_found_no_more(self, bench: Bench) -> None:
        await ended(bench, tenant="acme", retention=bench.short)
        kept = await ended(bench, tenant="acme")
        await bench.backend.search.catch_up()
        await bench.lapse()
        await bench.backend.maintenance.prune()
        assert await find(bench, key=Key.TENANT, value="acme") == [kept.id]
        assert await number(bench, key=Key.TENANT, value="acme") == 1

    async def test_values_are_told_by_their_beginning(self, bench: Bench) -> None:
        for name in ("mail.send", "mail.read", "images.draw", "mail.send"):
            await ended(bench, Bury("rejected", WRONG), name=name, tags=("a", "b"), tenant="acme")
        await bench.put(name="mail.waits")
        search = bench.backend.search
        await soon(bench, await find(bench, queues=[bench.queue]), key=Key.TENANT, value="acme")
        assert list((await search.values(Key.NAME)).values) == ["images.draw", "mail.read", "mail.send"]
        assert list((await search.values(Key.NAME, "mail.")).values) == ["mail.read", "mail.send"]
        assert list((await search.values(Key.NAME, limit=1)).values) == ["images.draw"]
        assert list((await search.values(Key.TAG)).values) == ["a", "b"]
        assert list((await search.values(Key.TENANT, "x")).values) == []
        assert list((await search.values(Key.ERROR)).values) == ["TimeoutError"]
        assert list((await search.values(Key.FINGERPRINT)).values) == ["f1"]

    async def test_a_page_goes_on_from_a_place_where_nothing_stands(self, bench: Bench) -> None:
        first, second = await ended(bench, tenant="acme"), await ended(bench, tenant="acme")
        await soon(bench, [second.id, first.id], key=Key.TENANT, value="acme")
        assert second.completed_at is not None
        for said in ways(bench):
            query = EndedQuery(states=ALL, before=Place(second.completed_at, NOBODY), **said)
            assert [record.id for record in (await bench.backend.search.ended(query)).records] == [first.id]
