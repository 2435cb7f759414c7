"""The audit trail is kept as long as it is to be: trimmed in order it is whole, cut off by hand it is not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from taskq import App
from taskq.assumed import Assumed
from taskq.config import AuditRetention, Settings
from taskq.errors import ConfigError
from taskq.management import AuditEntry, AuditKeeper, AuditTrail, Head, Management, Reach
from taskq.management.audit import PAGE, TRIM
from taskq.management.audit_keeper import EVERY
from taskq.ports import Entry
from tests.management.audit_book import Shop, filled, take_out
from tests.management.conftest import ADMIN


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def trail(shop: Shop) -> AuditTrail:
    return AuditTrail(shop)  # type: ignore[arg-type]


def _aged(shop: Shop, days: float, *numbers: int) -> None:
    """Make entries older, and a chain of all again."""
    book, previous = shop.journal.entries, ""
    for number in sorted(book):
        entry = msgspec.json.decode(book[number], type=AuditEntry)
        at = entry.at - timedelta(days=days if number in numbers else 0)
        book[number] = msgspec.json.encode(msgspec.structs.replace(entry, at=at, previous=previous or entry.previous))
        previous = sha256(book[number]).hexdigest()


async def test_what_is_too_much_is_trimmed_too(shop: Shop, trail: AuditTrail) -> None:
    await filled(trail, 10)
    assert await trail.trim(ADMIN, timedelta(days=1), 4) == 6
    assert [entry.number async for entry in trail.entries()] == [7, 8, 9, 10, 11]
    found = await trail.verify()
    assert (found.entries, found.faults) == (5, ())
    reach = await trail.reach()
    assert (reach.first, reach.entries) == (7, 5)
    assert await trail.trim(ADMIN, timedelta(days=1), 50) == 0
    take_out(7)(shop.journal)
    assert (await trail.verify()).faults == (
        "the entries before 8 are missing, and were not trimmed: they were cut off",
    )


async def test_a_trail_without_entries_reaches_nowhere(trail: AuditTrail) -> None:
    assert await trail.reach() == Reach(0, None, 0)


async def test_what_is_trimmed_during_the_look_is_no_fault(
    shop: Shop, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(trail, PAGE + 10)
    read, is_trimmed = shop.journal.read, [False]

    async def busy(name: str, after: int = 0, limit: int = 100) -> list[Entry]:
        found = await read(name, after, limit)
        if limit == PAGE and not is_trimmed[0]:
            is_trimmed[0] = True
            await AuditTrail(shop).trim(ADMIN, timedelta(days=1), 5)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(shop.journal, "read", busy)
    found = await trail.verify()
    assert is_trimmed[0]
    assert (found.entries, found.faults) == (6, ())


async def test_what_is_taken_out_during_the_look_is_a_fault(
    shop: Shop, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(trail, PAGE + 10)
    read = shop.journal.read

    async def robbed(name: str, after: int = 0, limit: int = 100) -> list[Entry]:
        found = await read(name, after, limit)
        for number in range(1, PAGE + 5):
            shop.journal.entries.pop(number, None)
        return found

    monkeypatch.setattr(shop.journal, "read", robbed)
    assert (await trail.verify()).faults == (
        f"the entries before {PAGE + 5} are missing, and were not trimmed: they were cut off",
    )


async def test_a_head_that_is_trimmed_while_it_is_read_is_read_anew(
    shop: Shop, trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(trail, 3)
    newest, is_trimmed = shop.journal.newest, [False]

    async def stale(name: str) -> int:
        number = await newest(name)
        if not is_trimmed[0]:
            is_trimmed[0] = True
            await AuditTrail(shop).trim(ADMIN, timedelta(0))  # type: ignore[arg-type]
        return number

    monkeypatch.setattr(shop.journal, "newest", stale)
    assert await trail.head() == Head(4, sha256(shop.journal.entries[4]).hexdigest())


async def test_trimmed_while_others_append(app: App) -> None:
    backend = await app.backend()
    writers = [AuditTrail(backend) for _ in range(3)]
    await asyncio.gather(*(filled(writer, 5) for writer in writers))
    cut = AuditTrail(backend)
    await asyncio.gather(
        *(filled(writer, 5) for writer in writers),
        *(cut.trim(ADMIN, timedelta(days=1), 8) for _ in range(3)),
        *(AuditTrail(backend).verify() for _ in range(3)),
    )
    found = await cut.verify()
    assert found.faults == ()
    assert found.head.number >= 31


class Office:
    """An application whose store is a shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.settings = Settings()
        self.assumed = Assumed()
        self.holder = ""
        shop.registry = self  # type: ignore[attr-defined]

    async def backend(self) -> Shop:
        return self.shop

    async def take_duty(self, duty: str, holder: str, seconds: float) -> bool:
        assert duty == "audit"
        if self.holder not in ("", holder):
            return False
        self.holder = holder if seconds else ""
        return True


