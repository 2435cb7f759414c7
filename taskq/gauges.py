"""How the limits of a task stand, and taking them back to where they began."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskq.backends import Store, opened
from taskq.domain.limits import Breaker, Circuit, Limit, Rate, refilled, seconds_to_probe
from taskq.limits import KeepLatest
from taskq.ports import GateState
from taskq.task import Task
from taskq.terms import Terms


class Gauge(NamedTuple):
    """How one limit stands."""

    limit: Limit
    parked: int = 0
    """Tasks of the queue that wait until it opens."""
    holders: tuple[str, ...] = ()
    """Of a concurrency limit: the tasks that run."""
    tokens: float | None = None
    """Of a rate: how many may start now, by the clock of this process, which may differ from the store's."""
    share: float | None = None
    """Of a rate: the share of it that an adaptive limit allows."""
    status: str | None = None
    """Of a breaker: "closed", "open", or "half-open" where it lets probes through."""
    since: datetime | None = None
    """Of a breaker that is not closed: when it opened."""

    @property
    def openness(self) -> float:
        """Of a breaker: 1 where it is open, 0.5 where it lets probes through, else 0."""
        return {"open": 1.0, "half-open": 0.5}.get(self.status or "", 0.0)

    @property
    def kind(self) -> str:
        """What it is, as a word."""
        names = {"r": "rate", "c": "concurrency", "b": "breaker"}
        return names[self.limit.gate[0]]


def limits_of(task: Task[..., Any], arguments: Mapping[str, Any] | None = None, tenant: str = "") -> tuple[Limit, ...]:
    """The limits that a run of a task must pass.

    Arguments:
        task: whose.
        arguments: of the run, by name, as plain JSON data; None: only the limits that need none.
        tenant: of the run.

    Raises:
        InvalidPayload: the arguments do not fit the signature.

    >>> from taskq import App, Concurrency, RateLimit
    >>> @App("memory://").task(name="mail.send", concurrency=Concurrency(5), rate_limit=RateLimit("9/m", key="to"))
    ... def send(to: str) -> None: ...
    >>> limits_of(send)
    (Slots(key='mail.send', limit=5),)
    >>> len(limits_of(send, {"to": "a@b.c"}))
    2
    """
    if arguments is None:
        return _unkeyed(task.terms).limits(b"{}", tenant)
    return task.terms.limits(task.codec.encode_object(arguments), tenant)


def unkeyed_limits(tasks: Iterable[Task[..., Any]]) -> dict[str, list[Limit]]:
    """The limits of tasks that are not counted by arguments, of which there may be millions: by queue, each once.

    >>> from taskq import App, Concurrency
    >>> @App("memory://").task(name="mail.send", queue="mail", concurrency=Concurrency(5))
    ... def send(to: str) -> None: ...
    >>> unkeyed_limits([send])
    {'mail': [Slots(key='mail.send', limit=5)]}
    """
    found: dict[str, dict[str, Limit]] = {}
    for task in tasks:
        for limit in limits_of(task) if task.terms.has_limits else ():
            found.setdefault(task.queue, {})[limit.gate] = limit
    return {queue: list(limits.values()) for queue, limits in found.items()}


def keyed_of(task: Task[..., Any]) -> int:
    """How many limits of a task count by its arguments.

    >>> from taskq import App, KeepLatest
    >>> @App("memory://").task(name="draw", unique=KeepLatest(key="page"))
    ... def draw(page: int) -> None: ...
    >>> keyed_of(draw)
    1
    """
    given, plain = task.terms, _unkeyed(task.terms)
    latest = isinstance(given.unique, KeepLatest) and plain.unique is None
    return len(given.rates) - len(plain.rates) + len(given.slots) - len(plain.slots) + latest


def _unkeyed(terms: Terms) -> Terms:
    is_keyed = isinstance(terms.unique, KeepLatest) and bool(terms.unique.key)
    return replace(
        terms,
        rates=tuple(one for one in terms.rates if one.key is None),
        slots=tuple(one for one in terms.slots if one.key is None),
        unique=None if is_keyed else terms.unique,
    )


async def gauges(store: Store, queue: str, limits: Sequence[Limit]) -> list[Gauge]:
    """How limits stand, as tasks of a queue meet them.

    Arguments:
        store: an application, or an open backend.
        queue: limits are kept where their queue is, and the tasks that wait are counted in it.
        limits: see `limits_of`.

    >>> import asyncio
    >>> from taskq import App
    >>> asyncio.run(gauges(App("memory://"), "default", [Circuit("mail.send", 0.5, 60, 10, 30, 1)]))[0].status
    'closed'
    """
    states = await (await opened(store)).queues.gates(queue, [limit.gate for limit in limits])
    now = time.time()
    return [_gauge(limit, state, now) for limit, state in zip(limits, states, strict=True)]


async def reset(store: Store, queue: str, limits: Sequence[Limit]) -> None:
    """Take limits back to where they began: full buckets, closed breakers; what runs keeps its place.

    Arguments:
        store: an application, or an open backend.
        queue: limits are kept where their queue is.
        limits: see `limits_of`.

    >>> import asyncio
    >>> from taskq import App
    >>> asyncio.run(reset(App("memory://"), "default", [Rate("mail.send", 1.0, 1.0)]))
    """
    control = (await opened(store)).queues
    for limit in limits:
        await control.reset(queue, limit.gate)


def _gauge(limit: Limit, state: GateState, now: float) -> Gauge:
    gauge = Gauge(limit, state.parked)
    if isinstance(limit, Rate):
        bucket = refilled(state.bucket, limit, now)
        return gauge._replace(tokens=bucket.tokens, share=bucket.share)
    if isinstance(limit, Circuit):
        since = None if state.breaker is None else state.breaker.opened_at
        opened_at = None if since is None else datetime.fromtimestamp(since, UTC)
        return gauge._replace(status=_status(state.breaker, limit, now), since=opened_at)
    return gauge._replace(holders=state.holders)


def _status(breaker: Breaker | None, circuit: Circuit, now: float) -> str:
    if breaker is None or breaker.opened_at is None:
        return "closed"
    return "half-open" if breaker.probing or seconds_to_probe(breaker, circuit, now) == 0 else "open"
