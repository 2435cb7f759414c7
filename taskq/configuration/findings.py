"""All that is wrong with a configuration: each key with the nearest right one, each value with its rule."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskq.backends import redact
from taskq.config import shown
from taskq.configuration.sources import DEFAULT, Key, Origins
from taskq.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from taskq.configuration.shape import Model

MOST_ERRORS = 100
"""Mistakes that are told at once: a file with more of them is another program's."""
LONGEST_KEY = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake."""

    key: str
    """The key, with dots; empty where it is about several."""
    where: str
    """Who said it: file and line, variable or option."""
    rule: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.rule) if part)


class WrongConfiguration(ConfigError):
    """A configuration that cannot be used.

    Arguments:
        findings: everything that is wrong with it.
        warnings: what may be a mistake beside that.
    """

    def __init__(self, findings: Sequence[Finding], warnings: Sequence[str] = ()) -> None:
        self.findings = tuple(findings)
        self.warnings = tuple(warnings)
        super().__init__("; ".join(self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each mistake, and for what may be one."""
        return (*map(str, self.findings), *self.warnings)


def findings_of(errors: Sequence[ErrorDetails], origins: Origins, model: Model) -> list[Finding]:
    """What pydantic has found, in our own words; no secret is shown."""
    from taskq.configuration import shape

    found: dict[Key, Finding] = {}
    for error in errors[:MOST_ERRORS]:
        known, annotation = shape.known_part(model, error["loc"])
        path = tuple(str(part)[:LONGEST_KEY] for part in error["loc"])
        key = path[: len(known) + 1] if error["type"] == "extra_forbidden" else known
        # What is missing was said by nobody: it is missing from something.
        origin = origins.of(key[:-1] if error["type"] == "missing" else key) if key else DEFAULT
        where = "" if origin is DEFAULT else origin.where
        hides = shape.is_secret(annotation)
        rule = _unknown(key, annotation, model) if error["type"] == "extra_forbidden" else _rule(error, hides)
        found.setdefault(key, Finding(".".join(key), where, _without(key, rule)))
    more = [Finding("", "", f"and {len(errors) - MOST_ERRORS:,} more")] if len(errors) > MOST_ERRORS else []
    return [*sorted(found.values(), key=_place), *more]


def _without(key: Key, rule: str) -> str:
    """A rule that does not repeat of which key it is."""
    if not key:
        return rule
    name = ".".join(key)
    return rule.removeprefix(f"{name}: ").removeprefix(f"{name} ").removeprefix(f"{key[-1]}: ")


def _place(finding: Finding) -> tuple[str, int, str]:
    name, _, line = finding.where.rpartition(":")
    return (name, int(line), finding.key) if line.isdigit() else (finding.where, 0, finding.key)


def _unknown(key: Key, section: Any, model: Model) -> str:
    """That a key is unknown, with the nearest of its section; or where such a key belongs."""
    from taskq.configuration import shape

    holder = shape.section_in(section)
    here = [] if holder is None else list(shape.keys(holder))
    if near := difflib.get_close_matches(key[-1].lower(), here, 1):
        return f"there is no such key, did you mean {'.'.join((*key[:-1], near[0]))}?"
    elsewhere = [path for path in shape.all_keys(model) if path[-1] == key[-1].lower()]
    if elsewhere:
        return f"there is no such key here, did you mean {'.'.join(elsewhere[0])}?"
    return f"there is no such key; there are {', '.join(here)}"


def _rule(error: ErrorDetails, hides: bool) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _BOUNDS:
        bound = next(iter(context.values()))
        return f"must be {_BOUNDS[kind]} {bound:,}"
    if kind == "literal_error":
        return _choice(error, str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", "))
    rule = next((text for start, text in _RULES.items() if kind.startswith(start)), None)
    if rule is None:
        return error["msg"]
    value = error["input"]
    if hides or not (value is None or isinstance(value, str | int | float)):
        return rule
    return f"{rule}, not {shown(redact(value) if isinstance(value, str) else value)}"


def _choice(error: ErrorDetails, choices: Sequence[str]) -> str:
    given = error["input"]
    given = redact(given) if isinstance(given, str) else given
    near = difflib.get_close_matches(given[:LONGEST_KEY], choices, 1) if isinstance(given, str) else []
    hint = f", did you mean {near[0]}?" if near else ""
    return f"must be one of {', '.join(choices)}, not {shown(given)}{hint}"


_BOUNDS = {
    "greater_than": "over",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
_RULES = {
    "int_": "must be a whole number",
    "float_": "must be a number",
    "finite_": "must be a number that is finite",
    "bool_": "must be true or false",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_": "must be text (in a file: in quotes)",
    "list_": "must be a list",
    "model_": "must be a section with keys of its own",
    "dict_": "must be a section with keys of its own",
    "missing": "is missing",
}
