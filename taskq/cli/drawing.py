"""Drawing on a terminal: what is shown as rich draws it, cut to the room that there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from taskq.cli.table import Line, Table, Tone, View, drawn_cell, text_of
from taskq.telemetry.logs import printable

GAP = 2
"""Spaces between two columns."""
LEAST = 12
"""Characters that a column with texts keeps at least, and the head of any other."""
_TONES = {Tone.GOOD: "green", Tone.BAD: "bold red", Tone.ASIDE: "dim"}
_WHOLE = {"id", "state", "example", "fingerprint"}
"""Columns of texts that are never cut: who reads them copies them."""
_STATES = {
    **dict.fromkeys(("completed", "done", "idle", "closed"), "green"),
    **dict.fromkeys(("running", "busy", "open"), "cyan"),
    **dict.fromkeys(("retrying", "scheduled", "blocked", "paused", "shutting down"), "yellow"),
    **dict.fromkeys(("failed", "dead", "under pressure"), "red"),
    **dict.fromkeys(("cancelled", "expired"), "dim"),
}


def console() -> Console:
    """The terminal; nothing that is printed there is read as markup."""
    return Console(highlight=False, markup=False, emoji=False)


def draw(view: View) -> None:
    """Print something for people."""
    screen = console()
    for part in _parts(view, screen.width, None):
        screen.print(part, soft_wrap=isinstance(part, Text))  # a line can be copied from the terminal as one line


def drawn(view: View, width: int, height: int | None = None) -> RenderableType:
    """What is shown, ready to be painted.

    Arguments:
        width: of the terminal, in characters.
        height: lines that there are; where it takes more, rows of tables are left out. None: any number.
    """
    return Group(*_parts(view, width, height))


def _parts(view: View, width: int, height: int | None) -> Iterator[RenderableType]:
    now = datetime.now(UTC)
    rows = iter(_rows_for(view, width, height))
    for part in view:
        if not isinstance(part, Table):
            yield Text(printable(text_of(part)), _TONES[part.tone] if isinstance(part, Line) else "")
        elif part.rows:
            yield from _table(part, width, next(rows), now, height is not None)


def shares(wants: Sequence[int], room: int) -> list[int]:
    """How much of some room each gets: all that it wants, where that is not more than its part.

    >>> shares([2, 30, 50], 20), shares([2, 3], 20), shares([4], -1)
    ([2, 9, 9], [2, 3], [0])
    """
    got, left = [0] * len(wants), max(0, room)
    for done, place in enumerate(sorted(range(len(wants)), key=wants.__getitem__)):
        got[place] = min(wants[place], left // (len(wants) - done))
        left -= got[place]
    return got


def _rows_for(view: View, width: int, height: int | None) -> list[int]:
    """How many lines of each table there is room for, under its head."""
    wants = [len(part.rows) for part in view if isinstance(part, Table) and part.rows]
    if height is None:
        return wants
    texts = [printable(text_of(part)) for part in view if not isinstance(part, Table)]
    lines = sum(max(1, -(-cell_len(text) // width)) for text in texts)
    return shares(wants, height - lines - len(wants))


def _table(table: Table, width: int, lines: int, now: datetime, is_bound: bool) -> list[RenderableType]:
    """A table of which as many rows are shown as there are lines, and below it what is not shown.

    Where it is bound to the lines there is none for the columns that are left out.
    """
    most = len(table.rows) if lines >= len(table.rows) else max(0, lines - 1)
    cells = [[drawn_cell(value, now) for value in row] for row in table.rows[:most]]
    kept = fitting(table, cells, width)
    grid = RichTable(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for place in kept:
        _add_column(grid, table, cells, place)
    for row in cells:
        grid.add_row(*(_cell(table.head[place], row[place]) for place in kept))
    notes = [] if most == len(table.rows) else [f"and {len(table.rows) - most:,} more"]
    gone = [name for place, name in enumerate(table.head) if place not in kept]
    if gone and (notes or not is_bound):
        notes.append(f"no room for {', '.join(gone)}")
    return [grid, *([_aside("; ".join(notes))] if notes else [])]


def _aside(text: str) -> Text:
    return Text(text, "dim", no_wrap=True, overflow="ellipsis")


def fitting(table: Table, cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """The places of the columns for which there is room."""
    least = [_least(table, cells, place) for place in range(len(table.head))]
    kept = list(range(len(table.head)))
    for name in (name for name in table.spare if name in table.head):
        if sum(least[place] for place in kept) + GAP * (len(kept) - 1) <= width:
            break
        kept.remove(table.head.index(name))
    return kept


def _add_column(grid: RichTable, table: Table, cells: Sequence[Sequence[str]], place: int) -> None:
    head = Text(printable(table.head[place]), no_wrap=True, overflow="ellipsis")
    width = _least(table, cells, place) if _is_whole(table, place) else None
    justify: JustifyMethod = "right" if _is_number(table, place) else "left"
    grid.add_column(head, justify=justify, no_wrap=width is not None, width=width)


def _least(table: Table, cells: Sequence[Sequence[str]], place: int) -> int:
    """The characters with which a column can do."""
    widest = max((cell_len(row[place]) for row in cells), default=0)
    head = min(cell_len(table.head[place]), LEAST)
    return max(widest, head) if _is_whole(table, place) else max(min(widest, LEAST), head)


def _is_whole(table: Table, place: int) -> bool:
    return table.head[place] in _WHOLE or all(
        isinstance(row[place], int | float | datetime | timedelta | None) for row in table.rows
    )


def _is_number(table: Table, place: int) -> bool:
    values = [row[place] for row in table.rows if row[place] is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _cell(name: str, text: str) -> Text:
    style = _STATES.get(text, "") if name == "state" else ""
    return Text(text, style, no_wrap=True, overflow="ellipsis")
