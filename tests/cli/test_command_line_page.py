"""The examples in docs/command-line.md print what stands there."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.cli.support import taskq

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
SHOP = """
from taskq import App

app = App()


@app.task(name="mail.send", queue="mail")
def send(to: str) -> None: ...
"""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00|\b\d+\.\d s\b")
REST = "…"
"""A line that stands for all that follows."""


def examples() -> Iterator[tuple[str, list[str]]]:
    """The commands of the page, and the lines that they print there."""
    lines = [line.removeprefix("    ") for line in PAGE.read_text().splitlines() if not line or line.startswith("    ")]
    text, _, _ = "\n".join(lines).partition("taskq tasks list state:dead")
    for block in re.findall(r"^\$ taskq (.*\n(?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        command, *printed = block.rstrip("\n").split("\n")
        yield command, printed


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The application of the page, on a store of its own."""
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TASKQ_APP", "shop:app")
    monkeypatch.setenv("TASKQ_BACKEND", "memory://?snapshot=shop")
    yield
    sys.modules.pop("shop", None)


@pytest.mark.usefixtures("shop")
def test_the_examples() -> None:
    ids: dict[str, str] = {}
    ran = 0
    for command, expected in examples():
        words = [ids.get(word, word) for word in shlex.split(command)]
        result = taskq(*words)
        assert result.exit_code == 0, result.output
        printed = result.stdout.rstrip("\n").split("\n") if result.stdout else []
        for there, here in zip_longest(expected, printed, fillvalue=""):
            if there == REST:
                break
            ids |= dict(zip(_ID.findall(there), _ID.findall(here), strict=True))
            assert _without(there) == _without(here), command
        ran += 1
    assert ran > 15


def test_the_table_of_commands() -> None:
    table, _, _ = PAGE.read_text().partition("What these commands print")
    rows = re.findall(r"^\| ([a-z ]+) \| (.+) \|$", table, re.MULTILINE)
    sections = re.findall(r"^([A-Z][a-z ]+):\n((?:  .+\n)+)", taskq("--help").stdout, re.MULTILINE)
    helped = {title.lower(): re.findall(r"^  (\w+)", lines, re.MULTILINE) for title, lines in sections}
    del helped["options"]
    assert {title: re.findall("`(.+?)`", commands) for title, commands in rows} == helped


def _without(line: str) -> str:
    """A line without what is another each time."""
    return _TIME.sub("TIME", _ID.sub("ID", line))
