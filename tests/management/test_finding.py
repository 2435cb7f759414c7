"""Finding and counting tasks with queries, on each store: what is found is what a look at every task finds."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from taskq import App, InvalidOption
from taskq.domain.envelope import seal
from taskq.domain.matching import matches
from taskq.domain.message import Message, Priority
from taskq.domain.outcome import Bury, Complete, Fail, Settlement
from taskq.domain.query import parse
from taskq.domain.record import Failure, TaskRecord
from taskq.headers import Headers, encode_headers
from taskq.management import Actor, Count, Forbidden, Management, Role
from taskq.management.finding import MOST, metadata_of
from taskq.management.walk import Mark
from taskq.ports import Counted, EndedQuery, Key, NewFlow, Settled, Values
from taskq.testing.conformance.bench import new_id
from tests.management.conftest import ADMIN
from tests.unit.support import buried

NAMES = ("mail.send", "mail.read", "draw")
QUERIES = (
    "",
    "state:live",
    "state:ended",
    "state:dead,failed queue:a",
    "queue:a,b -state:pending",
    "task:mail.send",
    "task:mail.*",
    "task:m*.send state:ended",
    "tag:vip",
    "tag:vip,new state:ended",
    "tag:vi*",
    "tag:vip tag:new",
    "tag:vip,old tag:new,vip state:ended",
    'tenant:"" state:ended',
    'tenant:""',
    "ended:>30000d",
    "ended:<1969-01-01",
    "created:>700000d",
    "tenant:acme",
    "tenant:acme state:completed",
    "error:OSError",
    "error:OSError,ValueError ended:<1h",
    "fingerprint:fp1 task:draw",
    "ended:>1h",
    "ended:<1h ended:>2001-01-01",
    "ended:<2001-01-01",
    "ended:>=2001-01-01 state:completed",
    "-ended:>1h",
    "created:>1h",
    "priority:>=high",
    "meta.plan:pro state:ended",
    "-meta.plan:pro queue:a",
    "exhausted",
    "task:nothing",
    "queue:nothing",
    "worker:w1 attempt:1",
)


async def populate(app: App, seed: int) -> list[str]:
    """Tasks of many kinds, some of which wait, run, or have ended; their ids."""
    dice, backend = random.Random(seed), await app.backend()
    messages = []
    for _ in range(80):
        queue, name, id = dice.choice("abc"), dice.choice(NAMES), ""
        id = new_id(backend.shard_of(queue))
        headers = encode_headers(Headers(metadata={"plan": dice.choice(["pro", "free"])}))
        messages.append(
            Message(
                id,
                name,
                seal(id, name, b"{}", headers),
                queue,
                dice.choice(list(Priority)),
                delay=dice.choice([None, None, None, 900.0]),
                tenant=dice.choice(["", "acme", "other"]),
                tags=tuple(dice.sample(["vip", "new", "old"], dice.randrange(3))),
                dead_letter=dice.random() < 0.7,
            )
        )
    await backend.broker.enqueue(messages)
    claim: dict[str, Any] = {"worker": "w1", "lease": 900.0, "request_id": str(uuid4()), "aging": 60.0}
    taken = (await backend.broker.fetch(["a", "b", "c"], 45, **claim)).deliveries
    ends: list[Settlement] = [
        Complete(),
        Bury("exhausted", Failure("OSError", "no", "", "fp1")),
        Fail("rejected", Failure("ValueError", "no", "", "fp2")),
    ]
    await backend.broker.settle([Settled(delivery, dice.choice(ends)) for delivery in taken[:35]])
    return [message.id for message in messages]


async def records(app: App, ids: list[str]) -> list[TaskRecord]:
    found = await (await app.backend()).inspector.get_many(ids)
    return [record for record in found if record is not None]


async def pages(management: Management, query: str, **options: Any) -> list[TaskRecord]:
    """What all pages hold, to the last."""
    found: list[TaskRecord] = []
    cursor = None
    while True:
        page = await management.tasks.find(query, cursor=cursor, **options)
        found += page.records
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_is_found_is_what_is_meant(app: App, management: Management, seed: int) -> None:
    there = await records(app, await populate(app, seed))
    for query in QUERIES:
        now = datetime.now(UTC)
        meant = sorted(record.id for record in there if matches(parse(query), record, now, metadata_of(record)))
        for options in ({"limit": 100}, {"limit": 3}, {"limit": 5, "scan": 7}):
            found = await pages(management, query, **options)
            assert sorted(record.id for record in found) == meant, (query, options)
        assert await management.tasks.count(query) == Count(len(meant), True), query


async def test_those_that_have_ended_come_last_and_the_newest_first(app: App, management: Management) -> None:
    await populate(app, 3)
    found = await pages(management, "", limit=7)
    states = [record.state.is_final for record in found]
    assert states == sorted(states)
    ends = [record.completed_at for record in found if record.completed_at]
    assert ends == sorted(ends, reverse=True)


async def test_pages_repeat_nothing_of_what_has_moved_away(app: App, management: Management) -> None:
    for n in range(7):
        await app.aenqueue("mail.send", {"n": n})
    page = await management.tasks.find("task:mail.*", limit=3)
    seen = [record.id for record in page.records]
    await management.tasks.cancel(seen[1:])
    rest = await management.tasks.find("task:mail.* state:pending", cursor=page.next_cursor)
    assert len(rest.records) == 4
    assert not {record.id for record in rest.records} & set(seen)


async def test_an_index_that_is_behind_is_not_believed(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    await buried(app)
    search = (await app.backend()).search

    async def values(key: Key, prefix: str = "", limit: int = 20) -> Values:
        return Values([], False)

    async def count(query: EndedQuery, most: int = 10_000) -> Counted:
        return Counted(1, False)

    monkeypatch.setattr(search, "values", values)
    monkeypatch.setattr(search, "count", count)
    assert len(await pages(management, "task:mail.* state:dead")) == 1
    assert str(await management.tasks.count("task:mail.send state:dead")) == "at least 1"


async def test_a_page_says_how_far_it_looked(app: App, management: Management) -> None:
    await populate(app, 4)
    page = await management.tasks.find("task:nothing state:ended", scan=10)
    assert (page.records, page.looked_at, page.is_complete) == ([], 0, True)
    page = await management.tasks.find("-task:draw meta.plan:nothing", scan=10)
    assert (page.records, page.looked_at, page.is_complete) == ([], 10, False)


async def test_tasks_are_found_by_id_and_by_flow(app: App, management: Management) -> None:
    backend = await app.backend()
    queue = "a"
    flow, *ids = (new_id(backend.shard_of(queue)) for _ in range(4))
    await backend.flows.create(NewFlow(flow, name="f"))
    await backend.broker.enqueue([Message(id, "draw", queue=queue, flow=flow) for id in ids[:2]])
    await backend.broker.enqueue([Message(ids[2], "draw", queue=queue)])
    assert [record.id for record in await pages(management, f"id:{ids[2]}")] == [ids[2]]
    assert [record.id for record in await pages(management, f"id:{ids[2]} state:dead")] == []
    several = await pages(management, f"id:{','.join(ids)},{uuid4()}", limit=1)
    assert sorted(record.id for record in several) == sorted(ids)
    for limit in (1, 10):
        found = await pages(management, f"workflow:{flow}", limit=limit)
        assert [record.id for record in found] == ids[:2]
    assert await management.tasks.count(f"workflow:{flow}") == Count(2, True)


async def test_nothing_of_what_a_task_was_told_is_on_a_page(app: App, management: Management) -> None:
    [id] = [message async for message in _one(app)]
    for record in (*await pages(management, ""), await management.tasks.show(id)):
        assert (record.body, record.result, record.progress, record.checkpoint, record.logs) == (
            b"",
            None,
            None,
            None,
            (),
        )
    assert (await management.tasks.show(id, payload=True)).body != b""


async def _one(app: App) -> Any:
    handle = await app.aenqueue("mail.send", {"to": "a@b.c"})
    yield handle.id


async def test_who_is_bound_to_a_tenant_finds_its_tasks_alone(app: App) -> None:
    ids = await populate(app, 5)
    bound = Management(app, Actor("bob", [Role.OPERATOR], tenant="acme"))
    own = sorted(record.id for record in await records(app, ids) if record.tenant == "acme")
    for query in ("", "tenant:other,acme"):
        assert sorted(record.id for record in await pages(bound, query)) == own
    assert await pages(bound, "tenant:other") == []
    assert (await bound.tasks.count()).number == len(own)
    assert (await bound.tasks.find("task:nothing")).looked_at == 0
    waiting = await Management(app, ADMIN).tasks.peek("c", 100)
    assert {record.tenant for record in await bound.tasks.peek("c", 100)} <= {"acme"}
    assert {record.tenant for record in waiting} > {"acme"}


async def test_who_may_not_look_finds_nothing(app: App) -> None:
    nobody = Management(app, Actor("eve", []))
    for look in (nobody.tasks.find(), nobody.tasks.count(), nobody.tasks.show("5b"), nobody.tasks.peek("a")):
        with pytest.raises(Forbidden):
            await look
    with pytest.raises(Forbidden, match="see arguments"):
        await Management(app, Actor("vic", [Role.VIEWER])).tasks.show("5b", payload=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "limit must be a whole number from 1 to 1,000, not 0"),
        ({"limit": 1001}, "limit must be"),
        ({"scan": 0}, "scan must be"),
        ({"cursor": "nonsense"}, "'nonsense' is not a cursor of an earlier page"),
        ({"cursor": "WzFd"}, "is not a cursor of an earlier page"),
        ({"cursor": Mark("ended", last="yesterday 5b").written()}, "'yesterday 5b' is not a cursor"),
        ({"query": "stat:dead"}, "there is no field 'stat'"),
    ],
)
async def test_what_cannot_be_asked_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        await Management(App("memory://"), ADMIN).tasks.find(**options)


async def test_a_count_that_was_not_ended_says_so() -> None:
    assert (str(Count(12, True)), str(Count(MOST, False))) == ("12", "at least 10,000")
