"""Small documents that the parts of taskq keep in the store: alerts, jobs over many tasks, tenants, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Document(NamedTuple):
    """One document, as it was read."""

    id: str
    """Text of at most 200 characters; unique within its kind."""
    data: bytes
    """Opaque to the store; at most DOCUMENT_LIMIT bytes."""
    version: int
    """Grows by one with each write."""


DOCUMENT_LIMIT = 256 * 1024


class DocumentPage(NamedTuple):
    """Some documents of a kind, in the order of their ids as text, and where to go on."""

    documents: Sequence[Document]
    next_cursor: str | None = None


class Documents(Protocol):
    """Keeps documents, each written by whoever has read its newest version. All of a store are few: thousands."""

    async def get(self, kind: str, id: str) -> Document | None:
        """One document."""
        ...

    async def put(self, kind: str, id: str, data: bytes, version: int = 0) -> bool:
        """Write a document whole: it has the next version then.

        Arguments:
            version: the one on which it is based; 0: there is none yet.

        Returns:
            False, and nothing was changed, where another one is there. What is there already as it would be after it is
            its repetition.
        """
        ...

    async def delete(self, kind: str, id: str, version: int) -> bool:
        """Forget a document of that version; False where another one is there, True where none is."""
        ...

    async def list(self, kind: str, limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """A page of documents of a kind."""
        ...
