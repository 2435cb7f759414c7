"""Single messages of concurrent callers, gathered: while one call is under way, the next one fills."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from taskq.domain.message import Message
from taskq.errors import BackendUnavailable, OutcomeUnknown
from taskq.ports import Enqueued

Enqueue = Callable[[Sequence[Message]], Awaitable[list[Enqueued]]]
_Waiting = tuple[Message, asyncio.Future[Enqueued]]


@dataclass(slots=True)
class _Line:
    """Who waits for one shard."""

    waiting: list[_Waiting] = field(default_factory=list)
    is_busy: bool = False


class Gathering:
    """Enqueues single messages; a caller who is alone pays nothing for it.

    A message costs the server about a quarter in a batch of what it costs alone (docs/decisions/0021-redis-indexes.md).
    """

    def __init__(self, enqueue: Enqueue, batch: int) -> None:
        self._enqueue = enqueue
        self._batch = batch
        self._lines: dict[int, _Line] = {}
        self._senders: set[asyncio.Task[None]] = set()

    async def add(self, shard: int, message: Message) -> Enqueued:
        """Enqueue one message."""
        line = self._lines.setdefault(shard, _Line())
        if line.is_busy:
            future: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
            line.waiting.append((message, future))
            return await future
        line.is_busy = True
        try:
            return (await self._enqueue([message]))[0]
        finally:
            line.is_busy = False
            if line.waiting:
                line.is_busy = True
                sender = asyncio.create_task(self._send(line))
                self._senders.add(sender)
                sender.add_done_callback(self._senders.discard)

    async def close(self) -> None:
        """Wait for the calls under way, and for those that follow them: over a closed store they end at once."""
        while self._senders:
            await asyncio.wait(self._senders)

    async def _send(self, line: _Line) -> None:
        try:
            while line.waiting:
                batch, line.waiting = line.waiting[: self._batch], line.waiting[self._batch :]
                await self._send_batch(batch)
        finally:
            line.is_busy = False
            # Nobody has cancelled those who wait: only the event loop ends this task early.
            _fail(line.waiting, BackendUnavailable("enqueue: given up before it was sent"))

    async def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = await self._enqueue([message for message, _ in batch])
        except Exception as error:  # noqa: BLE001 - each caller gets it
            _fail(batch, error)
        except BaseException:
            _fail(batch, OutcomeUnknown("enqueue: given up while it was under way; it may or may not be applied"))
            raise
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def _fail(waiting: Sequence[_Waiting], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)
