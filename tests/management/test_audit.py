"""The audit trail: what it notes, and that no change of it goes unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from taskq import App
from taskq.errors import BackendUnavailable
from taskq.management import Actor, AuditEntry, AuditTrail, Head, Management
from taskq.management.audit import FIRST, PAGE, TRIM
from tests.management.audit_book import Book, Shop, filled, take_out
from tests.management.conftest import ADMIN


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def trail(shop: Shop) -> AuditTrail:
    return AuditTrail(shop)  # type: ignore[arg-type]


async def test_an_entry_says_who_did_what(trail: AuditTrail) -> None:
    actor = Actor("bob", ["operator"], tenant="acme", request_id="r2")
    entry = await trail.note(actor, "tasks.cancel", {"ids": ["5b"]}, before={"n": 1}, after={"reason": "enough"})
    assert (entry.number, entry.actor, entry.action, entry.tenant, entry.request_id) == (
        *(1, "bob", "tasks.cancel", "acme", "r2"),
    )
    assert (entry.on, entry.before, entry.after) == ({"ids": ["5b"]}, {"n": 1}, {"reason": "enough"})
    assert entry.previous == FIRST
    assert [each async for each in trail.entries()] == [entry]


async def test_entries_are_a_chain(trail: AuditTrail) -> None:
    entries = await filled(trail, 3)
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.previous for entry in entries[1:]] == [entry.digest for entry in entries[:-1]]
    assert await trail.head() == Head(3, entries[-1].digest)
    found = await trail.verify()
    assert (found.entries, found.head, found.faults) == (3, Head(3, entries[-1].digest), ())


async def test_a_trail_without_entries_is_whole(trail: AuditTrail) -> None:
    assert await trail.head() == Head(0, FIRST)
    assert (await trail.verify()).faults == ()
    assert await trail.trim(ADMIN, timedelta(0)) == 0


async def test_each_entry_is_logged_with_its_digest(trail: AuditTrail, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.audit")
    [entry] = await filled(trail, 1)
    [record] = caplog.records
    assert record.getMessage() == f"audit 1: ann queue.pause {entry.digest}"
    assert record.taskq["digest"] == entry.digest  # type: ignore[attr-defined]


def change(which: int, **fields: object) -> Callable[[Book], None]:
    def act(book: Book) -> None:
        entry = msgspec.json.decode(book.entries[which], type=AuditEntry)
        book.entries[which] = msgspec.json.encode(msgspec.structs.replace(entry, **fields))

    return act


def cut_and_forget(number: int) -> Callable[[Book], None]:
    def act(book: Book) -> None:
        del book.entries[number]
        book.last = number - 1

    return act


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (change(3, actor="eve"), "entry 4 does not fit the one before: one of them was changed"),
        (change(5, actor="eve"), "entry 5 is not the one that was noted: it was changed"),
        (change(2, number=7), "entry 2 says that it is 7: it was changed"),
        (lambda book: book.entries.update({2: b"{}"}), "entry 2 cannot be read: it was changed"),
        (take_out(3), "the entries 3 to 3 are missing: they were taken out"),
        (take_out(2, 3), "the entries 2 to 3 are missing: they were taken out"),
        (take_out(1), "the entries before 2 are missing, and were not trimmed: they were cut off"),
        (take_out(5), "the entries 5 to 5 are missing: they were cut off"),
        (take_out(1, 2, 3, 4, 5), "the entries 1 to 5 are missing: they were cut off"),
        (cut_and_forget(5), "entry 5, which was noted, is not there: it was trimmed or cut off"),
    ],
)  # fmt: skip
async def test_what_was_done_to_the_trail_is_found(
    shop: Shop, trail: AuditTrail, act: Callable[[Book], None], fault: str
) -> None:
    known = Head(5, (await filled(trail, 5))[-1].digest)
    act(shop.journal)
    assert fault in (await trail.verify(known)).faults


async def test_a_trail_that_was_trimmed_in_order_is_whole(shop: Shop, trail: AuditTrail) -> None:
    entries = await filled(trail, 3)
    assert await trail.trim(ADMIN, timedelta(0)) == 3
    [entry] = [entry async for entry in trail.entries()]
    assert (entry.number, entry.action) == (4, TRIM)
    assert entry.on == {"through": 3, "digest": entries[-1].digest}
    await filled(trail, 2)
    assert (await trail.verify()).faults == ()
    take_out(4)(shop.journal)
    assert (await trail.verify()).faults == (
        "the entries before 5 are missing, and were not trimmed: they were cut off",
    )


async def test_a_trail_that_was_written_anew_is_not_what_was_noted(shop: Shop, trail: AuditTrail) -> None:
    known = Head(5, (await filled(trail, 5))[-1].digest)
    shop.journal.entries.clear()
    forged = AuditEntry(6, datetime.now(UTC), "ann", TRIM, FIRST, {"through": 5, "digest": FIRST})
    shop.journal.entries[6] = msgspec.json.encode(forged)
    shop.journal.last = 6
    assert (await trail.verify(known)).faults == ("entry 5, which was noted, is not there: it was trimmed or cut off",)


async def test_a_head_that_was_trimmed_last_is_known_by_the_entry_about_it(trail: AuditTrail) -> None:
    entries = await filled(trail, 3)
    await trail.trim(ADMIN, timedelta(0))
    assert (await trail.verify(Head(3, entries[-1].digest))).faults == ()
    assert (await trail.verify(Head(2, entries[1].digest))).faults == (
        "entry 2, which was noted, is not there: it was trimmed or cut off",
    )


async def test_a_trim_that_was_noted_and_not_done_is_no_fault(
    shop: Shop, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(trail, 3)
    await trail.trim(ADMIN, timedelta(0))
    await filled(trail, 2)

    async def broken(name: str, through: int) -> int:
        raise BackendUnavailable("gone")

    monkeypatch.setattr(shop.journal, "trim", broken)
    with pytest.raises(BackendUnavailable):
        await trail.trim(ADMIN, timedelta(0))
    assert (await trail.verify()).faults == ()


async def test_what_is_added_during_the_look_is_no_fault(
    shop: Shop, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(trail, 2)
    newest, added = shop.journal.newest, iter([3, 0])

    async def busy(name: str) -> int:
        number = await newest(name)
        await filled(AuditTrail(shop), next(added, 0))  # type: ignore[arg-type]
        return number

    monkeypatch.setattr(shop.journal, "newest", busy)
    found = await trail.verify()
    assert (found.entries, found.faults) == (5, ())


async def test_what_cannot_be_read_stops_nobody(shop: Shop, trail: AuditTrail) -> None:
    await filled(trail, 2)
    shop.journal.entries[2] = b"{}"
    entry = await AuditTrail(shop).note(ADMIN, "queue.pause")  # type: ignore[arg-type]
    assert entry.number == 3
    assert (await trail.verify()).faults == ("entry 2 cannot be read: it was changed",)
    assert [entry.action async for entry in trail.entries()] == ["queue.pause", "unreadable", "queue.pause"]


async def test_what_is_no_text_is_noted_all_the_same(trail: AuditTrail) -> None:
    await trail.note(ADMIN, "tasks.cancel", {"ids": ["5b"]}, after={"reason": "caf\udce9"})
    [entry] = [entry async for entry in trail.entries()]
    assert entry.after == {"reason": "caf?"}
    assert (await trail.verify()).faults == ()


async def test_an_age_beyond_all_times_trims_nothing(trail: AuditTrail) -> None:
    await filled(trail, 3)
    assert await trail.trim(ADMIN, timedelta(days=99_999_999)) == 0


async def test_only_old_entries_are_trimmed(trail: AuditTrail) -> None:
    await filled(trail, 3)
    assert await trail.trim(ADMIN, timedelta(hours=1)) == 0
    assert (await trail.verify()).entries == 3


async def test_a_long_trail_is_read_in_pages(trail: AuditTrail) -> None:
    await filled(trail, PAGE + 2)
    assert (await trail.verify()).entries == PAGE + 2
    assert len([entry async for entry in trail.entries(after=PAGE)]) == 2


async def test_of_many_who_write_at_once_each_is_heard(app: App) -> None:
    backend = await app.backend()
    trails = [AuditTrail(backend) for _ in range(4)]
    await asyncio.gather(*(trail.note(ADMIN, "queue.pause", {"n": n}) for n, trail in enumerate(trails * 3)))
    found = await trails[0].verify()
    assert (found.entries, found.faults) == (12, ())
    assert sorted([entry.on["n"] async for entry in trails[0].entries()]) == list(range(12))


async def test_the_desk_reads_for_those_who_may(management: Management) -> None:
    for n in range(5):
        await management.queues.pause("mail", f"reason {n}")
    newest = await management.audit.newest(2)
    assert [entry.number for entry in newest] == [5, 4]
    assert [entry.number for entry in await management.audit.newest(3, before=4)] == [3, 2, 1]
    assert [entry.number async for entry in management.audit.export()] == [1, 2, 3, 4, 5]
    assert (await management.audit.verify(await management.audit.head())).faults == ()
    assert await management.audit.trim(timedelta(0)) == 5
