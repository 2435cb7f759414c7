"""mypy --strict and pyright strict refuse the cases at the lines marked `# error`, and nowhere else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("cases")
ROOT = CASES.parents[2]
Places = dict[tuple[str, int], str]
"""(file, line) → what is said there."""


@pytest.fixture(scope="module")
def said_by_mypy() -> Places:
    """Every error of one run of mypy, as the project configures it."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    run = subprocess.run([*command, *map(str, files())], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stderr == "", run.stderr
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    return {(Path(file).name, int(line)): text for file, line, text in found}


@pytest.fixture(scope="module")
def said_by_pyright() -> Places:
    """Every error of one run of pyright, which comes with its own Node and asks nobody for a newer one."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.startswith("{"), run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(files())
    errors = [entry for entry in report["generalDiagnostics"] if entry["severity"] == "error"]
    return {(Path(entry["file"]).name, entry["range"]["start"]["line"] + 1): entry["message"] for entry in errors}


def files() -> list[Path]:
    """The cases."""
    return sorted(CASES.glob("*.py"))


def marked(file: Path) -> set[int]:
    """The lines where an error is expected."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# error")}


@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.timeout(300)
def test_the_checkers_refuse_what_is_wrong_and_nothing_else(
    checker: str, file: Path, request: pytest.FixtureRequest
) -> None:
    said: Places = request.getfixturevalue(f"said_by_{checker}")
    here = {line: text for (name, line), text in said.items() if name == file.name}
    expected = marked(file)
    assert expected
    unexpected = {line: text for line, text in here.items() if line not in expected}
    assert not unexpected, "\n".join(f"{file.name}:{line}: {text}" for line, text in sorted(unexpected.items()))
    assert expected - here.keys() == set(), f"{checker} accepts what it should refuse"
