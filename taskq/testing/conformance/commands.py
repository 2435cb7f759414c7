"""The commands of the model-based test: each says how to send itself and how a model explains the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskq.domain.limits import LOOK_AGAIN
from taskq.domain.message import Message
from taskq.domain.outcome import Retry, Settlement, Snooze
from taskq.domain.record import LOG_LIMIT, Progress
from taskq.domain.tenants import Quota
from taskq.domain.workflow import Edge, OnParentFailure
from taskq.ports import Capability, Fetched, Parent, QueueConfig, Settled
from taskq.testing.conformance.bench import LONG, SILENCE
from taskq.testing.conformance.model import QueueModel
from taskq.testing.conformance.remembered import Choice, Memory, Request, Step

NEVER = 1e9
"""No head of a lane is over-aged: the order is strict."""


@dataclass(frozen=True)
class Enqueue:
    """New messages."""

    queue: str
    terms: dict[str, Any]
    count: int = 1

    def bind(self, memory: Memory) -> Step | None:
        """Enqueue as many as drawn, in one call."""
        batch = []
        for _ in range(self.count):
            terms = {name: value for name, value in self.terms.items() if name not in {"delay", "expires", "retention"}}
            for name in ("delay", "expires"):
                terms[name] = None if self.terms[name] is None else memory.span(self.terms[name])
            terms["retention"] = self.terms["retention"] if memory.is_virtual else LONG
            terms |= _of_shard(memory.backend.shard_of(self.queue), terms)
            message = Message(memory.new_id(self.queue), "tests.task", queue=self.queue, **terms)
            memory.messages.append(message)
            batch.append(message)
        return enqueueing(memory, batch)


def _of_shard(shard: int, terms: Mapping[str, Any]) -> dict[str, Any]:
    """The limits and the unique key of a message, which are kept where its queue is."""
    limits = tuple(one._replace(key=f"{one.key}-{shard}") for one in terms["limits"])
    unique = terms["unique"]
    return {"limits": limits, "unique": unique and unique._replace(key=f"{unique.key}-{shard}")}


@dataclass(frozen=True)
class EnqueueAgain:
    """A message that was sent before, or another under its id."""

    pick: int
    digest: str | None
    """The digest of the other one, None for the same message."""

    def bind(self, memory: Memory) -> Step | None:
        """Send it again, twice in one call."""
        if not memory.messages:
            return None
        message = memory.message(self.pick)
        if self.digest is not None:
            message = message._replace(body=b"changed", digest=self.digest)
        return enqueueing(memory, [message, message])


@dataclass(frozen=True)
class EnqueueChild:
    """A message from a run, fresh or stale."""

    choice: Choice

    def bind(self, memory: Memory) -> Step | None:
        """Enqueue into the queue of the parent, which is in the same shard."""
        if not memory.deliveries:
            return None
        parent = memory.delivery(self.choice)
        child = Message(memory.new_id(parent.queue), "tests.child", queue=parent.queue, retention=LONG)
        memory.messages.append(child)
        return enqueueing(memory, [child], Parent(parent.id, parent.fence, parent.worker))


@dataclass(frozen=True)
class EnqueueBehind:
    """A message that waits for others, of which there may be no record any more."""

    picks: tuple[int, ...]
    on_failure: OnParentFailure
    delay: float | None

    def bind(self, memory: Memory) -> Step | None:
        """Enqueue into the queue of the parents: between shards nothing is one step."""
        if not memory.messages:
            return None
        first = memory.message(self.picks[0])
        ids = dict.fromkeys(memory.message(pick).id for pick in self.picks if memory.message(pick).queue == first.queue)
        parents = tuple(Edge(id, self.on_failure) for id in ids)
        delay = None if self.delay is None else memory.span(self.delay)
        id = memory.new_id(first.queue)
        child = Message(
            id, "tests.child", queue=first.queue, parents=parents, delay=delay, retention=LONG, max_lost_leases=2
        )
        memory.messages.append(child)
        return enqueueing(memory, [child])


def enqueueing(memory: Memory, batch: Sequence[Message], parent: Parent | None = None) -> Step:
    """Enqueue, and compare the statuses."""

    def explain(model: QueueModel, answer: Any) -> None:
        assert [(each.id, each.status) for each in answer] == model.enqueue(batch, parent)

    return Step(lambda: memory.backend.broker.enqueue(batch, parent=parent), explain)


@dataclass(frozen=True)
class Fetch:
    """A new claim."""

    worker: str
    queues: tuple[str, ...]
    limit: int
    lease: float

    def bind(self, memory: Memory) -> Step | None:
        """Claim under a new request id."""
        request = Request(self.worker, f"request-{len(memory.requests)}", self.queues, self.limit)
        memory.requests.append(request)
        return fetching(memory, request, memory.span(self.lease), promotes=True)


@dataclass(frozen=True)
class FetchAgain:
    """A claim that was sent before: the newest of its worker, or one that its worker has long left behind."""

    pick: int
    lease: float

    def bind(self, memory: Memory) -> Step | None:
        """Send it again under its request id."""
        if not memory.requests:
            return None
        request = memory.requests[-1 - self.pick % len(memory.requests)]
        return fetching(memory, request, memory.span(self.lease))


def fetching(memory: Memory, request: Request, lease: float, promotes: bool = False) -> Step:
    """Claim, and look whether what was handed out is what might be."""
    is_contended = memory.are_many

    async def send() -> Fetched:
        worker, request_id, queues, limit = request
        fetched = await memory.backend.broker.fetch(
            queues, limit, worker=worker, lease=lease, request_id=request_id, aging=NEVER
        )
        memory.deliveries += [each for each in fetched.deliveries if each not in memory.deliveries]
        return fetched

    def explain(model: QueueModel, fetched: Any) -> None:
        ids = [delivery.id for delivery in fetched.deliveries]
        model.claim(
            ids,
            request.queues,
            request.limit,
            worker=request.worker,
            lease=lease,
            request_id=request.request_id,
            is_contended=is_contended,
        )
        for delivery in fetched.deliveries:
            task = model.tasks[delivery.id]
            counters = (delivery.fence, delivery.attempt, delivery.lost_leases, delivery.worker)
            assert counters == (task.fence, task.run, task.lost_leases, task.worker)
            assert (delivery.queue, delivery.priority) == (task.message.queue, task.message.priority)
        if memory.is_virtual and not ids:
            waits = {model.next_due(request.queues), model.next_due(tuple(model.queues()))}
            next_due = None if fetched.next_due is None else round(fetched.next_due, 3)
            looks_again = model.is_limited() and next_due is not None and next_due <= LOOK_AGAIN
            assert looks_again or next_due in {None if wait is None else round(wait, 3) for wait in waits}

    return Step(send, explain, frozenset(request.queues) if promotes else frozenset())


@dataclass(frozen=True)
class Settle:
    """Verdicts on runs, whichever and whenever."""

    batch: tuple[tuple[Choice, Settlement], ...]

    def bind(self, memory: Memory) -> Step | None:
        """Settle them in one call."""
        if not memory.deliveries:
            return None
        settled = [Settled(memory.delivery(choice), self._timed(memory, verdict)) for choice, verdict in self.batch]

        def explain(model: QueueModel, statuses: Any) -> None:
            allowed = [model.settle(delivery, verdict) for delivery, verdict in settled]
            assert len(statuses) == len(allowed)
            for status, those in zip(statuses, allowed, strict=True):
                assert status in those, (statuses, allowed)

        return Step(lambda: memory.backend.broker.settle(settled), explain)

    @staticmethod
    def _timed(memory: Memory, settlement: Settlement) -> Settlement:
        if isinstance(settlement, Retry | Snooze):
            return settlement._replace(delay=memory.span(settlement.delay))
        return settlement


@dataclass(frozen=True)
class Extend:
    """Leases to be extended."""

    choices: tuple[Choice, ...]
    lease: float

    def bind(self, memory: Memory) -> Step | None:
        """Extend them in one call."""
        if not memory.deliveries:
            return None
        # An id twice in one call, held and lost, is not a question that a worker asks.
        held = list({delivery.id: delivery for delivery in map(memory.delivery, self.choices)}.values())
        lease = memory.span(self.lease)

        def explain(model: QueueModel, extension: Any) -> None:
            assert extension == model.extend(held, lease)

        return Step(lambda: memory.backend.broker.extend(held, lease), explain, is_said_again=True)


@dataclass(frozen=True)
class CancelSome:
    """Requests to cancel."""

    picks: tuple[int, ...]
    reason: str
    is_live: bool

    def bind(self, memory: Memory) -> Step | None:
        """Cancel them in one call."""
        if not memory.messages:
            return None
        known = memory.live if self.is_live and memory.live else memory.messages
        ids = list(dict.fromkeys(known[-1 - pick % len(known)].id for pick in self.picks))

        def explain(model: QueueModel, statuses: Any) -> None:
            assert statuses == [model.cancel(id, self.reason) for id in ids]

        return Step(lambda: memory.backend.broker.cancel(ids, self.reason), explain)


@dataclass(frozen=True)
class Redrive:
    """Tasks to be started anew."""

    picks: tuple[int, ...]

    def bind(self, memory: Memory) -> Step | None:
        """Redrive them in one call."""
        if not memory.messages:
            return None
        ids = list(dict.fromkeys(memory.message(pick).id for pick in self.picks))

        def explain(model: QueueModel, answers: Any) -> None:
            assert list(answers) == model.redrive(ids)

        return Step(lambda: memory.backend.inspector.redrive(ids), explain)


@dataclass(frozen=True)
class Annotate:
    """A write of a run about itself."""

    choice: Choice
    kind: str

    def bind(self, memory: Memory) -> Step | None:
        """Write progress, a checkpoint or a line."""
        if not memory.deliveries:
            return None
        delivery = memory.delivery(self.choice)
        written = f"by fence {delivery.fence}, {len(memory.requests)}"

        def send() -> Awaitable[bool]:
            annotations = memory.backend.annotations
            if self.kind == "progress":
                return annotations.progress(delivery, Progress(0.5, written))
            if self.kind == "checkpoint":
                return annotations.checkpoint(delivery, written.encode())
            return annotations.log(delivery, [written] * 40)

        def explain(model: QueueModel, answer: Any) -> None:
            task = model.annotated(delivery)
            assert answer == (task is not None)
            if task is None:
                return
            if self.kind == "progress":
                task.progress = Progress(0.5, written)
            elif self.kind == "checkpoint":
                task.checkpoint = written.encode()
            else:
                task.logs = [*task.logs, *[written] * 40][-LOG_LIMIT:]

        return Step(send, explain)


@dataclass(frozen=True)
class Reap:
    """A tick of the reaper."""

    renewal: float

    def bind(self, memory: Memory) -> Step | None:
        """Reap; a store with a clock of its own never holds off here."""
        renewal = self.renewal if memory.is_virtual else SILENCE

        def explain(model: QueueModel, reaped: Any) -> None:
            assert reaped == model.reap(renewal)

        return Step(lambda: memory.backend.maintenance.reap(renewal=renewal), explain)


@dataclass(frozen=True)
class Upkeep:
    """promote, expire or prune."""

    duty: str

    def bind(self, memory: Memory) -> Step | None:
        """Do it, and compare how many it was."""

        def explain(model: QueueModel, count: Any) -> None:
            assert count == getattr(model, self.duty)(), self.duty

        return Step(lambda: getattr(memory.backend.maintenance, self.duty)(), explain)


@dataclass(frozen=True)
class Steer:
    """pause, resume or purge of a queue."""

    verb: str
    queue: str

    def bind(self, memory: Memory) -> Step | None:
        """Do it."""

        def explain(model: QueueModel, answer: Any) -> None:
            assert answer == getattr(model, self.verb)(self.queue), self.verb

        port = memory.backend.inspector if self.verb == "purge" else memory.backend.queues
        return Step(lambda: getattr(port, self.verb)(self.queue), explain)


@dataclass(frozen=True)
class Configure:
    """How many tasks of a queue may run at once, and wait; None: any number."""

    queue: str
    workers: int | None
    size: int | None

    def bind(self, memory: Memory) -> Step | None:
        """Set it, or take it back."""
        config = QueueConfig(workers=self.workers or "default", max_size=self.size or "default")

        def explain(model: QueueModel, _: Any) -> None:
            model.configure(self.queue, self.workers, self.size)

        return Step(lambda: memory.backend.queues.configure(self.queue, config), explain)


@dataclass(frozen=True)
class Restrict:
    """What a tenant may have."""

    tenant: str
    quota: Quota

    def bind(self, memory: Memory) -> Step | None:
        """Set it, where one shard counts it for all queues."""
        if Capability.LIMITS_SPAN_QUEUES not in memory.backend.capabilities:
            return None
        return Step(
            lambda: memory.backend.tenants.configure(self.tenant, self.quota),
            lambda model, _: model.restrict(self.tenant, self.quota),
        )
