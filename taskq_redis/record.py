"""From the fields of a record's hash to the TaskRecord that everybody sees.

    s   state: p PENDING in its lane, f PENDING in front, g PENDING at a closed gate, a PENDING let out of there,
        s SCHEDULED, b BLOCKED, r RUNNING, t RETRYING, c COMPLETED, x FAILED, d DEAD, k CANCELLED, e EXPIRED
    q   queue                       l   lane, "<priority>:<group>"
    b   "<name>\\n<body>"            o   options that are not the defaults: "<expires at> <retention> <max lost leases>
    c   created at                      <dead letter: 0 or -><flags> <tenant>", "-" for a default; flags: u it has a
                                        unique key, x it has limits, m it is a member of a flow, c others wait for it,
                                        h it has a tenant
    un  unique key, "<until: s, d or t> <ms or -> <key>"    g   limits (taskq.domain.limits.pack_limits)
    tl  limits of its tenant, when it came to them
    rm  the gate at which it waits, of g                    lw  the longest that it may be put off, ms
    e   stream entry with which it last came to its lane: since when it is ready
    d   due at, of s and t
    f   fence, a attempt, w worker, u started at: of the newest delivery
    sf  fence that was settled; not written by the usual success, which `c` says as well
    ll  lost leases                 cr  reason of a cancel that was asked for while it ran
    z   ended at, r result (without one: null), rs reason, fl newest failure
    h   history, a line of JSON for each attempt but a success, which is read off the record
    pg  progress, ck checkpoint     aw  somebody waits for the end
    pa  parents, "<c, r or f><id>,…"    dl  delay (ms) once it is BLOCKED no more    ln  it was redriven
    fw  the flow of which it is a member                    tg  tags, a JSON array
    ix  under what it is found once it has ended (_found.lua)
    ct, rd  the calls that cancelled or redrove it, ts the newest that logged, so that a repeat is known

And of the hash of a flow:

    at  created at, cl closed at, en ended at    kd kind, nm name, sp spec, rt retention, hl it holds its members
    n   members, c completed, x failed, k cancelled, those of this shard    ff  a failure was told of
    pt  it was cancelled before it was closed
    cr  reason of its cancel, cx<shard> members of that shard that were cancelled, cd all were
    cb<s, f or c>  the message of a callback, fd the letters of those that have fired

Instants are ms since the epoch by the store's clock, durations are ms.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from taskq.domain.limits import pack_limits, unpack_limits
from taskq.domain.message import DEFAULT_MAX_LOST_LEASES, DEFAULT_RETENTION, Message, Priority
from taskq.domain.record import HISTORY_LIMIT, Attempt, AttemptOutcome, Failure, Progress, TaskRecord
from taskq.domain.state import FINAL, TaskState
from taskq.domain.unique import UniqueKey, Until
from taskq.domain.workflow import Edge, OnParentFailure
from taskq.errors import InvalidOption

STATES: Mapping[bytes, TaskState] = {
    b"p": TaskState.PENDING,
    b"g": TaskState.PENDING,
    b"a": TaskState.PENDING,
    b"f": TaskState.PENDING,
    b"s": TaskState.SCHEDULED,
    b"b": TaskState.BLOCKED,
    b"r": TaskState.RUNNING,
    b"t": TaskState.RETRYING,
    b"c": TaskState.COMPLETED,
    b"x": TaskState.FAILED,
    b"d": TaskState.DEAD,
    b"k": TaskState.CANCELLED,
    b"e": TaskState.EXPIRED,
}
LETTERS: Mapping[TaskState, str] = {state: letter.decode() for letter, state in STATES.items()}
"""The letter of each state; of PENDING the one of the front lane."""
_ON_FAILURE = {each[0]: each for each in OnParentFailure}
_UNTIL = {until[0]: until for until in Until}
_EPOCH = datetime.fromtimestamp(0, UTC)


class Options(NamedTuple):
    """What the field `o` says."""

    expires_at: int | None = None
    retention: float = DEFAULT_RETENTION
    max_lost_leases: int = DEFAULT_MAX_LOST_LEASES
    dead_letter: bool = True
    tenant: str = ""
    is_limited: bool = False


def milliseconds(seconds: float) -> int:
    """A duration or an instant in ms, rounded up, so that nothing happens too early.

    >>> milliseconds(0.0001), milliseconds(1.5)
    (1, 1500)
    """
    return math.ceil(round(seconds * 1000, 3))


def plain(text: str) -> str:
    """Text as UTF-8 can hold it: without lone surrogates.

    >>> plain("a" + chr(0xD800))
    'a?'
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def check_text(message: Message) -> None:
    """Refuse a message that cannot be written down, before it shares a call with others.

    Raises:
        InvalidOption: one of its texts holds a lone surrogate.
    """
    text = f"{message.id}{message.name}{message.queue}{message.group}{message.tenant}{message.digest}"
    if message.limits or message.unique:
        text += "".join(limit.key for limit in message.limits) + (message.unique.key if message.unique else "")
    if not text.isascii() and plain(text) != text:
        raise InvalidOption(f"{message.name!a}: name, queue, group and tenant of a task must not hold lone surrogates")


