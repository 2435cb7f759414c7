"""What a harness puts in front of a store: it notes what is enqueued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.domain.message import Message
from taskq.ports import (
    Backend,
    Broker,
    Change,
    Committed,
    Enqueued,
    EnqueueStatus,
    NewFlow,
    Parent,
    Scheduler,
)


class Recorder:
    """A broker that notes what was stored: no duplicate, nothing that was refused, and the newest arguments."""

    def __init__(self, broker: Broker, messages: list[Message], queues: set[str]) -> None:
        self._broker = broker
        self._messages = messages
        self.queues = queues

    async def enqueue(
        self, messages: Sequence[Message], *, parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        """See taskq.ports.Broker."""
        answers = await self._broker.enqueue(messages, parent=parent, atomic=atomic)
        self.note(messages, answers)
        return answers

    def note(self, messages: Sequence[Message], answers: Sequence[Enqueued]) -> None:
        """Note what was stored."""
        created = [m for m, answer in zip(messages, answers, strict=True) if answer.status is EnqueueStatus.CREATED]
        self._messages += created
        for newer, answer in zip(messages, answers, strict=True):
            if answer.status is EnqueueStatus.REPLACED:
                self._messages[:] = [m._replace(body=newer.body) if m.id == newer.id else m for m in self._messages]
        self.queues.update(message.queue for message in created)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


class ObservedScheduler:
    """A scheduler of which it is noted what fires."""

    def __init__(self, scheduler: Scheduler, recorder: Recorder) -> None:
        self._scheduler = scheduler
        self._recorder = recorder

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed]:
        """See taskq.ports.Scheduler."""
        results = await self._scheduler.commit(changes)
        for change, result in zip(changes, results, strict=True):
            if result.is_applied:
                self._recorder.note(change.fires, result.answers)
        return results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)


class ObservedFlows:
    """Flows of which it is noted when their callbacks are enqueued."""

    def __init__(self, backend: Backend, recorder: Recorder) -> None:
        self._backend = backend
        self._recorder = recorder
        self._waiting: dict[str, Message] = {}

    async def create(self, flow: NewFlow) -> bool:
        """See taskq.ports.Flows."""
        self._waiting.update({message.id: message for message in flow.callbacks.values()})
        return await self._backend.flows.create(flow)

    async def close(self, id: str) -> bool:
        """See taskq.ports.Flows."""
        is_known = await self._backend.flows.close(id)
        await self.note()
        return is_known

    async def cancel(self, id: str, reason: str = "") -> bool:
        """See taskq.ports.Flows."""
        is_cancelled = await self._backend.flows.cancel(id, reason)
        await self.note()
        return is_cancelled

    async def note(self) -> None:
        """Note the callbacks that the store has enqueued since the last time."""
        for message in list(self._waiting.values()):
            if await self._backend.inspector.get(message.id) is not None:
                del self._waiting[message.id]
                self._recorder.note([message], [Enqueued(message.id, EnqueueStatus.CREATED)])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend.flows, name)


class _Observed:
    """A backend whose broker, scheduler and flows are observed."""

    def __init__(self, backend: Backend, broker: Recorder, scheduler: ObservedScheduler, flows: ObservedFlows) -> None:
        self._backend = backend
        self.broker = broker
        self.scheduler = scheduler
        self.flows = flows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class Pool:
    """Stands for the application's own stores while a harness is open."""

    def __init__(self, backend: Backend, broker: Recorder, scheduler: ObservedScheduler, flows: ObservedFlows) -> None:
        self.url = "memory://"
        self.root: Any = _Observed(backend, broker, scheduler, flows)

    async def get(self) -> Any:
        """The store."""
        return self.root

    async def close(self) -> None:
        """The harness closes it."""
