"""The example, where it cannot run; that it runs is for `nox -s demo`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.support import TIMEOUT, environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "stdlib_survey.py"


def test_it_ends_with_its_workers(tmp_path: Path, redis_url: str) -> None:
    refused = "1000"  # more processes than `taskq worker` starts
    result = subprocess.run(
        [sys.executable, str(EXAMPLE), "--backend", redis_url, "--limit", "20", "--processes", refused],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 1, result.stderr
    assert "the workers ended with status 2 before the survey did" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_runs_in_memory(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(EXAMPLE), "--limit", "5"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 0, result.stderr
