"""What is kept beside the tasks: documents with one writer a version, and journals that only grow at the end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from taskq.ports import Document, Documents, Entry, FigureRow, MetricsStore
from taskq.testing.conformance.bench import Bench
from taskq.testing.conformance.kit import FreshBackend, Kit

BINARY = bytes(range(256))


class DocumentRules(Kit):
    """A document is written whole, by whoever has read its newest version."""

    async def test_a_document_is_read_as_it_was_written(self, bench: Bench) -> None:
        documents = bench.backend.documents
        assert await documents.get("alert", "a b/ü") is None
        assert await documents.put("alert", "a b/ü", BINARY)
        assert await documents.get("alert", "a b/ü") == Document("a b/ü", BINARY, 1)
        assert await documents.put("alert", "a b/ü", b"", 1)
        assert await documents.get("alert", "a b/ü") == Document("a b/ü", b"", 2)
        assert await documents.get("job", "a b/ü") is None

    async def test_who_has_read_an_older_version_changes_nothing(self, bench: Bench) -> None:
        documents = bench.backend.documents
        assert not await documents.put("alert", "a", b"1", 1)
        assert await documents.put("alert", "a", b"1")
        assert await documents.put("alert", "a", b"2", 1)
        for version in (0, 1, 3):
            assert not await documents.put("alert", "a", b"3", version)
        assert await documents.get("alert", "a") == Document("a", b"2", 2)

    async def test_a_repeated_write_is_one(self, bench: Bench) -> None:
        documents = bench.backend.documents
        for _ in range(2):
            assert await documents.put("alert", "a", b"1")
        for _ in range(2):
            assert await documents.put("alert", "a", b"2", 1)
        assert await documents.get("alert", "a") == Document("a", b"2", 2)

    async def test_a_document_is_forgotten_in_the_version_that_was_read(self, bench: Bench) -> None:
        documents = bench.backend.documents
        await documents.put("alert", "a", b"1")
        assert not await documents.delete("alert", "a", 2)
        assert await documents.get("alert", "a") == Document("a", b"1", 1)
        for _ in range(2):
            assert await documents.delete("alert", "a", 1)
        assert await documents.get("alert", "a") is None
        assert await documents.put("alert", "a", b"again")

    async def test_documents_are_listed_by_their_ids_in_pages(self, bench: Bench) -> None:
        documents = bench.backend.documents
        ids = ["B", "a", "a-1", "a0", "b", "ä"]
        for id in reversed(ids):
            await documents.put("alert", id, id.encode())
        await documents.put("job", "other", b"")
        assert await self._pages(documents, 4) == [ids[:4], ids[4:]]
        assert await self._pages(documents, 3) == [ids[:3], ids[3:]]
        assert await self._pages(documents, 100) == [ids]
        page = await documents.list("alert")
        assert [document.data for document in page.documents] == [id.encode() for id in ids]

    @staticmethod
    async def _pages(documents: Documents, limit: int) -> list[list[str]]:
        pages: list[list[str]] = []
        cursor = None
        while not pages or cursor:
            page = await documents.list("alert", limit, cursor)
            pages.append([document.id for document in page.documents])
            cursor = page.next_cursor
        return pages

    async def test_of_many_writers_at_once_one_is_heard(self, bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            clones = [await stack.enter_async_context(bench.backend.clone()) for _ in range(3)]
            for version in range(3):
                said = [clones[n % 3].documents.put("alert", "a", b"%d" % n, version) for n in range(6)]
                assert (await asyncio.gather(*said)).count(True) == 1

    async def test_documents_stay_in_their_namespace(self, bench: Bench, fresh_backend: FreshBackend) -> None:
        await bench.backend.documents.put("alert", "a", b"1")
        await bench.backend.journal.append("audit", 1, b"1")
        async with fresh_backend() as elsewhere:
            assert await elsewhere.documents.get("alert", "a") is None
            assert (await elsewhere.documents.list("alert")).documents == []
            assert await elsewhere.journal.newest("audit") == 0


class JournalRules(Kit):
    """An entry is added by whoever knows the one before."""

    async def test_entries_are_read_in_their_order(self, bench: Bench) -> None:
        journal = bench.backend.journal
        entries = [Entry(n, b"%d" % n) for n in range(1, 12)]
        for entry in entries:
            assert await journal.append("audit", *entry)
        assert await journal.newest("audit") == 11
        assert list(await journal.read("audit")) == entries
        assert list(await journal.read("audit", limit=3)) == entries[:3]
        assert list(await journal.read("audit", after=3, limit=3)) == entries[3:6]
        assert list(await journal.read("audit", after=11)) == []
        assert list(await journal.read("other")) == []

    async def test_an_entry_out_of_turn_is_refused(self, bench: Bench) -> None:
        journal = bench.backend.journal
        assert not await journal.append("audit", 2, b"2")
        assert await journal.newest("audit") == 0
        assert await journal.append("audit", 1, BINARY)
        for number in (1, 3):
            assert not await journal.append("audit", number, b"other")
        assert list(await journal.read("audit")) == [Entry(1, BINARY)]
        assert await journal.append("another", 1, b"1")

    async def test_a_repeated_entry_is_one(self, bench: Bench) -> None:
        journal = bench.backend.journal
        for _ in range(2):
            assert await journal.append("audit", 1, b"1")
        assert await journal.append("audit", 2, b"2")
        assert await journal.append("audit", 1, b"1")
        assert await journal.newest("audit") == 2

    async def test_a_trimmed_journal_goes_on_counting(self, bench: Bench) -> None:
        journal = bench.backend.journal
        for n in range(1, 6):
            await journal.append("audit", n, b"%d" % n)
        assert await journal.trim("audit", 3) == 3
        assert await journal.trim("audit", 3) == 0
        assert list(await journal.read("audit")) == [Entry(4, b"4"), Entry(5, b"5")]
        assert await journal.trim("audit", 9) == 2
        assert await journal.newest("audit") == 5
        assert not await journal.append("audit", 1, b"1")
        assert await journal.append("audit", 6, b"6")
        assert list(await journal.read("audit")) == [Entry(6, b"6")]

    async def test_of_many_writers_at_once_one_is_heard(self, bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            clones = [await stack.enter_async_context(bench.backend.clone()) for _ in range(3)]
            for number in range(1, 4):
                said = [clones[n % 3].journal.append("audit", number, b"%d" % n) for n in range(6)]
                assert (await asyncio.gather(*said)).count(True) == 1
        assert len(await bench.backend.journal.read("audit")) == 3


class FigureRules(Kit):
    """What is left is rolled up once."""

    async def test_what_is_left_is_there_in_its_order(self, bench: Bench) -> None:
        metrics = bench.backend.metrics
        assert list(await metrics.left()) == []
        before = await bench.now()
        for n in range(3):
            await metrics.leave(f"{n}", BINARY + b"%d" % n)
        after = await bench.now()
        left = await metrics.left()
        assert [(each.id, each.data) for each in left] == [(f"{n}", BINARY + b"%d" % n) for n in range(3)]
        assert all(before - 0.1 <= each.at <= after + 0.1 for each in left)
        assert [each.id for each in await metrics.left(limit=2)] == ["0", "1"]

    async def test_what_is_left_twice_is_left_once(self, bench: Bench) -> None:
        metrics = bench.backend.metrics
        for data in (b"1", b"2"):
            await metrics.leave("a", data)
        assert [each.data for each in await metrics.left()] == [b"1"]

    async def test_rows_take_the_place_of_what_they_were_made_of(self, bench: Bench) -> None:
        metrics = bench.backend.metrics
        for id in ("a", "b"):
            await metrics.leave(id, b"")
        rows = [FigureRow(1, 61, BINARY), FigureRow(60, 60, b"minute")]
        assert await metrics.roll_up(["a"], rows)
        assert [each.id for each in await metrics.left()] == ["b"]
        assert list(await metrics.rows(1, 0, 100)) == [FigureRow(1, 61, BINARY, 1)]
        assert await metrics.roll_up(["b"], [FigureRow(60, 60, b"more", 1)])
        assert list(await metrics.rows(60, 0, 100)) == [FigureRow(60, 60, b"more", 2)]
        assert list(await metrics.left()) == []

    async def test_who_has_read_an_older_row_changes_nothing(self, bench: Bench) -> None:
        metrics = bench.backend.metrics
        for id in ("a", "b"):
            await metrics.leave(id, b"")
        assert await metrics.roll_up(["a"], [FigureRow(1, 61, b"1")])
        for version in (0, 2):
            assert not await metrics.roll_up(["b"], [FigureRow(1, 62, b"2"), FigureRow(1, 61, b"2", version)])
        assert not await metrics.roll_up(["b"], [FigureRow(1, 63, b"2", 1)])
        assert list(await metrics.rows(1, 0, 100)) == [FigureRow(1, 61, b"1", 1)]
        assert [each.id for each in await metrics.left()] == ["b"]

    async def test_what_somebody_else_has_rolled_up_is_not_rolled_up_again(self, bench: Bench) -> None:
        metrics = bench.backend.metrics
        await metrics.leave("a", b"")
        assert await metrics.roll_up(["a"], [FigureRow(1, 61, b"1")])
        await metrics.leave("b", b"")
        assert not await metrics.roll_up(["b", "a"], [FigureRow(1, 61, b"2", 1)])
        assert [row.data for row in await metrics.rows(1, 0, 100)] == [b"1"]
        assert [each.id for each in await metrics.left()] == ["b"]

    async def test_rows_are_read_by_their_time_and_forgotten_by_it(self, bench: Bench) -> None:
        metrics = bench.backend.metrics
        rows = [FigureRow(step, at * step, b"%d" % at) for at in (2, 1, 3, 10) for step in (1, 60)]
        assert await metrics.roll_up([], rows)
        assert await self._instants(metrics, 1, 2, 10) == [2, 3]
        assert await self._instants(metrics, 60, 0, 601) == [60, 120, 180, 600]
        assert await metrics.trim(1, 3) == 2
        assert await metrics.trim(1, 3) == 0
        assert await self._instants(metrics, 1, 0, 100) == [3, 10]
        assert await self._instants(metrics, 60, 0, 100) == [60]

    @staticmethod
    async def _instants(metrics: MetricsStore, step: int, since: int, until: int) -> list[int]:
        return [row.at for row in await metrics.rows(step, since, until)]

    async def test_of_many_who_roll_up_at_once_one_is_heard(self, bench: Bench) -> None:
        await bench.backend.metrics.leave("a", b"")
        async with AsyncExitStack() as stack:
            clones = [await stack.enter_async_context(bench.backend.clone()) for _ in range(3)]
            said = [clones[n % 3].metrics.roll_up(["a"], [FigureRow(1, 61, b"%d" % n)]) for n in range(6)]
            assert (await asyncio.gather(*said)).count(True) == 1
        assert [row.version for row in await bench.backend.metrics.rows(1, 0, 100)] == [1]

    async def test_figures_stay_in_their_namespace(self, bench: Bench, fresh_backend: FreshBackend) -> None:
        await bench.backend.metrics.leave("a", b"")
        await bench.backend.metrics.roll_up([], [FigureRow(1, 61, b"1")])
        async with fresh_backend() as elsewhere:
            assert list(await elsewhere.metrics.left()) == []
            assert list(await elsewhere.metrics.rows(1, 0, 100)) == []
