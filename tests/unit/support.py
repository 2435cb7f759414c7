"""What the tests of the application share: looking into the store, and being its worker by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import msgspec

from taskq import App, Failure, TaskRecord
from taskq.domain.envelope import unseal
from taskq.domain.limits import Limit
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Fail, Settlement
from taskq.handle import TaskHandle
from taskq.headers import Headers, decode_headers
from taskq.ports import Settled, SettleStatus

BROKEN = Failure("ConnectionError", "no route to host", "Traceback …", "0123456789abcdef")


async def record_of(app: App, handle: TaskHandle[Any]) -> TaskRecord:
    """What the store holds."""
    record = await (await app.backend()).inspector.get(handle.id)
    assert record is not None
    return record


async def limits_of(app: App, function: Callable[..., Any], *args: Any, **options: Any) -> tuple[Limit, ...]:
    """The limits of a call as the store holds them."""
    call = app.task(name=options.pop("name", "job"), **options)(function)
    return (await record_of(app, await call.aenqueue(*args))).limits


def payload_of(record: TaskRecord) -> Any:
    """The arguments in a record."""
    return msgspec.json.decode(unseal(record.id, record.name, record.body)[0])


def headers_of(record: TaskRecord) -> Headers:
    """The headers in a record."""
    return decode_headers(unseal(record.id, record.name, record.body)[1])


async def count(app: App) -> int:
    """How many tasks the store holds, of any state."""
    counts = await (await app.backend()).inspector.counts()
    return sum(sum(states.values()) for states in counts.values())


async def claim(app: App, queue: str = "default") -> Delivery:
    """Be a worker: claim the next task."""
    fetched = await (await app.backend()).broker.fetch([queue], 1, worker="w", lease=60, request_id=uuid4().hex)
    [delivery] = fetched.deliveries
    return delivery


async def settle(app: App, delivery: Delivery, settlement: Settlement) -> None:
    """Be a worker: say what becomes of the run."""
    [status] = await (await app.backend()).broker.settle([Settled(delivery, settlement)])
    assert status is SettleStatus.APPLIED


async def buried(
    app: App,
    name: str = "mail.send",
    *,
    queue: str = "default",
    reason: str = "exhausted",
    failure: Failure | None = BROKEN,
    dead_letter: bool = True,
    payload: Mapping[str, Any] | None = None,
    **options: Any,
) -> str:
    """A task that was given up, in a queue in which nothing else waits; returns its id."""
    handle = await app.aenqueue(name, payload, queue=queue, **options)
    how = Bury if dead_letter else Fail
    await settle(app, await claim(app, queue), how(reason, failure or Failure("", "")))
    return handle.id
