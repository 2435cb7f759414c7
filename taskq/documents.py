"""Documents of one kind that hold values of one type: read, listed, and changed whoever else does so at the same time.

People edit a store by hand, and a later release writes what this one cannot read: whoever asks for such a document is
told so in a line, and whoever looks at all of them goes on with the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import msgspec

from taskq.errors import TaskqError
from taskq.ports import Document, Documents

T = TypeVar("T")
logger = logging.getLogger("taskq.documents")


class Unreadable(TaskqError):
    """A document is there and cannot be read."""


class Entry(NamedTuple, Generic[T]):
    """A value, and the version of its document."""

    id: str
    value: T
    version: int


class Shelf(Generic[T]):
    """The documents of one kind.

    Arguments:
        kind: as the store knows it.
        type: what msgspec makes of them.
        noun: what people call one.

    >>> Shelf("number", int, "number").read(Document("n1", b"seven", 1))
    Traceback (most recent call last):
        ...
    taskq.documents.Unreadable: the number n1 in the store cannot be read, a later release or somebody by hand has \
written it: JSON is malformed: invalid character (byte 0)
    """

    def __init__(self, kind: str, type: type[T], noun: str) -> None:
        self.kind = kind
        self._type = type
        self._noun = noun

    def read(self, document: Document) -> T:
        """The value of a document.

        Raises:
            Unreadable: it is none.
        """
        try:
            return msgspec.json.decode(document.data, type=self._type)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise unreadable(self._noun, document.id, error) from None

    def known(self, document: Document) -> T | None:
        """The value of a document; None where it cannot be read, which the log is told once."""
        try:
            return self.read(document)
        except Unreadable as error:
            _warn(str(error), document.version)
            return None

    async def get(self, documents: Documents, id: str) -> Entry[T] | None:
        """One of them; None where it is not there.

        Raises:
            Unreadable: it cannot be read.
        """
        found = await documents.get(self.kind, id)
        return None if found is None else Entry(id, self.read(found), found.version)

    async def all(self, documents: Documents) -> list[Entry[T]]:
        """All that can be read."""
        found = [(one, self.known(one)) async for one in every(documents, self.kind)]
        return [Entry(one.id, value, one.version) for one, value in found if value is not None]

    async def put(self, documents: Documents, id: str, value: T, version: int = 0) -> bool:
        """Write one whole; False where it is not based on the newest version (taskq.ports.Documents.put)."""
        return await documents.put(self.kind, id, msgspec.json.encode(value), version)

    async def change(self, documents: Documents, id: str, how: Callable[[T], T | None]) -> T | None:
        """Change one, whoever else does so at the same time.

        Arguments:
            how: gives what it is to be, or None where nothing is to be changed; called again where somebody was first.

        Returns:
            What it is now; None where it is not there, or was not changed.

        Raises:
            Unreadable: it cannot be read.
        """
        while (found := await self.get(documents, id)) is not None and (changed := how(found.value)) is not None:
            if await self.put(documents, id, changed, found.version):
                return changed
            await asyncio.sleep(0)
        return None


async def every(documents: Documents, kind: str) -> AsyncIterator[Document]:
    """All documents of a kind, page by page, as they were written."""
    cursor: str | None = None
    while True:
        page = await documents.list(kind, cursor=cursor)
        for document in page.documents:
            yield document
        cursor = page.next_cursor
        if cursor is None:
            return


def unreadable(noun: str, id: str, error: Exception) -> Unreadable:
    """What is told of a document that cannot be read."""
    whose = "a later release or somebody by hand has written it"
    return Unreadable(f"the {noun} {id} in the store cannot be read, {whose}: {error}")


@lru_cache(maxsize=1000)
def _warn(text: str, version: int) -> None:
    """Who looks again and again says it once."""
    logger.warning("%s", text)