def pack_options(message: Message) -> str:
    """The field `o` without the instant of expiry, "" where everything is the default.

    >>> pack_options(Message("5b", "f")), pack_options(Message("5b", "f", retention=60, tenant="acme"))
    ('', '60000 - - acme')
    """
    flags = f"{'u' if message.unique else ''}{'x' if message.limits else ''}{'m' if message.flow else ''}"
    flags += "h" if message.group else ""
    if (
        not flags
        and message.retention == DEFAULT_RETENTION
        and message.max_lost_leases == DEFAULT_MAX_LOST_LEASES
        and message.dead_letter
        and not message.tenant
    ):
        return ""
    retention = "-" if message.retention == DEFAULT_RETENTION else str(milliseconds(message.retention))
    lost = "-" if message.max_lost_leases == DEFAULT_MAX_LOST_LEASES else str(message.max_lost_leases)
    return f"{retention} {lost} {'-' if message.dead_letter else '0'}{flags} {message.tenant}"


def pack_unique(unique: UniqueKey | None) -> str:
    """The field `un`.

    >>> pack_unique(UniqueKey("k1", Until.TTL, 60))
    't 60000 k1'
    """
    if unique is None:
        return ""
    ttl = "-" if unique.ttl is None else str(milliseconds(unique.ttl))
    return f"{unique.until[0]} {ttl} {unique.key}"


def unpack_unique(text: bytes | None) -> UniqueKey | None:
    """Read the field `un`."""
    if not text:
        return None
    letter, ttl, key = text.decode().split(" ", 2)
    return UniqueKey(key, _UNTIL[letter], None if ttl == "-" else int(ttl) / 1000)


def pack_special(message: Message) -> str:
    """What only some messages have, as enqueue.lua takes it; "" for most.

    >>> pack_special(Message("5b", "f"))
    ''
    """
    if not (message.unique or message.limits or message.replaces or message.parents or message.flow or message.tags):
        return ""
    longest = "" if message.longest_wait is None else milliseconds(message.longest_wait)
    own = [pack_unique(message.unique), pack_limits(message.limits), longest, message.replaces]
    return json.dumps(
        [*own, pack_parents(message.parents), message.flow, json.dumps(message.tags) if message.tags else ""]
    )


def pack_parents(parents: Sequence[Edge]) -> str:
    """The field `pa`, each parent once.

    >>> pack_parents([Edge("5b", OnParentFailure.RUN), Edge("5c")])
    'r5b,c5c'
    """
    return ",".join([f"{on_failure[0]}{parent}" for parent, on_failure in dict(parents).items()])


def unpack_parents(text: bytes | None) -> tuple[Edge, ...]:
    """Read the field `pa`."""
    return tuple(Edge(one[1:], _ON_FAILURE[one[0]]) for one in text.decode().split(",")) if text else ()


@lru_cache(maxsize=1024)
def unpack_options(text: bytes) -> Options:
    """Read the field `o`; many tasks have the same.

    >>> unpack_options(b"- 60000 - 0 acme")
    Options(expires_at=None, retention=60.0, max_lost_leases=3, dead_letter=False, tenant='acme', is_limited=False)
    """
    if not text:
        return Options()
    expires, retention, lost, letter, tenant = text.split(b" ", 4)
    return Options(
        None if expires == b"-" else int(expires),
        DEFAULT_RETENTION if retention == b"-" else int(retention) / 1000,
        DEFAULT_MAX_LOST_LEASES if lost == b"-" else int(lost),
        letter[:1] != b"0",
        tenant.decode(),
        b"x" in letter,
    )


