"""The small language in which tasks are asked for, the same for every face: `task:mail.* state:dead created:<2h`.

A query is terms with spaces between them, all of which must hold. A term is a field, ":" and what it must be: a value,
several with commas (any of them), or one with a comparison before it; a "-" before the term means the opposite. Values
of text may hold * and ?; one with spaces or commas stands in double quotes. A word without a field is looked for in
name, reason and failure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from taskq.domain.message import Priority
from taskq.domain.spans import parse_duration, parse_instant
from taskq.domain.state import FINAL, TaskState
from taskq.errors import InvalidOption


class Kind(StrEnum):
    """What the values of a field are."""

    TEXT = "text"
    STATE = "a state"
    PRIORITY = "a priority"
    NUMBER = "a whole number"
    AGE = "how long ago, such as 2h, or an instant, such as 2030-01-02T03:04Z"
    SPAN = "a duration, such as 30s"


class Operator(StrEnum):
    """How a value is compared; of how long ago something was, ">" is longer ago."""

    IS = ""
    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"


FIELDS: dict[str, Kind] = {
    "id": Kind.TEXT,
    "task": Kind.TEXT,
    "state": Kind.STATE,
    "queue": Kind.TEXT,
    "tenant": Kind.TEXT,
    "tag": Kind.TEXT,
    "worker": Kind.TEXT,
    "workflow": Kind.TEXT,
    "error": Kind.TEXT,
    "fingerprint": Kind.TEXT,
    "reason": Kind.TEXT,
    "priority": Kind.PRIORITY,
    "attempt": Kind.NUMBER,
    "created": Kind.AGE,
    "started": Kind.AGE,
    "ended": Kind.AGE,
    "due": Kind.AGE,
    "wait": Kind.SPAN,
    "run": Kind.SPAN,
}
META, WORD = "meta", ""
"""What begins a field of the metadata, and what stands for a term without a field."""
OTHER_NAMES = {"name": "task", "type": "task", "batch": "workflow", "flow": "workflow", "tags": "tag"}
ENDED, LIVE = "ended", "live"
"""Words that stand for all states of tasks that have ended, and that have not."""
LONGEST = 2000
"""Characters of a query."""
_ONE = r'"(?:[^"\\]|\\.)*"|[^\s",]+'
_TERM = re.compile(rf"(-)?(?:([A-Za-z_][A-Za-z0-9_.-]*):)?(>=|<=|>|<)?((?:{_ONE})(?:,(?:{_ONE}))*)(?=\s|$)")
_VALUE = re.compile(_ONE)
_CONNECTIVES = frozenset({"AND", "OR", "NOT"})


class QueryError(InvalidOption):
    """A query that cannot be read; the message says what of it."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition."""

    field: str
    values: tuple[str, ...]
    operator: Operator = Operator.IS
    is_negated: bool = False
    path: str = ""
    """Of the metadata: the names on the way, with dots."""

    @property
    def states(self) -> frozenset[TaskState]:
        """The states that a term about states names."""
        named = {ENDED: FINAL, LIVE: frozenset(TaskState) - FINAL}
        return frozenset().union(*(named.get(value) or {TaskState(value)} for value in self.values))


class Query(NamedTuple):
    """What tasks must be to be meant; without terms all are."""

    terms: tuple[Term, ...] = ()

    @property
    def states(self) -> frozenset[TaskState]:
        """The states in which a task can be that is meant."""
        left = frozenset(TaskState)
        for term in self.terms:
            if term.field == "state":
                left = left - term.states if term.is_negated else left & term.states
        return left

    def exactly(self, field: str) -> frozenset[str] | None:
        """The values of which a task must have one, as plain text; None where any will do, or only a pattern is known.

        Of tags, of which a task has several, those of one term: with the fewest of them.

        >>> sorted(parse("queue:mail,images -queue:mail").exactly("queue"))
        ['images', 'mail']
        >>> sorted(parse("tag:vip,new tag:art").exactly("tag"))
        ['art']
        """
        named = [
            frozenset(term.values)
            for term in self.terms
            if term.field == field and not term.is_negated and not any(map(is_pattern, term.values))
        ]
        if field == "tag":
            return min(named, key=len, default=None)
        return frozenset.intersection(*named) if named else None


