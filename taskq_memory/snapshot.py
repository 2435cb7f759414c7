"""Snapshots of the memory store in a file: checksummed, replaced in one step, a torn one set aside.

The file is one line `taskq-memory 1 <crc32>` and then one JSON object.
"""

from __future__ import annotations

import heapq
import os
import threading
from pathlib import Path
from secrets import token_hex
from zlib import crc32

import msgspec

from taskq.domain.limits import Breaker, Bucket, Slots
from taskq.domain.overrides import Override
from taskq.domain.state import TaskState
from taskq.domain.tenants import Quota
from taskq.domain.unique import Holding
from taskq.errors import ConfigError
from taskq.ports import ScheduleEntry
from taskq_memory.rows import FlowRow, JournalRow, QueueRow, Task
from taskq_memory.store import Store

_MAGIC = b"taskq-memory 1 "


class _Image(msgspec.Struct):
    tasks: list[Task]
    front: dict[str, dict[str, float]]
    running: dict[str, float]
    tombstones: dict[str, float]
    digests: dict[str, tuple[str, float]]
    queues: dict[str, QueueRow]
    keys: dict[str, Holding]
    buckets: dict[str, Bucket]
    breakers: dict[str, Breaker]
    results: list[tuple[str, int, bytes, float]]
    schedules: list[ScheduleEntry] = []
    flows: list[FlowRow] = []
    documents: dict[str, dict[str, tuple[bytes, int]]] = {}
    journals: dict[str, JournalRow] = {}
    quotas: dict[str, Quota] = {}
    overrides: dict[str, Override] = {}


class SnapshotFile:
    """Writes a store to a file, and reads it back; all clones of a backend share it, from any thread."""

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = Path(path)
        # Two backends of one process may have been given the same file.
        self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}-{token_hex(4)}")
        # Held from the image to its file's name: otherwise an older image could replace a newer one.
        self._lock = threading.Lock()
        self._written = -1
        self.warnings: list[str] = []

    def load(self) -> None:
        """Fill the store from the file, if it is empty; a damaged file is renamed and reported.

        Raises:
            ConfigError: the file cannot be read, or could not be written.
        """
        with self._lock:
            if self._store.version == 0:
                self._load()

    def _load(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            self._check_folder()
            return
        except OSError as error:
            raise ConfigError(f"the snapshot {self._path} cannot be read: {error.strerror}") from None
        try:
            image = _decode(data)
        except (ValueError, msgspec.MsgspecError) as error:
            aside = self._path.with_name(f"{self._path.name}.torn-{os.getpid()}")
            self._path.replace(aside)
            self.warnings.append(f"the snapshot {self._path} is damaged ({error}); it was set aside as {aside.name}")
            return
        with self._store.lock:
            _restore(self._store, image)
            self._written = self._store.version

    def _check_folder(self) -> None:
        """Refuse now what would only fail when the first tasks are to be kept."""
        folder = self._path.parent
        if not folder.is_dir():
            raise ConfigError(f"the snapshot {self._path} cannot be written: there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"the snapshot {self._path} cannot be written: no permission in {folder}")

    def save(self) -> bool:
        """Write the store, if it has changed since; returns whether it did."""
        with self._lock:
            with self._store.lock:
                version = self._store.version
                if version == self._written:
                    return False
                data = msgspec.json.encode(_image(self._store))
            self._write(data)
            self._written = version
            return True

    def _write(self, data: bytes) -> None:
        try:
            with self._temporary.open("wb") as file:
                file.write(b"%b%08x\n" % (_MAGIC, crc32(data)))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _decode(data: bytes) -> _Image:
    head, _, body = data.partition(b"\n")
    if not head.startswith(_MAGIC) or crc32(body) != int(head[len(_MAGIC) :], 16):
        raise ValueError("its checksum does not match")
    return msgspec.json.decode(body, type=_Image)


def _image(store: Store) -> _Image:
    waiting = [store.tasks[id] for lane in store.lanes.values() for id in lane]
    ended = [store.tasks[id] for index in store.ended.values() for id in index]
    placed = {task.id for task in waiting} | {task.id for task in ended}
    rest = [task for task in store.tasks.values() if task.id not in placed]
    return _Image(
        [*waiting, *ended, *rest],
        dict(store.front),
        store.running,
        dict(store.tombstones),
        store.digests,
        dict(store.queues),
        store.keys.holdings,
        store.gates.buckets,
        store.gates.breakers,
        [(id, fence, data, until) for (id, fence), (data, until) in store.results.items()],
        list(store.schedules.values()),
        list(store.joins.flows.values()),
        dict(store.documents),
        dict(store.journals),
        dict(store.tenancy.quotas),
        dict(store.gates.overrides),
    )


def _restore(store: Store, image: _Image) -> None:
    for task in image.tasks:
        store.tasks[task.id] = task
        in_front = task.id in image.front.get(task.queue, {})
        is_limited = task.state is TaskState.PENDING and bool(task.gates)
        if is_limited and not in_front:
            # Whether its gate is closed is seen by the claim that comes upon it.
            store.rooms.cleared[task.queue][task.id] = task.turn
            task.waits_at = ""
        elif task.state is TaskState.PENDING and not in_front:
            store.lanes.setdefault(task.lane, type(store.tombstones)())[task.id] = task.ready_at or task.created_at
        elif task.due_at is not None:
            heapq.heappush(store.due, (task.due_at, task.entry, task.id))
        elif task.state is not None and task.state.is_final:
            store.ended[task.queue, task.state is TaskState.DEAD][task.id] = task.completed_at or 0.0
        if task.expires_at is not None:
            heapq.heappush(store.expiring, (task.expires_at, task.id))
    store.front.update(image.front)
    store.running.update(image.running)
    store.tombstones.update(image.tombstones)
    store.digests.update(image.digests)
    store.queues.update(image.queues)
    store.keys.holdings.update(image.keys)
    store.gates.buckets.update(image.buckets)
    store.gates.breakers.update(image.breakers)
    for id in image.running:
        for limit in store.tasks[id].limits:
            if isinstance(limit, Slots):
                store.gates.holders.setdefault(limit.gate, {})[id] = None
    store.results.update({(id, fence): (data, until) for id, fence, data, until in image.results})
    store.schedules.update({entry.name: entry for entry in image.schedules})
    store.joins.flows.update({row.id: row for row in image.flows})
    store.joins.rebind()
    store.tenancy.quotas.update(image.quotas)
    for task in image.tasks:
        if task.group and task.is_unfinished:
            store.tenancy.load(task.group, 1, len(task.body))
    store.documents.update(image.documents)
    store.journals.update(image.journals)
    store.gates.overrides.update(image.overrides)
    store.entry = max((task.entry for task in image.tasks), default=0)
    store.note_change()
