"""What holds for a gate instead of what tasks bring along, until it is taken back: figures, or the state of a breaker.

The name of an override is that of a gate. "r:mail.send:*" stands for the gates of all keys of a limit, such as
"r:mail.send:5f…", but for those that have one of their own. What is set for a queue itself is changed there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from taskq.domain.limits import Limit, Rate, Slots


class Override(NamedTuple):
    """What holds for a gate."""

    gate: str
    per_second: float | None = None
    """Of a rate, with `burst`."""
    burst: float | None = None
    limit: int | None = None
    """Of a concurrency limit; 0 lets nobody through."""
    is_open: bool | None = None
    """Of a breaker: whether it holds all back, or lets all through, whatever it has counted; it goes on counting."""
    until: float | None = None
    """The instant at which it ends, in seconds; None: when it is taken back."""
    reason: str = ""


def names_of(gate: str) -> tuple[str, ...]:
    """The names of the overrides that a gate heeds: the first there is.

    >>> names_of("r:mail.send:5f"), names_of("c:printer"), names_of("r:queue:mail")
    (('r:mail.send:5f', 'r:mail.send:*'), ('c:printer',), ())
    """
    if gate.startswith("r:queue:"):
        return ()
    base = gate.rpartition(":")[0]
    return (gate, f"{base}:*") if ":" in base else (gate,)


def heeded(gate: str, overrides: Mapping[str, Override]) -> Override | None:
    """The override that a gate heeds, of those that hold.

    >>> heeded("c:mail.send:5f", {"c:mail.send:*": Override("c:mail.send:*", limit=1)}).limit
    1
    >>> heeded("c:mail.send", {"c:mail.send:*": Override("c:mail.send:*", limit=1)})
    """
    return next((overrides[name] for name in names_of(gate) if name in overrides), None)


def is_over(override: Override, now: float) -> bool:
    """Whether an override has ended.

    >>> is_over(Override("c:printer", limit=1, until=10.0), 10.0)
    True
    """
    return override.until is not None and override.until <= now


def applied(limit: Limit, override: Override | None) -> Limit:
    """A limit with the figures that hold instead of its own.

    >>> applied(Slots("printer", 5), Override("c:printer", limit=1))
    Slots(key='printer', limit=1)
    """
    if override is None:
        return limit
    if isinstance(limit, Rate) and override.per_second is not None and override.burst is not None:
        return limit._replace(per_second=override.per_second, burst=override.burst)
    if isinstance(limit, Slots) and override.limit is not None:
        return limit._replace(limit=override.limit)
    return limit


def write(override: Override) -> str:
    """An override as JSON, without its name and what it does not say.

    >>> write(Override("c:printer", limit=1))
    '{"limit":1,"reason":""}'
    """
    said = {name: value for name, value in override._asdict().items() if name != "gate" and value is not None}
    return json.dumps(said, separators=(",", ":"))


def read(gate: str, text: str) -> Override:
    """What `write` wrote; what a later release has added is left out.

    >>> read("c:printer", '{"limit":1,"reason":"","new":2}').limit
    1
    """
    said = json.loads(text)
    return Override(gate, **{name: said[name] for name in Override._fields if name in said})