def to_record(id: str, flat: Sequence[bytes], logs: Sequence[bytes] = ()) -> TaskRecord | None:
    """The record of a task from the reply of HGETALL, None from an empty one."""
    fields: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))
    if not fields:
        return None
    state = STATES[fields[b"s"]]
    name, _, body = fields[b"b"].partition(b"\n")
    priority, _, group = fields[b"l"].partition(b":")
    options = unpack_options(fields.get(b"o", b""))
    result = fields.get(b"r", b"null") if state is TaskState.COMPLETED else fields.get(b"r")
    return TaskRecord(
        id=id,
        name=name.decode(),
        queue=fields[b"q"].decode(),
        state=state,
        priority=Priority(int(priority)),
        group=group.decode(),
        tenant=options.tenant,
        body=body,
        created_at=_instant(fields[b"c"]),
        due_at=_maybe(fields.get(b"d")) if state in (TaskState.SCHEDULED, TaskState.RETRYING) else None,
        expires_at=None if options.expires_at is None else _instant(options.expires_at),
        started_at=_maybe(fields.get(b"u")),
        completed_at=_maybe(fields.get(b"z")),
        fence=int(fields.get(b"f", 0)),
        attempt=int(fields.get(b"a", 0)),
        lost_leases=int(fields.get(b"ll", 0)),
        max_lost_leases=options.max_lost_leases,
        dead_letter=options.dead_letter,
        retention=options.retention,
        worker=fields.get(b"w", b"").decode(),
        cancel_requested=b"cr" in fields and state not in FINAL,
        result=result,
        reason=fields.get(b"rs", b"").decode(),
        failure=to_failure(fields.get(b"fl")),
        attempts=_attempts(fields),
        progress=_progress(fields.get(b"pg")),
        checkpoint=fields.get(b"ck"),
        logs=tuple(line.decode() for line in logs),
        unique=unpack_unique(fields.get(b"un")),
        limits=unpack_limits(fields.get(b"tl", b"").decode()) + unpack_limits(fields.get(b"g", b"").decode()),
        waits_at=fields[b"rm"].decode() if fields[b"s"] == b"g" else "",
        parents=unpack_parents(fields.get(b"pa")),
        flow=fields.get(b"fw", b"").decode(),
        tags=tuple(json.loads(fields.get(b"tg", b"[]"))),
    )


def to_failure(text: bytes | None) -> Failure | None:
    """A failure from its JSON."""
    return Failure.from_json(text) if text else None


def pack_progress(progress: Progress) -> bytes:
    """The field `pg`: a line of JSON, then the data as they are."""
    return json.dumps([progress.fraction, progress.message]).encode() + b"\n" + progress.data


def _progress(text: bytes | None) -> Progress | None:
    if text is None:
        return None
    head, _, data = text.partition(b"\n")
    fraction, message = json.loads(head)
    return Progress(fraction, message, data)


def _attempts(fields: Mapping[bytes, bytes]) -> tuple[Attempt, ...]:
    attempts = [_attempt(json.loads(line)) for line in fields.get(b"h", b"").splitlines()]
    if fields[b"s"] == b"c":
        attempts.append(
            Attempt(
                int(fields[b"f"]),
                int(fields[b"a"]),
                fields[b"w"].decode(),
                _instant(fields[b"u"]),
                _instant(fields[b"z"]),
                AttemptOutcome.SUCCEEDED,
            )
        )
    return tuple(attempts[-HISTORY_LIMIT:])


def _attempt(row: Sequence[Any]) -> Attempt:
    fence, attempt, worker, started, ended, outcome, failure = row
    known = None if failure is None else Failure.from_json(json.dumps(failure))
    return Attempt(fence, attempt, worker, _instant(started), _instant(ended), AttemptOutcome(outcome), known)


def _instant(ms: bytes | int) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(ms))


def _maybe(ms: bytes | None) -> datetime | None:
    return None if ms is None else _instant(ms)
