"""An enqueue as the statement takes it, and its answer as the statement tells it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

from taskq.domain.limits import pack_limits
from taskq.domain.message import DAY, Message
from taskq.errors import NotApplied
from taskq.ports import Enqueued, EnqueueStatus, Fill
from taskq_postgres.record import is_id, pack_parents, plain

_ENQUEUED = {
    "c": EnqueueStatus.CREATED,
    "d": EnqueueStatus.DUPLICATE,
    "x": EnqueueStatus.CONFLICT,
    "p": EnqueueStatus.STALE_PARENT,
    "f": EnqueueStatus.FULL,
    "r": EnqueueStatus.REPLACED,
    "n": EnqueueStatus.NO_PARENT,
    "o": EnqueueStatus.FLOW_OVER,
    "q": EnqueueStatus.OVER_QUOTA,
}
_TELLS_FILL = frozenset("cf")
_REFUSED = frozenset({EnqueueStatus.FULL, EnqueueStatus.NO_PARENT, EnqueueStatus.FLOW_OVER, EnqueueStatus.OVER_QUOTA})


def enqueued(messages: Sequence[Message], answer: str | None) -> list[Enqueued]:
    """The answers for messages, from what enqueue_v1 returns."""
    if not answer:
        return [Enqueued(message.id, EnqueueStatus.CREATED) for message in messages]
    letters, _, text = answer.partition("\n")
    more = json.loads(text) if text else {}
    owners, fills = more.get("owners", {}), {queue: Fill(*fill[:2]) for queue, fill in more.get("fills", {}).items()}
    return [
        Enqueued(
            owners.get(str(place), message.id),
            _ENQUEUED[letter],
            fills.get(message.queue) if letter in _TELLS_FILL else None,
        )
        for place, (message, letter) in enumerate(zip(messages, letters, strict=True), 1)
    ]


def misled(messages: Sequence[Message], answers: list[Enqueued]) -> list[int]:
    """Places of those that are to be sent anew: they were told of one of this call which held their unique key, and
    which was refused after that.

    Those that are refused for the same reason are answered here.
    """
    refused = {
        message.id: (message, answer)
        for message, answer in zip(messages, answers, strict=True)
        if answer.status in _REFUSED
    }
    again: list[int] = []
    for place, (message, answer) in enumerate(zip(messages, answers, strict=True)):
        if answer.status is not EnqueueStatus.DUPLICATE or answer.id == message.id or answer.id not in refused:
            continue
        other, why = refused[answer.id]
        if (message.queue, message.parents, message.flow) == (other.queue, other.parents, other.flow):
            answers[place] = why._replace(id=message.id if why.id == other.id else why.id)
        else:
            again.append(place)
    return again


def put_in(answers: list[Enqueued], places: Sequence[int], others: Sequence[Enqueued]) -> None:
    """Have these places be answered otherwise."""
    for place, answer in zip(places, others, strict=True):
        answers[place] = answer


def refuse_unstorable(messages: Sequence[Message]) -> None:
    """Refuse all of them, before any is stored, where one is none that Postgres can hold.

    Raises:
        NotApplied: it names the id, or what a text must not hold.
    """
    related = (
        id for m in messages if m.parents or m.flow for id in (*(edge.parent for edge in m.parents), m.flow) if id
    )
    strange = next((id for id in chain((message.id for message in messages), related) if not is_id(id)), None)
    if strange is not None:
        raise NotApplied(f"{strange!r} is no id of a task: a UUID in its canonical text form")
    texts = "".join([text for m in messages for text in (m.name, m.queue, m.group, m.tenant, m.digest, *m.tags)])
    texts += "".join([m.unique.key for m in messages if m.unique] + [one.key for m in messages for one in m.limits])
    if plain(texts) != texts:
        raise NotApplied("Postgres cannot hold the character NUL, nor half a surrogate pair, in a name or tenant")


def columns(messages: Sequence[Message]) -> tuple[Any, ...]:
    """The messages as sql/enqueue.sql takes them: an array for each field, and since when one can have ended."""
    ids = [message.id for message in messages]
    return (
        ids,
        [message.name for message in messages],
        [message.body for message in messages],
        [message.queue for message in messages],
        [int(message.priority) for message in messages],
        [message.group for message in messages],
        [seconds(message.delay) for message in messages],
        [seconds(message.eta) for message in messages],
        [seconds(message.expires) for message in messages],
        [message.max_lost_leases for message in messages],
        [message.dead_letter for message in messages],
        [float(message.retention) for message in messages],
        [message.tenant for message in messages],
        [message.digest for message in messages] if any(message.digest for message in messages) else None,
        _specials(messages),
        _since(ids),
    )


def _specials(messages: Sequence[Message]) -> str | None:
    special = {place: terms for place, message in enumerate(messages, 1) if (terms := special_of(message))}
    return json.dumps(special) if special else None


def special_of(message: Message) -> list[Any] | None:
    """What only some messages have, as enqueue_v1 takes it."""
    if not (message.unique or message.limits or message.replaces or message.parents or message.flow or message.tags):
        return None
    key, until, ttl = message.unique or (None, None, None)
    own = [key, until, ttl, pack_limits(message.limits) or None, message.longest_wait, message.replaces]
    return [*own, pack_parents(message.parents), message.flow or None, list(message.tags) or None]


def _since(ids: Sequence[str]) -> float | None:
    """The earliest instant at which a task with one of these ids can have ended: a UUIDv7 tells when it was made."""
    if not all(len(id) == 36 and id[14] == "7" for id in ids):
        return None
    first = min(ids)
    return int(first[:8] + first[9:13], 16) / 1000 - DAY


def seconds(value: float | None) -> float | None:
    """A span as the statements take it."""
    return None if value is None else float(value)
