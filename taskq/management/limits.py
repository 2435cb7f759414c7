"""Limits: how they stand, taking them back to where they began, and what is to hold in their place for now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from taskq.config import check_identifier, is_number, is_whole, shown
from taskq.domain.limits import Limit
from taskq.domain.overrides import Override, applied, heeded
from taskq.domain.retry import LONGEST
from taskq.errors import InvalidOption, NotApplied
from taskq.gauges import Gauge, gauges, reset
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.ports import Backend

MOST_OVERRIDES = 1000
_MOST_RATE, _MOST_BURST, _MOST_SLOTS = 1e6, 1e9, 1_000_000
_LONGEST_REASON = 200


class LimitDesk(Desk):
    """The limits of a store."""

    async def gauges(self, queue: str, limits: Sequence[Limit]) -> Sequence[Gauge]:
        """How limits stand, as tasks of a queue meet them, by the figures that hold now.

        Arguments:
            queue: limits are kept where their queue is.
            limits: those of a task: taskq.gauges.limits_of.
        """
        held = {each.gate: each for each in await self.overrides()}
        holding = [applied(limit, heeded(limit.gate, held)) for limit in limits]
        return await gauges(self.app, check_identifier("queue", queue), holding)

    async def reset(self, queue: str, limits: Sequence[Limit]) -> None:
        """Take limits back to where they began: full buckets, closed breakers; what runs keeps its place."""
        on = {"queue": check_identifier("queue", queue), "gates": [limit.gate for limit in limits]}
        async with self.act(Permission.STEER_QUEUES, "limits.reset", on):
            await reset(self.app, queue, limits)

    async def overrides(self) -> Sequence[Override]:
        """What holds now for limits and breakers instead of what tasks bring along, by name."""
        return await (await self.look(Permission.READ_FLEET)).overrides.all()

    async def rate(self, queue: str, gate: str, per_second: float, burst: float | None = None, **said: Any) -> Override:
        """Have another rate hold, in the whole fleet, from the next claim on.

        Arguments:
            queue: of the tasks that meet it: limits are kept where their queue is.
            gate: "r:mail.send", or "r:mail.send:*" for all keys (taskq.terms: `Terms.gates`).
            per_second: starts a second.
            burst: how many may start at once after a pause; None: a tenth of a second's worth, at least one.
            said: `lasting`, a timedelta after which it ends by itself, and `reason`, for people.

        Raises:
            InvalidOption: a value is out of its range, or the gate is none of a rate.
        """
        _require(is_number(per_second) and 1 / LONGEST <= per_second <= _MOST_RATE,
                 "per_second must be from one start in ten years to a million a second", per_second)  # fmt: skip
        most = max(1.0, per_second / 10) if burst is None else burst
        _require(is_number(most) and 1 <= most <= _MOST_BURST, "burst must be from 1 to a thousand million", burst)
        figures = {"per_second": float(per_second), "burst": float(most)}
        return await self._put(queue, check_gate(gate, "r"), figures, **said)

    async def concurrency(self, queue: str, gate: str, limit: int, **said: Any) -> Override:
        """Have another number of tasks run at once; 0 begins none. Arguments and errors as for `rate`."""
        in_range = is_whole(limit) and 0 <= limit <= _MOST_SLOTS
        _require(in_range, "limit must be a whole number from 0 to 1,000,000", limit)
        return await self._put(queue, check_gate(gate, "c"), {"limit": limit}, **said)

    async def breaker(self, queue: str, gate: str, *, is_open: bool, **said: Any) -> Override:
        """Have a breaker hold all of its tasks back, or let all through, whatever it has counted.

        It goes on counting, and is again what its counts say when this ends. Arguments and errors as for `rate`.
        """
        return await self._put(queue, check_gate(gate, "b"), {"is_open": bool(is_open)}, **said)

    async def recall(self, queue: str, gate: str) -> bool:
        """Have hold again what tasks bring along; False where nothing else held."""
        on = {"queue": check_identifier("queue", queue), "gate": check_gate(gate)}
        backend = await self.look(Permission.STEER_QUEUES)
        before = await _held(backend, gate)
        async with self.act(Permission.STEER_QUEUES, "limits.recall", on, before=before):
            return await backend.overrides.remove(queue, gate)

    async def _put(
        self, queue: str, gate: str, figures: Mapping[str, Any], lasting: timedelta | None = None, reason: str = ""
    ) -> Override:
        is_span = lasting is None or timedelta(0) < lasting <= timedelta(seconds=LONGEST)
        _require(is_span, "lasting must be over 0 and at most ten years", lasting)
        is_line = len(reason) <= _LONGEST_REASON and reason.isprintable()
        _require(is_line, f"reason must be at most {_LONGEST_REASON} printable characters", reason)
        on = {"queue": check_identifier("queue", queue), "gate": gate}
        backend = await self.look(Permission.STEER_QUEUES)
        held = await backend.overrides.all()
        if len(held) >= MOST_OVERRIDES and gate not in [each.gate for each in held]:
            raise NotApplied(f"{MOST_OVERRIDES:,} overrides hold already: take some back with `taskq limits recall`")
        until = None if lasting is None else await _now(backend) + lasting.total_seconds()
        override = Override(gate, **figures, until=until, reason=reason)
        before = await _held(backend, gate)
        async with self.act(Permission.STEER_QUEUES, "limits.override", on, before=before, after=_plain(override)):
            await backend.overrides.put(queue, override)
        return override


def check_gate(gate: object, kind: str = "") -> str:
    """Return the name of a gate if it is fit to be overridden.

    Raises:
        InvalidOption: it is no such name, is of another kind, or of what is set for a queue itself.

    >>> check_gate("r:mail.send:*", "r")
    'r:mail.send:*'
    """
    kinds = {"r": "rate", "c": "concurrency limit", "b": "breaker"}
    letter, _, key = gate.partition(":") if isinstance(gate, str) else ("", "", "")
    if letter not in kinds or not key or len(key) > 500 or not key.isprintable():
        raise InvalidOption(f"a gate is named like r:mail.send, c:printer or b:mail.send, not {shown(gate)}")
    if kind and letter != kind:
        raise InvalidOption(f"{gate} is the gate of a {kinds[letter]}, not of a {kinds[kind]}")
    if key.startswith("queue:"):
        raise InvalidOption(f"{gate} is set for the queue itself: change it with `taskq queues set`")
    return str(gate)


async def _now(backend: Backend) -> float:
    """The store's clock, by which overrides end; this process's where it has none to tell."""
    return time.time() if backend.scheduler is None else (await backend.scheduler.now("default")).timestamp()


async def _held(backend: Backend, gate: str) -> dict[str, Any] | None:
    return next((_plain(each) for each in await backend.overrides.all() if each.gate == gate), None)


def _plain(override: Override) -> dict[str, Any]:
    """An override as the audit trail tells it."""
    said = {name: value for name, value in override._asdict().items() if value not in (None, "") and name != "gate"}
    if override.until is not None:
        said["until"] = datetime.fromtimestamp(override.until, UTC).isoformat(timespec="seconds")
    return said


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise InvalidOption(f"{rule}, not {shown(value)}")
