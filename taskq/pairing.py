"""Sending each message together with one that belongs to it, so that neither is there without the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taskq.domain.message import Message
from taskq.domain.workflow import Edge
from taskq.ids import new_id, shard_in
from taskq.ports import Enqueued, EnqueueStatus
from taskq.sending import Send

NO_ROOM = {EnqueueStatus.FULL, EnqueueStatus.OVER_QUOTA, EnqueueStatus.NO_PARENT}
"""Answers of which one stands for all that were sent at once."""
TRIES = 20
"""Times that a call looks who holds the unique keys, while each of those that it finds has ended meanwhile."""


class Pairing:
    """A way to a store on which each message takes another along, that waits for it.

    Arguments:
        whole: sends messages of which all are stored, or none.
        alone: sends messages as the caller asked for it.
        beside: makes what goes with a message.
        is_atomic: whether the caller asked for all or none.
    """

    def __init__(self, whole: Send, alone: Send, beside: Callable[[Message], Message], *, is_atomic: bool) -> None:
        self._whole = whole
        self._alone = alone
        self._beside = beside
        self._is_atomic = is_atomic
        self._made: dict[str, Message] = {}

    @property
    def way(self) -> Send:
        """The way, in calls of half as many messages as were theirs."""
        step = self._whole.step
        return Send(self.send, None if step is None else max(1, step // 2))

    async def send(self, messages: Sequence[Message]) -> list[Enqueued]:
        """Send messages, each with its own; the answers are those of the messages."""
        if any(message.replaces for message in messages):  # whose own is there
            return await self._alone.send(messages)
        answers = await self._send_pairs(messages)
        if not {answer.status for answer in answers} & NO_ROOM:
            return answers
        if len(messages) > 1 and not self._is_atomic:
            return [answer for message in messages for answer in await self.send([message])]
        return await self._send_free(messages) if _are_not_there(messages, answers) else answers

    async def _send_pairs(self, messages: Sequence[Message]) -> list[Enqueued]:
        return (await self._whole.send([one for message in messages for one in self._pair(message)]))[::2]

    def _pair(self, message: Message) -> tuple[Message, Message]:
        """A message and its own, which is made once: hooks of the application see it."""
        own = self._made.get(message.id)
        if own is None:
            own = self._made[message.id] = self._beside(message)
        return message, own

    async def _send_free(self, messages: Sequence[Message]) -> list[Enqueued]:
        """Send those whose unique key no other task holds: of the others there is none to wait for."""
        held: dict[str, Enqueued] = {}
        answers: list[Enqueued] = []
        for _ in range(TRIES):
            held = await self._held(messages)
            free = [message for message in messages if message.id not in held]
            answers = await self._send_pairs(free) if free else []
            if not _are_not_there(free, answers):
                break
        rest = iter(answers)
        return [held.get(message.id) or next(rest) for message in messages]

    async def _held(self, messages: Sequence[Message]) -> dict[str, Enqueued]:
        """The answers for those that are known, or whose unique key is held, by an earlier one of this call perhaps."""
        held: dict[str, Enqueued] = {}
        first: dict[str, str] = {}
        for message in messages:
            earlier = message.id if message.unique is None else first.setdefault(message.unique.key, message.id)
            if earlier != message.id:
                held[message.id] = held.get(earlier) or Enqueued(earlier, EnqueueStatus.DUPLICATE)
                continue
            # One that waits for nobody is never stored without its own: the store only says who is there already.
            never = message._replace(parents=(Edge(new_id(shard_in(message.id))),))
            [answer] = await self._alone.send([never])
            if answer.status is EnqueueStatus.DUPLICATE:
                held[message.id] = answer
        return held


def _are_not_there(messages: Sequence[Message], answers: Sequence[Enqueued]) -> bool:
    """Whether they were refused because one of them is not stored, for which its own would wait."""
    ids = {message.id for message in messages}
    return any(answer.status is EnqueueStatus.NO_PARENT and answer.id in ids for answer in answers)
