"""Tasks: to find, to show, to cancel, to start anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from taskq.config import check_identifier, is_whole, shown
from taskq.crypto import about_payload, decrypt
from taskq.domain.envelope import unseal
from taskq.domain.record import TaskRecord
from taskq.errors import InvalidOption, TaskNotFound
from taskq.handle import TaskHandle
from taskq.headers import decode_headers
from taskq.management.access import Permission
from taskq.management.desk import Desk, named
from taskq.management.explain import Explanation, explain
from taskq.management.finding import SCAN, Count, TaskPage, count, find, masked, read_query
from taskq.ports import Backend, CancelStatus, Redriven, RedriveStatus

MOST = 1000
"""Tasks on one page, and in one call."""
_COPIED = ("queue", "tenant", "retention")


class TaskDesk(Desk):
    """The tasks of a store."""

    # ------------------------------------------------------------ looking

    async def find(self, query: str = "", *, limit: int = 50, cursor: str | None = None, scan: int = SCAN) -> TaskPage:
        """A page of the tasks that a query means, without their arguments and results.

        Arguments:
            query: as taskq.domain.query has it: `task:mail.* state:dead created:<2h`.
            limit: the most on the page, up to 1,000.
            cursor: where to go on, of an earlier page with the same query.
            scan: the most tasks to look at for it.

        Raises:
            QueryError: the query cannot be read.
            InvalidOption: another argument cannot be what it is.

        >>> import asyncio
        >>> from taskq import App
        >>> from taskq.management import Actor, Management
        >>> asyncio.run(Management(App("memory://"), Actor("ann", ["viewer"])).tasks.find("state:dead")).records
        []
        """
        _check_number("limit", limit, MOST)
        _check_number("scan", scan, 1_000_000)
        backend = await self.look()
        page = await find(backend, read_query(query, self.actor), limit, cursor, scan)
        # How many of others' tasks there are is not told either.
        looked_at = len(page.records) if self.actor.tenant else page.looked_at
        return page._replace(records=[masked(record) for record in page.records], looked_at=looked_at)

    async def count(self, query: str = "") -> Count:
        """How many tasks a query means, as far as 10,000 where no counter tells.

        >>> import asyncio
        >>> from taskq import App
        >>> from taskq.management import Actor, Management
        >>> str(asyncio.run(Management(App("memory://"), Actor("ann", ["viewer"])).tasks.count("state:dead")))
        '0'
        """
        return await count(await self.look(), read_query(query, self.actor))

    async def show(self, id: str, *, payload: bool = False) -> TaskRecord:
        """All that is known of a task.

        Arguments:
            payload: its arguments, result, progress and logs too, which takes a permission of its own.

        Raises:
            TaskNotFound: there is no record of it, or not for this actor.
        """
        backend = await self.look(Permission.READ_PAYLOADS if payload else Permission.READ)
        record = await self._record(backend, id)
        return record if payload else masked(record)

    async def explain(self, id: str) -> Explanation:
        """Why a task does not run: what holds it back, and what does not, in the order to look at it.

        Raises:
            TaskNotFound: there is no record of it, or not for this actor.
        """
        backend = await self.look()
        return await explain(backend, await self._record(backend, id))

    async def peek(self, queue: str, limit: int = 10) -> Sequence[TaskRecord]:
        """The tasks that the next claims of a queue would take, in their order."""
        _check_number("limit", limit, MOST)
        backend = await self.look()
        records = await backend.inspector.peek(check_identifier("queue", queue), limit)
        return [masked(record) for record in records if self.actor.sees(record.tenant)]

    # ------------------------------------------------------------ acting

    async def cancel(self, ids: Iterable[str], reason: str = "") -> Sequence[CancelStatus]:
        """Cancel tasks: those that wait at once, those that run as soon as their workers heed it.

        Returns:
            What became of each, in the order of the ids.
        """
        ids = _ids(ids)
        after = {"reason": reason} if reason else None
        async with self.act(Permission.ACT, "tasks.cancel", named(ids), after=after) as backend:
            seen = await self._seen(backend, ids)
            answers = dict(zip(seen, await backend.broker.cancel(seen, reason), strict=True)) if seen else {}
        return [answers.get(id, CancelStatus.UNKNOWN) for id in ids]

    async def retry(self, ids: Iterable[str], *, queue: str | None = None) -> Sequence[Redriven]:
        """Start tasks anew that have failed, died, expired or were cancelled; attempts count from the first again.

        Arguments:
            queue: where they go; None: each to its own.

        Returns:
            What became of each, in the order of the ids.
        """
        ids = _ids(ids)
        if queue is not None:
            check_identifier("queue", queue)
        after = None if queue is None else {"queue": queue}
        async with self.act(Permission.ACT, "tasks.retry", named(ids), after=after) as backend:
            seen = await self._seen(backend, ids)
            found = await backend.inspector.redrive(seen, queue) if seen else []
            told = found if not self.actor.tenant else [Redriven(answer.status) for answer in found]
            answers = dict(zip(seen, told, strict=True))
        return [answers.get(id, Redriven(RedriveStatus.NOT_FINAL)) for id in ids]

    async def again(self, id: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> TaskHandle[Any]:
        """Run a task again as a new one, with other arguments or options; the old one stays what it is.

        Arguments:
            arguments: by name, in the place of those that it had; the others stay.
            options: of a call; queue, priority, tenant, tags, metadata and retention are those of the old one else.

        Raises:
            TaskNotFound: there is no record of it, or not for this actor.
            InvalidPayload: the arguments do not fit.
            InvalidOption: it takes results of others, which its workflow has.
        """
        self.actor.require(Permission.READ_PAYLOADS)
        record = await self._record(await self.app.backend(), id)
        payload, headers = unseal(record.id, record.name, record.body)
        said = decode_headers(headers)
        if said.inputs:
            raise InvalidOption(f"task {id} takes results of others: run its workflow again, {said.flow}")
        if said.encrypted:
            payload = decrypt(self.app.stores.crypto, payload, about_payload(record.id, record.name))
        given = {**msgspec.json.decode(payload), **(arguments or {})}
        kept: dict[str, Any] = {name: getattr(record, name) for name in _COPIED}
        kept |= {"priority": record.priority, "metadata": said.metadata, "tags": record.tags, "version": said.version}
        if said.encrypted:
            kept["encrypt"] = True
        if self.actor.tenant:
            options["tenant"] = self.actor.tenant
        changed = sorted({*(arguments or {}), *options})
        async with self.act(Permission.ACT, "tasks.again", {"id": id}, after={"changed": changed}):
            return await self.app.aenqueue(record.name, given, **{**kept, **options})

    async def _seen(self, backend: Backend, ids: Sequence[str]) -> list[str]:
        """Those that are there for the actor."""
        if not self.actor.tenant:
            return list(ids)
        records = await backend.inspector.get_many(ids)
        return [record.id for record in records if record is not None and self.actor.sees(record.tenant)]

    async def _record(self, backend: Backend, id: str) -> TaskRecord:
        record = await backend.inspector.get(id)
        if record is None or not self.actor.sees(record.tenant):
            raise TaskNotFound(f"no record of task {id}: it never existed, or its retention is over")
        return record


def _ids(ids: Iterable[str]) -> list[str]:
    found = [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))
    if len(found) > MOST:
        raise InvalidOption(f"one call takes at most {MOST:,} ids, not {len(found):,}: use a bulk job with a query")
    return found


def _check_number(option: str, value: object, most: int) -> None:
    if not (is_whole(value) and 1 <= value <= most):
        raise InvalidOption(f"{option} must be a whole number from 1 to {most:,}, not {shown(value)}")
