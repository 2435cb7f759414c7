"""What `taskq worker` is told of its rate, of pressure and of comparing itself."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from taskq.cli import cli, worker
from taskq.config import WorkerOptions
from taskq.configuration.values import parse_rate
from taskq.errors import InvalidOption
from taskq.variables import WORKER_PROCESS


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[WorkerOptions]:
    """The options of each process under a supervisor that would have started."""
    seen: list[WorkerOptions] = []

    def start(app_path: str, url: str | None, options: WorkerOptions, join: object) -> None:
        seen.append(options)
        raise SystemExit(0)

    monkeypatch.setenv(WORKER_PROCESS, "[]")
    monkeypatch.setattr(worker, "_work_supervised", start)
    return seen


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["worker", "-A", "tasks:app", *arguments])


@pytest.mark.parametrize(
    ("text", "rate"), [("50/s", 50.0), ("90/m", 1.5), ("5/10s", 0.5), ("2.5", 2.5), ("86400/day", 1.0)]
)
def test_a_rate(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["fast", "", "-1", "0", "nan", "inf", "5/0s/", "1e9", "/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(InvalidOption, match="a rate must be"):
        parse_rate(text)
    result = run("--rate", text)
    assert result.exit_code == 2
    assert result.stderr.startswith("taskq: a rate must be")


@pytest.mark.parametrize(("processes", "share"), [("4", 12.5), ("1", 50.0)])
def test_the_processes_share_the_rate(started: list[WorkerOptions], processes: str, share: float) -> None:
    assert run("--rate", "50/s", "-P", processes, "--children", "3").exit_code == 0
    assert (started[0].rate, started[0].processes) == (share, 3)


def test_the_limits_of_pressure(started: list[WorkerOptions]) -> None:
    given = ["--max-rss", "512", "--max-loop-lag", "0.5", "--max-backend-latency", "2", "--no-compare"]
    for arguments in ([], given):
        assert run(*arguments).exit_code == 0
    usual, told = started
    assert (usual.rate, usual.max_rss, usual.max_loop_lag, usual.max_backend_latency) == (None, None, 1.0, 5.0)
    assert usual.compare
    assert (told.max_rss, told.max_loop_lag, told.max_backend_latency, told.compare) == (512, 0.5, 2.0, False)


@pytest.mark.parametrize("option", ["--max-rss", "--max-loop-lag", "--max-backend-latency"])
def test_a_limit_that_cannot_be(option: str) -> None:
    result = run(option, "0")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"taskq: {option[2:].replace('-', '_')} must be")