def is_pattern(value: str) -> bool:
    """Whether a value of text stands for several.

    >>> is_pattern("mail.*"), is_pattern("mail.send")
    (True, False)
    """
    return "*" in value or "?" in value


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        QueryError: it cannot be read; the message says where, and what was perhaps meant.

    >>> parse("task:mail.* -state:dead,failed").terms[1].is_negated
    True
    >>> parse("stat:dead")
    Traceback (most recent call last):
        ...
    taskq.domain.query.QueryError: there is no field 'stat'; did you mean state? Put it in quotes to look for the word
    """
    if len(text) > LONGEST:
        raise QueryError(f"a query may have {LONGEST:,} characters, this one has {len(text):,}")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise QueryError("the query holds what is no character: it was written in another encoding than UTF-8")
    return Query(tuple(_terms(text)))


def _terms(text: str) -> Iterator[Term]:
    at = 0
    while rest := text[at:].strip():
        at = text.index(rest, at)
        found = _TERM.match(text, at)
        if found is None or found[4].endswith(":"):
            raise _unreadable(rest)
        minus, field, operator, values = found.groups()
        if field is None and (values in _CONNECTIVES or values[0] == "(" or values[-1] == ")"):
            raise QueryError(f"{values} means nothing: all terms must hold; write a,b for any of two, -queue:a for not")
        yield _term(field or WORD, tuple(map(_unquoted, _VALUE.findall(values))), operator or "", minus is not None)
        at = found.end()


def _unreadable(rest: str) -> QueryError:
    start = rest if len(rest) <= 30 else f"{rest[:29]}…"
    hint = "close the quotes" if rest.count('"') % 2 else "write field:value, and quotes around what has spaces"
    return QueryError(f"the query cannot be read from {start!r} on: {hint}")


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _term(field: str, values: tuple[str, ...], operator: str, is_negated: bool) -> Term:
    comparison = Operator(operator)
    if field.startswith(f"{META}."):
        if comparison is not Operator.IS:
            raise QueryError(f"{field} is compared as text: write {field}:value")
        return Term(META, values, comparison, is_negated, field.removeprefix(f"{META}."))
    field = OTHER_NAMES.get(field, field)
    kind = Kind.TEXT if field == WORD else FIELDS.get(field)
    if kind is None:
        near = difflib.get_close_matches(field, [*FIELDS, *OTHER_NAMES, META], 1)
        hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(FIELDS)}, {META}.…."
        raise QueryError(f"there is no field {field!r}; {hint} Put it in quotes to look for the word")
    if comparison is not Operator.IS and (kind in (Kind.TEXT, Kind.STATE) or len(values) > 1):
        raise QueryError(f"{field or 'a word'} is not compared with {operator}: write {field or 'word'}:value")
    if comparison is Operator.IS and kind in (Kind.AGE, Kind.SPAN):
        raise QueryError(f"{field} needs a comparison: {field}:<{values[0]} or {field}:>{values[0]}")
    return Term(field, tuple(_checked(field, kind, value) for value in values), comparison, is_negated)


def _checked(field: str, kind: Kind, value: str) -> str:
    """A value in the form in which it is compared."""
    try:
        if kind is Kind.STATE:
            return _state(value)
        if kind is Kind.PRIORITY:
            return str(int(Priority[value.upper()] if not value.isdigit() else Priority(int(value))))
        if kind is Kind.NUMBER:
            return str(int(value))
        if kind is Kind.SPAN:
            parse_duration(value)
        elif kind is Kind.AGE and not _is_duration(value):
            parse_instant(value)
    except (KeyError, ValueError):
        known = [priority.name.lower() for priority in Priority] if kind is Kind.PRIORITY else list(TaskState)
        hint = _nearest(value, known) if kind in (Kind.STATE, Kind.PRIORITY) else ""
        raise QueryError(f"{field}:{value} is not {kind}{hint}") from None
    return value


def _state(value: str) -> str:
    return value if value in (ENDED, LIVE) else str(TaskState(value.lower()))


def _is_duration(value: str) -> bool:
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True


def _nearest(value: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(value.lower(), known, 1)
    return f"; did you mean {near[0]}?" if near else f"; they are {', '.join(known)}"
