"""What a process shows over HTTP and in a file."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from taskq.domain.figures import Figures
from taskq.domain.health import Health, of_several
from taskq.errors import ConfigError
from taskq.telemetry import probes as probing
from taskq.telemetry.probes import HealthFile, Probes, metrics_app
from tests.servers import wait_until


class Process:
    """Something whose health changes."""

    health = Health(True, True, {"store": "answers"})


@pytest.fixture
def process() -> Process:
    """A process that is well."""
    return Process()


@pytest.fixture
def served(process: Process) -> Iterator[Probes]:
    """Its probes."""
    metrics = metrics_app(lambda: {"run a q": Figures({"submitted": 3})})
    desired = {"office": 4.0}.get
    with Probes("127.0.0.1", 0, metrics, lambda: process.health, desired) as probes:
        yield probes


def asked(probes: Probes, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", probes.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_metrics_are_shown(served: Probes) -> None:
    status, text = asked(served, "/metrics")
    assert status == 200
    assert 'taskq_tasks_submitted_total{queue="q",task="a"} 3.0' in text


def test_a_scaler_is_told_one_number(served: Probes) -> None:
    assert asked(served, "/autoscale/office") == (200, '{"value": 4}')
    status, text = asked(served, "/autoscale/mail")
    assert (status, list(json.loads(text))) == (404, ["error"])
    assert asked(served, "/autoscale/office", "POST")[0] == 405


@pytest.mark.parametrize(
    ("health", "live", "ready"),
    [(Health(True, True), 200, 200), (Health(True, False), 200, 503), (Health(False, False), 503, 503)],
)
def test_health_as_probes_want_it(process: Process, served: Probes, health: Health, live: int, ready: int) -> None:
    process.health = health
    assert asked(served, "/health/live")[0] == live
    assert asked(served, "/health/ready")[0] == ready
    assert asked(served, "/health")[0] == ready
    assert asked(served, "/health", "HEAD") == (ready, "")


def test_a_probe_is_told_what_was_found(served: Probes) -> None:
    told = json.loads(asked(served, "/health")[1])
    assert told == {"live": True, "ready": True, "checks": {"store": "answers"}}


def test_other_paths_and_methods_are_refused(served: Probes) -> None:
    assert asked(served, "/")[0] == 404
    assert asked(served, "/health/../etc")[0] == 404
    assert asked(served, "/health", "POST")[0] == 405


def test_a_client_that_goes_away_or_talks_nonsense_changes_nothing(served: Probes) -> None:
    for said in (b"", b"nonsense\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
            client.sendall(said)
    assert asked(served, "/health")[0] == 200


def test_a_port_that_is_taken_is_said(served: Probes) -> None:
    with pytest.raises(
        ConfigError, match=f"metrics cannot be shown at 127.0.0.1:{served.port}: Address already in use"
    ):
        Probes("127.0.0.1", served.port, metrics_app(), lambda: Process.health)


def test_an_address_that_is_not_ours_is_said() -> None:
    with pytest.raises(ConfigError, match=r"metrics cannot be shown at nowhere.invalid:0"):
        Probes("nowhere.invalid", 0, metrics_app(), lambda: Process.health)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_an_address_of_the_other_family(process: Process) -> None:
    if not has_ipv6():  # then it says so
        with pytest.raises(ConfigError, match="::1"):
            Probes("::1", 0, metrics_app(), lambda: process.health)
        return
    with (
        Probes("::1", 0, metrics_app(), lambda: process.health) as probes,
        socket.create_connection(("::1", probes.port), timeout=10),
    ):
        pass


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"pip install \"pytaskq\[metrics\]\""):
        metrics_app()


def test_the_file_is_written_while_the_process_lives_and_gone_then(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "FILE_EVERY", 0.01)
    path = tmp_path / "health"
    with HealthFile(path, lambda: process.health):
        assert json.loads(path.read_text())["ready"]
        process.health = Health(True, False)
        wait_until(lambda: not json.loads(path.read_text())["ready"], "it says that it is not ready")
        process.health = Health(False, False)
        path.unlink()
        process.health = Health(True, True)
        wait_until(path.exists, "it is written again")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_does_not_live_leaves_its_file_to_grow_old(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "health"
    file = HealthFile(path, lambda: process.health)
    path.unlink()
    process.health = Health(False, False)
    file.write()
    assert not path.exists()


def test_a_folder_that_is_gone_is_logged_and_no_end(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probing, "FILE_EVERY", 0.01)
    folder = tmp_path / "gone"
    folder.mkdir()
    path = folder / "health"
    with HealthFile(path, lambda: process.health):
        for each in folder.iterdir():
            each.unlink(missing_ok=True)
        folder.rename(tmp_path / "elsewhere")
        wait_until(lambda: "cannot be written" in caplog.text, "it is said")
        folder.mkdir()
        wait_until(path.exists, "it is written again")


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the health file .* cannot be written: No such file or directory"):
        HealthFile(tmp_path / "nowhere" / "health", lambda: Process.health)


def test_of_several_processes_one_is_enough() -> None:
    well, stuck = Health(True, True, {"loop": "turns"}), Health(False, False, {"loop": "stands still"})
    both = of_several([well, stuck])
    assert (both.is_live, both.is_ready) == (True, True)
    assert both.checks == {"0.loop": "turns", "1.loop": "stands still"}
    assert not of_several([stuck, stuck]).is_live
    nobody = of_several([])
    assert (nobody.is_live, nobody.is_ready) == (True, False)
