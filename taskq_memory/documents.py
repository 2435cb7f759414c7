"""Documents on the memory store."""

from __future__ import annotations

from bisect import bisect_right

from taskq.ports import Document, DocumentPage
from taskq_memory.store import Store


class MemoryDocuments:
    """See taskq.ports.Documents."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, kind: str, id: str) -> Document | None:
        """One document."""
        with self._store.lock:
            found = self._store.documents[kind].get(id)
        return None if found is None else Document(id, *found)

    async def put(self, kind: str, id: str, data: bytes, version: int = 0) -> bool:
        """Write a document whole."""
        with self._store.lock:
            documents, after = self._store.documents[kind], (data, version + 1)
            known = documents.get(id)
            if known != after and (0 if known is None else known[1]) != version:
                return False
            documents[id] = after
            self._store.note_change()
            return True

    async def delete(self, kind: str, id: str, version: int) -> bool:
        """Forget a document."""
        with self._store.lock:
            documents = self._store.documents[kind]
            known = documents.get(id)
            if known is not None and known[1] != version:
                return False
            documents.pop(id, None)
            self._store.note_change()
            return True

    async def list(self, kind: str, limit: int = 100, cursor: str | None = None) -> DocumentPage:
        """A page of documents."""
        with self._store.lock:
            documents = self._store.documents[kind]
            ids = sorted(documents)
            start = 0 if cursor is None else bisect_right(ids, cursor)
            some = ids[start : start + limit]
            page = [Document(id, *documents[id]) for id in some]
        return DocumentPage(page, some[-1] if start + limit < len(ids) else None)
