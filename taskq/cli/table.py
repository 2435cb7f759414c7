"""What is shown of what was found: lines and tables, drawn on a terminal, plain for pipes and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from taskq.cli.values import seconds_of
from taskq.domain.spans import spoken
from taskq.telemetry.logs import printable


class Tone(StrEnum):
    """How a line is meant."""

    GOOD = "good"
    BAD = "bad"
    ASIDE = "aside"


class Line(NamedTuple):
    """A line that stands out on a terminal, or stands back."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their head; without rows nothing of it is shown.

    Arguments:
        head: the name of each column.
        rows: for each column a text, a number, an instant, a duration, or None.
        spare: columns that go where a terminal has no room for all, the first of them first.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    spare: Sequence[str] = ()


View = Sequence[str | Line | Table]
"""What is shown, from the top to the bottom; a text is one line."""


def plain_lines(view: View) -> list[str]:
    """The lines of what is shown, without colours and uncut; two spaces at least part the columns of a table.

    >>> plain_lines(["found", Table(("name", "n"), [("a", 1), ("longer", None)])])
    ['found', 'name    n', 'a       1', 'longer  -']
    """
    lines: list[str] = []
    for part in view:
        if isinstance(part, Table):
            lines += _rows(part)
        else:
            lines.append(printable(text_of(part)))
    return lines


def text_of(line: str | Line) -> str:
    """The text of a line."""
    return line.text if isinstance(line, Line) else line


def _rows(table: Table) -> list[str]:
    if not table.rows:
        return []
    lines = [list(map(printable, table.head)), *([plain_cell(value) for value in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def plain_cell(value: object) -> str:
    """What stands in a cell, for programs too; an instant in full.

    >>> plain_cell(None), plain_cell(1234), plain_cell(1.25), plain_cell(timedelta(seconds=3))
    ('-', '1234', '1.2', '3.0 s')
    """
    match value:
        case None:
            return "-"
        case datetime():
            return seconds_of(value)
        case timedelta():
            return spoken(value.total_seconds())
        case float():
            return f"{value:.1f}"
        case _:
            return printable(str(value))


def drawn_cell(value: object, now: datetime) -> str:
    """What stands in a cell, for people: an instant as how long ago it was.

    >>> noon = datetime(2030, 1, 2, 12)
    >>> drawn_cell(noon - timedelta(minutes=5), noon), drawn_cell(noon + timedelta(hours=5), noon)
    ('5 min ago', 'in 5 h')
    >>> drawn_cell(1234, noon), drawn_cell(1234.5, noon), drawn_cell("a", noon)
    ('1,234', '1,234.5', 'a')
    """
    match value:
        case datetime():
            seconds = (now - value).total_seconds()
            return f"{spoken(seconds)} ago" if seconds >= 0 else f"in {spoken(-seconds)}"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case _:
            return plain_cell(value)
