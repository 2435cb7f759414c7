"""The workers that reported to a Postgres store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from taskq.ports import Order, WorkerCommand, WorkerInfo
from taskq_postgres.store import Store, new_token


class PostgresRegistry:
    """See taskq.ports.WorkerRegistry."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def report(self, info: WorkerInfo, ttl: float) -> Sequence[Order]:
        """Note that the worker lives, and take what it is told."""
        report = (info.id, json.dumps(asdict(info)), float(ttl), new_token())
        commands = await self._store.value("worker_report", report)
        return [order for text in commands or () if (order := Order.read(text)) is not None]

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that live."""
        return [_info(text, seen_at) for text, seen_at in await self._store.run("workers", reads=True)]

    async def command(self, worker: str, command: WorkerCommand, argument: str = "") -> bool:
        """Tell a worker something with its next report."""
        return await self._store.count("worker_command", (Order(command, argument).written(), worker)) > 0

    async def forget(self, worker: str) -> None:
        """The worker has stopped in good order."""
        await self._store.run("worker_forget", (worker,))

    async def take_duty(self, duty: str, holder: str, seconds: float) -> bool:
        """Take, or keep, a duty."""
        return bool(await self._store.value("take_duty", (duty, holder, float(seconds))))


def _info(text: str, seen_at: float) -> WorkerInfo:
    return WorkerInfo.read(json.loads(text), seen_at)
