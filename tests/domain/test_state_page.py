"""The page on the states is drawn from the state table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from taskq.domain.state import TRANSITIONS, Event, TaskState

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_state_diagram", DOCS / "make_state_diagram.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "state-machine.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date(generator: ModuleType, page: str) -> None:
    assert page == generator.up_to_date(page), "stale: run python docs/make_state_diagram.py"


def test_a_stale_page_is_noticed(generator: ModuleType, page: str) -> None:
    stale = page.replace("PENDING --> RUNNING: fetch", "PENDING --> RUNNING: take")
    assert stale != page
    assert generator.up_to_date(stale) == page


def test_the_page_is_rewritten_in_place(
    generator: ModuleType, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "state-machine.md"
    copy.write_text(page.replace("| fetch | PENDING → RUNNING |", ""), encoding="utf-8")
    monkeypatch.setattr(generator, "PAGE", copy)
    generator.main()
    assert copy.read_text(encoding="utf-8") == page


def test_the_page_explains_every_state_and_every_event(page: str) -> None:
    for state in TaskState:
        assert f"| {state.name} | " in page
    explained = {
        name for line in page.splitlines() if line.startswith("| ") for name in line.split(" | ")[0][2:].split(" · ")
    }
    assert {event.value for event in Event} <= explained


def test_the_table_has_every_move(page: str) -> None:
    rows = [line for line in page.splitlines() if line.startswith("| ") and "→" in line]
    for (event, before), afters in TRANSITIONS.items():
        [row] = [row for row in rows if row.startswith(f"| {event.value} |")]
        for state in (before, *afters):
            assert ("nothing" if state is None else state.name) in row
