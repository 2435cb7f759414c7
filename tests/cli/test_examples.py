"""The examples of workflows and batches: they run as their first lines say, on each kind of store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import TIMEOUT, environment

ROOT = Path(__file__).parents[2]


def run(example: str, *arguments: str, url: str = "memory://") -> str:
    """Run an example to its end; returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-m", f"examples.{example}", *arguments],
        cwd=ROOT,
        env=environment({"TASKQ_BACKEND": url}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout


@pytest.fixture(params=["memory", "redis", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """A store of each kind."""
    if request.param == "memory":
        return "memory://"
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


def test_the_nightly_report(tmp_path: Path, url: str) -> None:
    out = tmp_path / "report.json"
    said = run("nightly_etl", "--files", "120", "--out", str(out), url=url)
    assert "123 tasks, 122 completed, 1 failed" in said
    assert "etl.parse: SyntaxError" in said
    report = json.loads(out.read_text())
    assert [Path(path).name for path in report["unreadable"]] == ["broken.py"]
    assert sum(package["files"] for package in report["packages"].values()) == 119


def test_the_crawler(url: str) -> None:
    said = run("crawler", "--pages", "30", url=url)
    assert "30 pages, 5 dead links" in said
    assert all(f"/gone/{page}, linked from" in said for page in range(0, 30, 7))


def test_the_import(url: str) -> None:
    said = run("batch_import", "--rows", "500", url=url)
    assert "complete: 6 rows of items.csv could not be imported" in said
    assert "3 rows mended, 6 tried again" in said
    assert "3 rows mended, 3 tried again" in said
    assert "success: 500 rows of items.csv, worth" in said
