"""Tables: drawn on a terminal within its room, plain for pipes, and whatever stands in them obeyed by neither."""

from __future__ import annotations

import doctest
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from taskq.cli import completing, drawing, table, values
from taskq.cli.drawing import drawn
from taskq.cli.table import Line, Table, Tone, View, plain_lines
from taskq.domain.state import TaskState

ID = "01a208f4-ae2f-784e-90d5-cc27f70a4800"
HOSTILE = "a\x1b[2J\x07\nb\u202e [bold]:smile:[/] [link=http://x]"
SHOWN = "a\\x1b[2J\\x07\\nb\\u202e [bold]:smile:[/] [link=http://x]"
NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
WIDE = Table(
    ("id", "task", "queue", "state", "attempt", "failure"),
    [
        (ID, "mail.send.to.everybody", "mail", TaskState.DEAD, 3, "ConnectionError: no route to host " * 3),
        (ID, "日本語の名前", "mail", TaskState.RUNNING, 12_345, None),
    ],
    spare=("attempt", "no such column", "queue"),
)


def painted(view: View, width: int = 200, height: int | None = None) -> list[str]:
    """The lines that a terminal shows."""
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None, _environ={}).print(
        drawn(view, width, height)
    )
    text = file.getvalue()
    assert "\x1b" not in text
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("module", [table, drawing, values, completing], ids=lambda module: module.__name__)
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


# ------------------------------------------------------------ plain


def test_a_plain_table_is_whole_and_in_full() -> None:
    rows = [("a", 1234, NOON, timedelta(seconds=90), 1.25, None), ("long " * 50, 5, None, None, None, "x")]
    first, second, third = plain_lines([Table(("name", "n", "at", "for", "rate", "note"), rows)])
    assert first.split() == ["name", "n", "at", "for", "rate", "note"]
    assert second.split("  ")[0] == "a"
    assert second.split()[1:] == ["1234", "2030-01-02T12:00:00+00:00", "90", "s", "1.2", "-"]
    assert third.startswith("long " * 50)


def test_a_plain_view_has_its_lines_in_their_order() -> None:
    view: View = ["first", Line("second", Tone.BAD), Table(("a",), []), Table(("a",), [("b",)])]
    assert plain_lines(view) == ["first", "second", "a", "b"]


def test_what_is_plain_obeys_nothing() -> None:
    lines = plain_lines([HOSTILE, Table((HOSTILE,), [(HOSTILE,)])])
    assert lines == [SHOWN] * 3


# ------------------------------------------------------------ drawn


def test_what_is_drawn_obeys_nothing_and_reads_no_markup() -> None:
    view: View = [HOSTILE, Line(HOSTILE, Tone.BAD), Table((HOSTILE, "n"), [(HOSTILE, 1)])]
    assert [line.removesuffix("  1").removesuffix("  n").rstrip() for line in painted(view)] == [SHOWN] * 4


def test_what_is_drawn_is_for_people() -> None:
    soon, gone = datetime.now(UTC) + timedelta(hours=5, seconds=1), datetime.now(UTC) - timedelta(minutes=5)
    rows = [(gone, 1234, 1234.5, timedelta(seconds=90), None), (soon, 5, 6.0, timedelta(hours=2), "x")]
    assert painted([Table(("at", "n", "rate", "for", "note"), rows)]) == [
        "at             n     rate  for   note",
        "5 min ago  1,234  1,234.5  90 s  -",
        "in 5 h         5      6.0  2 h   x",
    ]


def test_a_table_without_rows_is_not_drawn() -> None:
    assert painted(["a", Table(("b",), []), "c"]) == ["a", "c"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = painted([WIDE], width)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 3 + (width < 100)


def test_what_is_copied_stays_whole_and_texts_are_cut() -> None:
    head, first, second, gone = painted([WIDE], 80)
    assert head.split() == ["id", "task", "queue", "state", "failure"]
    assert first.startswith(f"{ID}  mail.sen")
    assert " dead " in first
    assert first.endswith("…")
    assert " running " in second
    assert gone == "no room for attempt"


@pytest.mark.parametrize(
    ("height", "expected"),
    [
        (20, ["text", "n", *map(str, range(9)), "n", "0", "1"]),
        (12, ["text", "n", *map(str, range(6)), "and 3 more", "n", "0", "1"]),
        (6, ["text", "n", "0", "and 8 more", "n", "and 2 more"]),
        (5, ["text", "n", "and 9 more", "n", "and 2 more"]),
        (1, ["text", "n", "and 9 more", "n", "and 2 more"]),
    ],
)
def test_rows_for_which_there_is_no_line_are_counted(height: int, expected: list[str]) -> None:
    view: View = ["text", Table(("n",), [(n,) for n in range(9)]), Table(("n",), [(0,), (1,)]), Table(("n",), [])]
    assert [line.strip() for line in painted(view, height=height)] == expected


def test_a_text_that_is_wrapped_takes_its_lines() -> None:
    view: View = ["x" * 45, Table(("n",), [(n,) for n in range(9)])]
    assert len(painted(view, 20, 10)) == 10


def test_states_have_colours_where_there_are_colours() -> None:
    file = io.StringIO()
    screen = Console(file=file, width=80, force_terminal=True, color_system="standard", _environ={})
    rows = [(state,) for state in ("dead", "running")]
    screen.print(drawn([Table(("state",), rows), Table(("name",), rows), Line("bad", Tone.BAD)], 80))
    text = file.getvalue()
    assert (text.count("\x1b[31mdead"), text.count("\x1b[36mrunning"), text.count("\x1b[1;31mbad")) == (1, 1, 1)
