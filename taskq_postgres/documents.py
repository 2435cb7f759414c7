"""Documents on Postgres."""

from __future__ import annotations

from taskq.ports import Document, DocumentPage
from taskq_postgres.record import plain
from taskq_postgres.store import Store


class PostgresDocuments:
    """See taskq.ports.Documents."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, kind: str, id: str) -> Document | None:
        """One document."""
        rows = await self._store.run("get_document", (plain(kind), plain(id)), reads=True)
        return Document(id, bytes(rows[0][0]), rows[0][1]) if rows else None

    async def put(self, kind: str, id: str, data: bytes, version: int = 0) -> bool:
        """Write a document whole."""
        return bool(await self._store.value("put_document", (plain(kind), plain(id), version, data)))

    async def delete(self, kind: str, id: str, version: int) -> bool:
        """Forget a document."""
        return bool(await self._store.value("delete_document", (plain(kind), plain(id), version)))

    async def list(self, kind: str, limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """A page of documents."""
        rows = await self._store.run("list_documents", (plain(kind), plain(cursor or ""), limit + 1), reads=True)
        found = [Document(id, bytes(data), version) for id, data, version in rows]
        return DocumentPage(found[:limit], found[limit - 1].id if len(found) > limit else None)
