"""The coverage gate lets through what it should and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.coverage_gate import main, shortfalls


def report(statements: int = 90, branches: int = 85, **missing: list[Any]) -> dict[str, Any]:
    whole: dict[str, list[Any]] = {"missing_lines": [], "missing_branches": []}
    return {
        "totals": {
            "covered_lines": statements,
            "num_statements": 100,
            "covered_branches": branches,
            "num_branches": 100,
        },
        "files": {
            "taskq/app.py": {"missing_lines": [1], "missing_branches": [[1, 2]]},
            "taskq/domain/state.py": {**whole, **missing},
            "taskq/ports/broker.py": whole,
        },
    }


@pytest.mark.parametrize(
    ("figures", "complaints"),
    [
        (report(), []),
        (report(statements=89), ["statements: 89.0 % covered, 90 % needed"]),
        (report(branches=84), ["branches: 84.0 % covered, 85 % needed"]),
        (report(missing_lines=[3, 4]), ["taskq/domain/state.py: lines 3, 4 not covered"]),
        (report(missing_branches=[[3, -1]]), ["taskq/domain/state.py: branches 3→-1 not covered"]),
    ],
)
def test_each_figure_is_judged_for_itself(figures: dict[str, Any], complaints: list[str]) -> None:
    assert shortfalls(figures) == complaints


def test_a_package_that_was_not_measured_is_no_package_that_is_covered() -> None:
    figures = report()
    del figures["files"]["taskq/ports/broker.py"]
    assert shortfalls(figures) == ["taskq/ports/: no file of it was measured"]


def test_the_exit_status_is_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(report()))
    bad.write_text(json.dumps(report(statements=50)))
    assert (main(str(good)), main(str(bad))) == (0, 1)
    assert "covered: 50.0 % of statements, 85.0 % of branches" in capsys.readouterr().out
