"""Whether a task is one that a query means (taskq.domain.query)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from taskq.domain.query import FIELDS as KINDS
from taskq.domain.query import META, WORD, Kind, Operator, Query, Term, is_pattern
from taskq.domain.record import TaskRecord
from taskq.domain.spans import parse_duration, parse_instant
from taskq.domain.state import TaskState

_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.AT_LEAST: operator.ge,
    Operator.AT_MOST: operator.le,
    Operator.ABOVE: operator.gt,
    Operator.BELOW: operator.lt,
}
_TEXTS: Mapping[str, Callable[[TaskRecord], tuple[str, ...]]] = {
    "id": lambda record: (record.id,),
    "task": lambda record: (record.name,),
    "queue": lambda record: (record.queue,),
    "tenant": lambda record: (record.tenant,),
    "tag": lambda record: record.tags,
    "worker": lambda record: (record.worker,),
    "workflow": lambda record: (record.flow,),
    "error": lambda record: () if record.failure is None else (record.failure.type,),
    "fingerprint": lambda record: () if record.failure is None else (record.failure.fingerprint,),
    "reason": lambda record: (record.reason,),
}
_INSTANTS: Mapping[str, Callable[[TaskRecord], datetime | None]] = {
    "created": lambda record: record.created_at,
    "started": lambda record: record.started_at,
    "ended": lambda record: record.completed_at,
    "due": lambda record: record.due_at,
}


def matches(query: Query, record: TaskRecord, now: datetime, metadata: Mapping[str, Any]) -> bool:
    """Whether a task is meant.

    Arguments:
        query: as it was read.
        record: of the task.
        now: by the clock of whoever asks: how long ago something was is counted from then.
        metadata: of the task, {} where nobody can read it.
    """
    return all(_holds(term, record, now, metadata) is not term.is_negated for term in query.terms)


def has_metadata(query: Query) -> bool:
    """Whether what a query means depends on the metadata of tasks."""
    return any(term.field == META for term in query.terms)


def _holds(term: Term, record: TaskRecord, now: datetime, metadata: Mapping[str, Any]) -> bool:
    if term.field == WORD:
        failure = record.failure
        said = [record.name, record.reason, *(() if failure is None else (failure.type, failure.message))]
        return any(value.lower() in text.lower() for value in term.values for text in said)
    if term.field == META:
        return any(_is_like(value, text) for value in term.values for text in _found(metadata, term.path))
    match KINDS[term.field]:
        case Kind.TEXT:
            return any(_is_like(value, text) for value in term.values for text in _TEXTS[term.field](record))
        case Kind.STATE:
            return record.state in term.states
        case Kind.AGE:
            return _is_when(term, _INSTANTS[term.field](record), now)
        case Kind.SPAN:
            span = _span(term.field, record, now)
            return span is not None and _COMPARE[term.operator](span, parse_duration(term.values[0]))
        case kind:
            number = record.attempt if kind is Kind.NUMBER else int(record.priority)
            if term.operator is Operator.IS:
                return str(number) in term.values
            return _COMPARE[term.operator](number, int(term.values[0]))


def _is_like(value: str, text: str) -> bool:
    return _is_glob(value, text) if is_pattern(value) else value == text


def _is_glob(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern of * and ?, in time that grows with the product of their lengths at the most.

    Each part between two * is taken where it comes first: who takes it later leaves less for the rest.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return len(first) == len(text) and _fits(first, text, 0)
    last = rest.pop()
    at, end = len(first), len(text) - len(last)
    if at > end or not _fits(first, text, 0) or not _fits(last, text, end):
        return False
    for part in rest:
        at = next((place for place in range(at, end - len(part) + 1) if _fits(part, text, place)), -1)
        if at < 0:
            return False
        at += len(part)
    return True


def _fits(part: str, text: str, at: int) -> bool:
    if "?" not in part:
        return text.startswith(part, at)
    return at + len(part) <= len(text) and all(letter in ("?", text[at + n]) for n, letter in enumerate(part))


def _found(metadata: Mapping[str, Any], path: str) -> list[str]:
    """The texts that lie at a path, of a list each; what is no text is as JSON writes it."""
    if path in metadata:
        found: Any = metadata[path]
    else:
        found = metadata
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    return [_as_text(one) for one in (found if isinstance(found, list | tuple) else [found]) if one is not None]


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_when(term: Term, instant: datetime | None, now: datetime) -> bool:
    if instant is None:
        return False
    try:
        ago = parse_duration(term.values[0])
    except ValueError:
        return _COMPARE[term.operator](instant, parse_instant(term.values[0]))
    # Of what lies ahead, "due:<2h" is within two hours from now.
    return _COMPARE[term.operator](abs(now - instant), ago)


def _span(field: str, record: TaskRecord, now: datetime) -> timedelta | None:
    """How long a task has waited for its newest run, or that has taken, until now where it still does."""
    if field == "wait":
        return (record.started_at or record.completed_at or now) - record.created_at
    if record.started_at is None:
        return None
    if record.state is not TaskState.RUNNING and record.attempts:
        return record.attempts[-1].ended_at - record.started_at
    return (record.completed_at or now) - record.started_at
