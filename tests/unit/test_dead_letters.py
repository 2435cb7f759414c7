"""The dead-letter queue on a store whose time is turned by hand: order, bounds, cursors, counts."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App, Failure, InvalidOption, TaskNotFound, TaskState, WouldBlock
from taskq.dead_letters import DeadFilter, DeadLetters, DeadPage
from taskq.dead_scan import PAGE
from taskq.domain.outcome import Bury, Complete
from taskq.ports import Inspector, TaskQuery
from taskq.testing.clock import VirtualClock
from tests.unit.support import BROKEN, buried, claim, settle

BURY = Bury("exhausted", BROKEN)
Buried = Callable[..., Awaitable[str]]


@pytest.fixture
def die(app: App, clock: VirtualClock) -> Buried:
    """Bury a task, a second after the one before."""

    async def die(*arguments: Any, **options: Any) -> str:
        clock.advance(1.0)
        return await buried(app, *arguments, **options)

    return die


async def pages(app: App, **options: Any) -> list[DeadPage]:
    """All pages, to the last."""
    found = [await app.dead_letters.alist(**options)]
    while found[-1].next_cursor is not None:
        found.append(await app.dead_letters.alist(**options, cursor=found[-1].next_cursor))
    return found


def ids(*found: DeadPage) -> list[str]:
    return [record.id for page in found for record in page.letters]


async def test_a_list_goes_from_the_newest_to_the_oldest_through_all_queues(app: App, die: Buried) -> None:
    died = [await die(queue=queue) for queue in ("b", "a", "c", "a", "b", "b")]
    page = await app.dead_letters.alist()
    assert ids(page) == died[::-1]
    assert (page.looked_at, page.is_complete) == (6, True)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 12])
async def test_pages_hold_each_letter_once(app: App, die: Buried, limit: int) -> None:
    died = [await die(queue="abc"[number % 3]) for number in range(12)]
    found = await pages(app, limit=limit)
    assert ids(*found) == died[::-1]
    assert all(len(page.letters) <= limit for page in found)


@pytest.mark.parametrize("limit", [1, 5, 7])
async def test_pages_hold_each_letter_once_where_many_died_at_one_instant(app: App, limit: int) -> None:
    died = {await buried(app, queue="abc"[number % 3]) for number in range(12)}
    listed = ids(*await pages(app, limit=limit))
    assert (len(listed), set(listed)) == (12, died)


async def test_pages_go_on_where_the_last_one_seen_has_gone(app: App, die: Buried) -> None:
    died = [await die(queue="ab"[number % 2]) for number in range(6)]
    first = await app.dead_letters.alist(limit=2)
    await app.dead_letters.apurge(ids(first))
    assert ids(await app.dead_letters.alist(limit=9, cursor=first.next_cursor)) == died[3::-1]


async def test_what_dies_between_two_pages_is_not_in_the_second(app: App, die: Buried) -> None:
    died = [await die(queue="ab"[number % 2]) for number in range(6)]
    first = await app.dead_letters.alist(limit=2)
    for number in range(2 * PAGE):
        await die(queue="ab"[number % 2])
    assert ids(*[await app.dead_letters.alist(limit=9, cursor=first.next_cursor)]) == died[3::-1]


async def test_a_scan_is_bounded_and_goes_on(app: App, die: Buried) -> None:
    wanted = await die("sms.send")
    for _ in range(25):
        await die()
    found = await pages(app, filter=DeadFilter(name="sms.*"), scan=10)
    assert [page.looked_at for page in found] == [10, 10, 6]
    assert ids(*found) == [wanted]


async def test_a_scan_ends_at_what_is_too_old(app: App, die: Buried, clock: VirtualClock) -> None:
    await die()
    await die()
    clock.advance(3 * 3600.0)
    young = await die()
    page = await app.dead_letters.alist(DeadFilter(since=datetime.fromtimestamp(clock.now(), UTC) - timedelta(hours=1)))
    assert (ids(page), page.looked_at, page.is_complete) == ([young], 1, True)


async def test_a_backend_will_do_for_an_application(app: App, die: Buried) -> None:
    died = await die()
    letters = DeadLetters(await app.backend())
    assert ids(await letters.alist()) == [died]
    assert (await letters.aredrive(died)).moved == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda letters: letters.alist(limit=0), "limit must be a whole number over 0, not 0"),
        (lambda letters: letters.alist(scan=1.5), "scan must be a whole number over 0, not 1.5"),
        (lambda letters: letters.alist(cursor="nonsense"), "'nonsense' is not a cursor"),
        (lambda letters: letters.alist(cursor="e30="), "'e30=' is not a cursor"),
        (lambda letters: letters.alist("mail.*"), "filter must be a DeadFilter"),
        (lambda letters: letters.agroups(scan=True), "scan must be a whole number over 0, not True"),
        (lambda letters: letters.aredrive("x", queue="a b"), "queue 'a b'"),
        (lambda letters: letters.aredrive("x", limit=-1), "limit must be a whole number over 0, not -1"),
        (lambda letters: letters.aredrive([7]), "an id must be text, not 7"),
        (lambda letters: letters.aredrive([["x"]]), r"an id must be text, not \['x'\]"),
        (lambda letters: letters.apurge(None), "give an id, several, or a DeadFilter"),
        (lambda letters: letters.apurge(DeadFilter(), limit=0), "limit must be a whole number over 0, not 0"),
    ],
)
async def test_wrong_arguments(app: App, call: Callable[[DeadLetters], Awaitable[Any]], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        await call(app.dead_letters)


@pytest.mark.parametrize(
    "text", ["[{},{}]", '[["2030-01-01T00:00:00","mail","x"],{}]', '[["x"],{}]', "[[], {}]", "[" * 5000]
)
async def test_a_cursor_that_somebody_made_up_is_refused(app: App, text: str) -> None:
    await buried(app)
    with pytest.raises(InvalidOption, match=r"is not a cursor of an earlier page$"):
        await app.dead_letters.alist(cursor=urlsafe_b64encode(text.encode()).decode())


async def test_a_blocking_call_where_a_loop_runs_names_its_twin(app: App) -> None:
    with pytest.raises(WouldBlock, match=r"dead_letters\.list\(\) would .* `await dead_letters\.alist\(\)`"):
        app.dead_letters.list()


# ------------------------------------------------------------ groups


async def test_groups_count_alike_failures_the_most_frequent_first(app: App, die: Buried) -> None:
    rare = await die("sms.send", failure=Failure("KeyError", "'x'", "", "f2"))
    first = await die(queue="slow")
    await die("mail.read")
    last = await die()
    found = await app.dead_letters.agroups()
    assert (found.total, found.looked_at, found.is_complete) == (4, 4, True)
    often, seldom = found.groups
    assert (often.count, often.fingerprint, often.example) == (3, BROKEN.fingerprint, last)
    assert (often.queues, often.names) == ({"default", "slow"}, {"mail.send", "mail.read"})
    assert often.error == "ConnectionError: no route to host"
    ends = [(await app.dead_letters.ashow(id)).completed_at for id in (first, last)]
    assert [often.first_seen, often.last_seen] == ends
    assert (seldom.count, seldom.example, seldom.error) == (1, rare, "KeyError: 'x'")


async def test_failures_without_a_fingerprint_are_grouped_by_their_reason(app: App, die: Buried) -> None:
    for reason in ("poison", "rejected", "poison"):
        await die(reason=reason, failure=Failure("E", "x"))
    assert [(group.reason, group.count) for group in (await app.dead_letters.agroups()).groups] == [
        ("poison", 2),
        ("rejected", 1),
    ]


async def test_groups_say_where_they_have_not_looked_at_all(app: App, die: Buried) -> None:
    for _ in range(5):
        await die()
    found = await app.dead_letters.agroups(scan=3)
    assert (found.total, found.looked_at, found.is_complete) == (3, 3, False)


# ------------------------------------------------------------ redrive, purge


async def test_a_redrive_goes_from_the_newest_by_a_filter_and_in_the_order_of_the_ids(app: App, die: Buried) -> None:
    died = [await die() for _ in range(3)]
    await app.dead_letters.aredrive(DeadFilter())
    held = [await claim(app) for _ in died]
    assert [delivery.id for delivery in held] == died[::-1]
    for delivery in held:
        await settle(app, delivery, BURY)
    named = [died[1], died[0], died[2]]
    await app.dead_letters.aredrive(named)
    assert [(await claim(app)).id for _ in named] == named


async def test_a_redrive_by_a_filter_takes_what_fits_in_steps(app: App, die: Buried) -> None:
    for number in range(250):
        await die("mail.send" if number % 5 else "sms.send")
    done = await app.dead_letters.aredrive(DeadFilter(name="mail.*"), queue="again")
    assert (done.moved, done.held, done.gone, done.looked_at) == (200, 0, 0, 250)
    counts = await (await app.backend()).inspector.counts()
    assert counts["again"] == {TaskState.PENDING: 200}
    assert counts["default"] == {TaskState.DEAD: 50}


@pytest.mark.parametrize("limit", [1, 100, 130])
async def test_a_redrive_takes_no_more_than_its_limit(app: App, die: Buried, limit: int) -> None:
    for _ in range(150):
        await die()
    assert (await app.dead_letters.aredrive(DeadFilter(), limit=limit)).moved == limit
    assert (await app.dead_letters.agroups()).total == 150 - limit


async def test_a_redrive_ends_while_what_it_moves_dies_again(
    app: App, die: Buried, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(120):
        await die(queue="ab"[number % 2])
    inspector = (await app.backend()).inspector
    redrive = inspector.redrive

    async def redrive_and_die(ids: Any, queue: str | None = None) -> Any:
        answers = await redrive(ids, queue)
        for name in ("a", "b"):
            while (await inspector.counts())[name].get(TaskState.PENDING):
                await settle(app, await claim(app, name), BURY)
        return answers

    monkeypatch.setattr(type(inspector), "redrive", staticmethod(redrive_and_die))
    assert (await app.dead_letters.aredrive(DeadFilter(), queue="a")).moved == 120
    assert (await app.dead_letters.agroups()).total == 120


async def test_ids_that_are_no_dead_letters_are_counted_as_gone(app: App, die: Buried) -> None:
    died = await die()
    done = await app.dead_letters.aredrive([died, died, "no-such"])
    assert (done.moved, done.gone, done.looked_at) == (1, 1, 2)
    assert (await app.dead_letters.aredrive(died)).gone == 1


async def test_a_purge_by_ids_forgets_no_task_that_did_well(app: App, die: Buried) -> None:
    dead, failed = await die(), await die(dead_letter=False)
    handle = await app.aenqueue("mail.send")
    await settle(app, await claim(app), Complete(b"1"))
    waits = await app.aenqueue("mail.send")
    done = await app.dead_letters.apurge([dead, failed, handle.id, waits.id, "no-such"])
    assert (done.purged, done.gone) == (2, 3)
    assert await handle.astatus() is TaskState.COMPLETED
    with pytest.raises(TaskNotFound, match="no record of task"):
        await app.dead_letters.ashow(dead)


async def test_a_purge_by_a_filter(app: App, die: Buried) -> None:
    for number in range(210):
        await die(queue="ab"[number % 2])
    assert (await app.dead_letters.apurge(DeadFilter(queue="a"), limit=5)).purged == 5
    done = await app.dead_letters.apurge(DeadFilter(queue="a"))
    assert (done.purged, done.gone, done.looked_at) == (100, 0, 100)
    assert (await app.dead_letters.agroups()).total == 105


async def test_show_is_of_dead_letters_only(app: App, die: Buried) -> None:
    assert (await app.dead_letters.ashow(await die(dead_letter=False))).state is TaskState.FAILED
    died = await die()
    await app.dead_letters.aredrive(died)
    with pytest.raises(TaskNotFound, match="is no dead letter: it is pending"):
        await app.dead_letters.ashow(died)


# ------------------------------------------------------------ pages that hold nothing


class Hollow:
    """An inspector most of whose pages are empty, as after many redrives."""

    def __init__(self, inner: Inspector) -> None:
        self._inner = inner
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def list(self, query: TaskQuery) -> Any:
        self.asked += 1
        page = await self._inner.list(query)
        return page._replace(records=[]) if self.asked % 250 else page


async def test_empty_pages_count_against_the_bound_too(app: App, die: Buried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.dead_scan.PAGE", 1)
    for _ in range(300):
        await die()
    backend: Any = await app.backend()
    monkeypatch.setattr(backend, "inspector", hollow := Hollow(backend.inspector))
    first = await app.dead_letters.alist()
    assert (len(first.letters), hollow.asked, first.is_complete) == (0, 100, False)
    assert len(ids(*await pages(app))) == 1
