"""`--metrics-port` and `--health-file`, as processes under a supervisor and alone, and beside schedules."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.cli.support import Program, Shell, taskq
from tests.servers import wait_until

Here = tuple[str, ...]


@pytest.fixture
def here(shared_url: str) -> Here:
    """The arguments that name the application and its store."""
    return ("-A", "tasks:app", "--backend", shared_url)


def port_of(program: Program) -> int:
    program.until_it_says(r"metrics and health at http://127\.0\.0\.1:\d+/metrics")
    return int(re.findall(r"http://127\.0\.0\.1:(\d+)/metrics", program.log)[0])


def shown(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def tells(port: int, line: str) -> Callable[[], bool]:
    return lambda: line in shown(port, "/metrics")[1]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_worker_shows_its_metrics_and_its_health(shell: Shell, here: Here, processes: str) -> None:
    probes = ("--metrics-port", "0", "--metrics-host", "127.0.0.1", "--health-file", "health")
    worker = shell.start("worker", *here, "-P", processes, *probes)
    port = port_of(worker)
    worker.until_it_says("serves", times=max(1, int(processes)))
    wait_until(lambda: shown(port, "/health/ready")[0] == 200, "it is ready")
    assert shown(port, "/health/live")[0] == 200
    file = shell.folder / "health"
    wait_until(lambda: json.loads(file.read_text())["ready"], "the file says so too")
    for _ in range(3):
        shell.output("enqueue", *here, "tasks.add", '{"x": 1, "y": 2}', "--wait")
    done = 'taskq_tasks_ended_total{queue="default",status="completed",task="tasks.add"} 3.0'
    wait_until(tells(port, done), "its tasks are counted")
    assert worker.stop() == 0
    assert not file.exists()


def test_a_beat_shows_how_the_store_stands(shell: Shell, here: Here) -> None:
    shell.output("enqueue", *here, "tasks.add", '{"x": 1, "y": 2}')
    shell.output("queues", "pause", *here, "default", "--reason", "for now")
    beat = shell.start("beat", *here, "--metrics-port", "0", "--metrics-host", "127.0.0.1")
    port = port_of(beat)
    wait_until(tells(port, 'taskq_queue_pending{priority="normal",queue="default"} 1.0'), "the queue is shown")
    for line in ('taskq_queue_paused{queue="default"} 1.0', 'taskq_queue_arrived_total{queue="default"} 1.0'):
        assert tells(port, line)()
    wait_until(lambda: shown(port, "/health/ready")[0] == 200, "it is ready")
    assert beat.stop() == 0


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_dev_shows_its_metrics_and_its_health(shell: Shell, reload: str) -> None:
    probes = ("--metrics-port", "0", "--metrics-host", "127.0.0.1", "--health-file", "health")
    dev = shell.start("dev", "-A", "tasks:app", reload, *probes)
    port = port_of(dev)
    wait_until(lambda: shown(port, "/health/ready")[0] == 200, "it is ready")
    wait_until(lambda: json.loads((shell.folder / "health").read_text())["ready"], "the file says so too")
    dev.type('tasks.add {"x": 1, "y": 2}')
    done = 'taskq_tasks_ended_total{queue="default",status="completed",task="tasks.add"} 1.0'
    wait_until(tells(port, done), "its task is counted")
    wait_until(tells(port, 'taskq_queue_pending{priority="normal",queue="default"} 0.0'), "the store is shown, too")
    assert dev.stop() == 0
    assert not (shell.folder / "health").exists()


def test_a_file_says_where_dev_shows_itself(shell: Shell) -> None:
    monitoring = "monitoring: {metrics_host: 127.0.0.1}"
    (shell.folder / "taskq.yaml").write_text(f"{monitoring}\nworker: {{metrics_port: 0}}\n")
    dev = shell.start("dev", "-A", "tasks:app", "--no-reload")
    wait_until(lambda: shown(port_of(dev), "/health/ready")[0] == 200, "it is ready")
    assert dev.stop() == 0


def test_an_argument_stands_in_the_place_of_what_could_not_be(shell: Shell, here: Here) -> None:
    """What is in force is checked, and nothing else."""
    (shell.folder / "taskq.yaml").write_text("worker: {max_memory: 500, max_rss: 400, metrics_port: 9100}\n")
    refused = shell.run("worker", *here, "-P", "0")
    assert (refused.returncode, "max_memory must be below max_rss" in refused.stderr) == (2, True)
    worker = shell.start("worker", *here, "-P", "0", "--max-rss", "800", "--metrics-port", "0")
    worker.until_it_says("serves")
    assert worker.stop() == 0


def test_a_port_that_two_are_to_have_is_told_whoever_says_it(shell: Shell, here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (shell.folder / "taskq.yaml").write_text(f"server: {{port: {port}}}\nmonitoring: {{metrics_host: 127.0.0.1}}\n")
        result = shell.run("beat", *here, "--metrics-port", port)
    clash = f"server.port (taskq.yaml:1) and scheduler.metrics_port (--metrics-port) are both {port}"
    assert clash in result.stderr


def test_a_port_that_is_taken_is_a_mistake_of_one_line(shell: Shell, here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = shell.run("worker", *here, "--metrics-port", str(port), "--metrics-host", "127.0.0.1")
    assert result.returncode == 2
    assert f"taskq: metrics cannot be shown at 127.0.0.1:{port}: Address already in use" in result.stderr


def test_a_port_out_of_range_is_a_mistake(kept: str) -> None:
    result = taskq("worker", "-A", "tasks:app", "--metrics-port", "70000")
    assert result.exit_code == 2
    assert "70000 is not in the range" in result.output


def test_a_file_says_where_metrics_and_health_are_shown(shell: Shell, here: Here) -> None:
    monitoring = "monitoring: {metrics_host: 127.0.0.1}"
    (shell.folder / "taskq.yaml").write_text(f"{monitoring}\nworker: {{metrics_port: 0, health_file: alive}}\n")
    worker = shell.start("worker", *here, "-P", "1")
    port = port_of(worker)
    wait_until(lambda: shown(port, "/health/ready")[0] == 200, "it is ready")
    assert (shell.folder / "alive").exists()
    assert worker.stop() == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        result = shell.run("beat", *here, "--metrics-port", str(busy))  # an option goes before the file
    assert f"taskq: metrics cannot be shown at 127.0.0.1:{busy}" in result.stderr
