"""The in-memory backend: the readable reference, for tests, for `taskq dev` and for small programs."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from taskq.errors import ConfigError
from taskq.ports import BackendOptions
from taskq_memory.backend import MemoryBackend
from taskq_memory.snapshot import SnapshotFile
from taskq_memory.store import Store

__all__ = ["MemoryBackend", "create_backend"]


def create_backend(url: str, options: BackendOptions) -> MemoryBackend:
    """Open a store of its own: `memory://`, or `memory://?snapshot=FILE` to keep it over restarts.

    Raises:
        ConfigError: the URL has a part that means nothing here.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    path = query.pop("snapshot", None)
    unknown = ", ".join(query) or parts.netloc or parts.path.strip("/")
    if unknown or path == "":
        raise ConfigError(
            f"{url!r}: write memory:// or memory://?snapshot=FILE" + (f", not {unknown!r}" * bool(unknown))
        )
    store = Store(options.clock)
    return MemoryBackend(store, options, SnapshotFile(store, path) if path else None)