async def test_the_trail_is_kept_as_short_as_it_is_to_be(shop: Shop, trail: AuditTrail) -> None:
    keeper = AuditKeeper(Office(shop), "p1")  # type: ignore[arg-type]
    await filled(trail, 6)
    _aged(shop, 92, 1, 2, 3)
    trail = AuditTrail(shop)  # type: ignore[arg-type]
    assert (await trail.verify()).faults == ()
    assert await keeper.tick() == EVERY
    entries = [entry async for entry in trail.entries()]
    assert [entry.number for entry in entries] == [4, 5, 6, 7]
    assert (entries[-1].actor, entries[-1].action) == ("taskq", TRIM)
    assert (await trail.verify()).faults == ()
    assert await keeper.tick() == EVERY
    assert shop.journal.last == 7, "no cut, no entry"


async def test_it_is_not_cut_for_every_single_entry(shop: Shop, trail: AuditTrail) -> None:
    keeper = AuditKeeper(Office(shop), "p1", AuditRetention(most=1000))  # type: ignore[arg-type]
    await filled(trail, 1000)
    _aged(shop, 90.5, 1)
    await keeper.tick()
    assert shop.journal.last == 1000
    await filled(AuditTrail(shop), 1)  # type: ignore[arg-type]
    await keeper.tick()
    assert len(shop.journal.entries) == 991, "a hundredth at once, and the entry about it"
    assert (await trail.verify()).faults == ()


async def test_one_keeper_at_a_time(shop: Shop) -> None:
    office = Office(shop)
    one, other = AuditKeeper(office, "p1"), AuditKeeper(office, "p2")  # type: ignore[arg-type]
    assert await one.tick() == EVERY
    assert await other.tick() < EVERY
    await other.farewell()
    assert office.holder == "p1"
    await one.farewell()
    assert await other.tick() == EVERY


async def test_the_keeper_works_on_each_store(app: App) -> None:
    trail = AuditTrail(await app.backend())
    await filled(trail, 1005)
    keeper = AuditKeeper(app, "p1", AuditRetention(most=1000))
    await keeper.tick()
    found = await trail.verify()
    assert (found.entries, found.faults) == (991, ())
    await keeper.farewell()


async def test_the_desk_trims_as_the_application_says(management: Management) -> None:
    await management.queues.pause("mail", "why")
    assert management.audit.retention == AuditRetention()
    assert await management.audit.trim() == 0
    assert (await management.audit.reach()).entries == 1


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"age": timedelta(minutes=1)}, "age must be a timedelta of an hour to ten years"),
        ({"age": 90}, "age must be a timedelta of an hour to ten years, not 90"),
        ({"most": 999}, "most must be a whole number from 1,000 to 10,000,000, not 999"),
    ],
)
def test_a_retention_that_cannot_be(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        AuditRetention(**said)
    with pytest.raises(ConfigError, match=r"audit must be taskq\.config\.AuditRetention"):
        Settings(audit=90)  # type: ignore[arg-type]
