"""A store with nothing but a journal, which tests of the audit trail may change as somebody with access to it could."""

from __future__ import annotations

from collections.abc import Callable

from taskq.management import AuditEntry, AuditTrail
from taskq.management.audit import JOURNAL
from taskq.ports import Entry
from tests.management.conftest import ADMIN


class Book:
    """A journal whose entries a test may change, as somebody with access to the store could."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}
        self.last = 0

    async def append(self, name: str, number: int, data: bytes) -> bool:
        assert name == JOURNAL
        if number != self.last + 1:
            return False
        self.entries[number], self.last = data, number
        return True

    async def newest(self, name: str) -> int:
        return self.last

    async def read(self, name: str, after: int = 0, limit: int = 100) -> list[Entry]:
        return [Entry(number, data) for number, data in self.entries.items() if number > after][:limit]

    async def trim(self, name: str, through: int) -> int:
        gone = [number for number in self.entries if number <= through]
        for number in gone:
            del self.entries[number]
        return len(gone)


class Shop:
    """A store with nothing but a journal."""

    def __init__(self) -> None:
        self.journal = Book()


async def filled(trail: AuditTrail, number: int) -> list[AuditEntry]:
    return [await trail.note(ADMIN, "queue.pause", {"queue": f"q{n}"}) for n in range(number)]


def take_out(*numbers: int) -> Callable[[Book], None]:
    def act(book: Book) -> None:
        for number in numbers:
            del book.entries[number]

    return act
