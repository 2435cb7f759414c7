"""Documents on Redis: all in the first shard."""

from __future__ import annotations

from taskq.ports import Document, DocumentPage
from taskq_redis.store import Store

_SHARD = 0


class RedisDocuments:
    """See taskq.ports.Documents."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, kind: str, id: str) -> Document | None:
        """One document."""
        text = await self._store.command(_SHARD, "HGET", self._store.keys[_SHARD].of("docs", kind), id)
        return None if text is None else _document(id, text)

    async def put(self, kind: str, id: str, data: bytes, version: int = 0) -> bool:
        """Write a document whole."""
        return bool(await self._store.run(_SHARD, "put_document", kind, id, version, data))

    async def delete(self, kind: str, id: str, version: int) -> bool:
        """Forget a document."""
        return bool(await self._store.run(_SHARD, "delete_document", kind, id, version))

    async def list(self, kind: str, limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """A page of documents."""
        above = "-" if cursor is None else f"({cursor}"
        rows = await self._store.run(_SHARD, "list_documents", kind, above, limit + 1)
        found = [_document(id.decode(), text) for id, text in zip(rows[::2], rows[1::2], strict=True)]
        return DocumentPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


def _document(id: str, text: bytes) -> Document:
    version, _, data = text.partition(b" ")
    return Document(id, data, int(version))
