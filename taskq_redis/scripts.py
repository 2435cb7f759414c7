"""The Lua scripts: one file for each method of a port, known to the server by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

from taskq.domain.limits import CUT_EVERY, LEAST_SHARE, LOOK_AGAIN, RECOVERY
from taskq.domain.message import (
    DAY,
    DEAD_RETENTION,
    DEFAULT_MAX_LOST_LEASES,
    DEFAULT_RETENTION,
    DIGEST_RETENTION,
    TOMBSTONE,
)
from taskq.domain.record import HISTORY_LIMIT, LOG_LIMIT, DeadReason
from taskq.domain.routing import AGED_EVERY, NOISY_LEAST, NOISY_SHARE
from taskq.ports.queues import DEFAULT_MAX_FINISHED, DEFAULT_MAX_SIZE, DEFAULT_WARN_AT

PROMOTE_PER_FETCH = 200
"""Due tasks of one queue that a fetch makes ready before it claims."""

ROOMS_PER_FETCH = 20
"""Gates of one queue that have opened, of which a fetch lets tasks out before it claims."""

TASKS_PER_CALL = 250
"""Tasks that one script ends, forgets or moves besides its own business, so that it holds up nobody for more than a few
ms: the bound of each step of maintenance, and of the expired tasks that a fetch comes upon."""

FOUND_MOST = 10_000
"""Tasks that did not fail which are found under one value of one state: the newest."""

JOINS_PER_CALL = 250
"""Tasks that one script tells of the end of a parent, beside its own business."""

QUEUES_PER_CALL = 20
"""Queues that one look at all of them tells of."""

LANES_AT_ONCE = 64
"""Lanes of one priority that a claim looks at, beside twice as many as it wants tasks."""

STEP_BACK = 60
"""Seconds of work that a store may have forgotten, after a failover, without being taken for an old copy."""

_CONSTANTS: dict[str, int | float | str] = {
    "DEFAULT_RETENTION": int(DEFAULT_RETENTION * 1000),
    "DEAD_RETENTION": int(DEAD_RETENTION * 1000),
    "DEFAULT_MAX_LOST": DEFAULT_MAX_LOST_LEASES,
    "DIGEST_RETENTION": int(DIGEST_RETENTION * 1000),
    "TOMBSTONE": int(TOMBSTONE * 1000),
    "HISTORY_LIMIT": HISTORY_LIMIT,
    "LOG_LIMIT": LOG_LIMIT,
    "AGED_EVERY": AGED_EVERY,
    "NOISY_LEAST": NOISY_LEAST,
    "NOISY_SHARE": NOISY_SHARE,
    "LANES_AT_ONCE": LANES_AT_ONCE,
    "QUEUES_PER_CALL": QUEUES_PER_CALL,
    "MAX_FINISHED": DEFAULT_MAX_FINISHED,
    "FOUND_MOST": FOUND_MOST,
    "PROMOTE_PER_FETCH": PROMOTE_PER_FETCH,
    "TASKS_PER_CALL": TASKS_PER_CALL,
    "JOINS_PER_CALL": JOINS_PER_CALL,
    "STEP_BACK": STEP_BACK,
    "MAX_SIZE": DEFAULT_MAX_SIZE,
    "WARN_AT": DEFAULT_WARN_AT,
    "ROOMS_PER_FETCH": ROOMS_PER_FETCH,
    "RECOVERY": RECOVERY,
    "LOOK_AGAIN": int(LOOK_AGAIN * 1000),
    "LEAST_SHARE": LEAST_SHARE,
    "CUT_EVERY": CUT_EVERY,
    "BREAKER_RETENTION": int(DAY * 1000),
    "POISON": DeadReason.POISON.value,
}
"""The figures of taskq.domain that the scripts need, under the names that they have there; durations in ms, those of
limits in seconds."""

_BUILT_ON: Mapping[str, list[str]] = {
    "annotate": ["_repeats"],
    "append": ["_journal"],
    "attach": ["_runs", "_joins"],
    "cancel": ["_runs", "_joins"],
    "catch_up": ["_found"],
    "command": ["_repeats"],
    "commit": ["_schedules", "_tenants", "enqueue"],
    "count_ended": ["_found"],
    "counts": ["_queues"],
    "discard": ["_found"],
    "enqueue": ["_tenants"],
    "examine": ["_runs", "_joins", "_examine"],
    "examine_flows": ["_examine"],
    "examine_keys": ["_examine"],
    "examine_place": ["_gates", "_found", "_examine"],
    "expire": ["_runs", "_joins"],
    "flow_cancel": ["_flows"],
    "flow_reopen": ["_flows"],
    "fetch": ["_runs", "_joins", "_gates", "_tenants", "_pick"],
    "found": ["_found"],
    "newest": ["_journal"],
    "override": ["_gates"],
    "peek": ["_tenants", "_pick"],
    "promote": ["_runs"],
    "prune": ["_found"],
    "purge": ["_runs", "_joins", "_tenants", "_pick"],
    "reap": ["_runs", "_joins", "_gates"],
    "recount": ["_examine"],
    "redrive": ["_found"],
    "relay": ["_runs", "_joins"],
    "reset": ["_gates"],
    "resolve": ["_runs", "_joins"],
    "settle": ["_runs", "_joins", "_gates"],
    "standing": ["_queues"],
}
"""What a script needs beside `_lib`. Redis makes each of its functions anew in each call, so that those which a single
enqueue does not need would cost it a tenth of its time."""
_WITHOUT_OWN = frozenset({"commit"})
"""The scripts that are nothing but what they are built on."""


class Script(NamedTuple):
    """One script, as the server runs it."""

    name: str
    source: bytes
    sha: str


@cache
def script(name: str) -> Script:
    """Read a script, with what it is built on before it.

    All but those that enqueue run on a server that is out of memory: a full server refuses work and still drains.
    """
    parts = ["_lib", *_BUILT_ON.get(name, []), *([] if name in _WITHOUT_OWN else [name])]
    constants = "".join(f"local {key} = {value!r}\n" for key, value in _CONSTANTS.items())
    flags = "" if "enqueue" in parts else " flags=allow-oom"
    folder = files("taskq_redis") / "lua"
    body = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
    source = f"#!lua{flags}\n{constants}{body}".encode()
    return Script(name, source, sha1(source, usedforsecurity=False).hexdigest())
