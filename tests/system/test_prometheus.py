"""Metrics as a real Prometheus sees them: the processes of one supervisor are one target."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from taskq import TaskState
from tests.servers import free_port, wait_until
from tests.system.support import PATIENCE, Site

pytestmark = pytest.mark.timeout(180)
CONFIG = """
global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
scrape_configs:
  - job_name: taskq
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[int]:
    """A Prometheus that scrapes this port; gives its own."""
    folder.mkdir()
    (folder / "prometheus.yml").write_text(CONFIG.format(port=port))
    own = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=log)
    try:
        yield own
    finally:
        process.terminate()
        process.wait(PATIENCE)


def asked(port: int, query: str) -> list[float]:
    """The values that Prometheus has for a query."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': query})}", timeout=10) as answer:
            return [float(each["value"][1]) for each in json.load(answer)["data"]["result"]]
    except (URLError, ConnectionError):  # it has not started yet
        return []


def scraped(port: int, path: str = "/metrics") -> str:
    """What a process shows."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def test_a_prometheus_scrapes_a_supervisor_whose_processes_are_killed(site: Site, tmp_path: Path) -> None:
    worker = site.worker("--beat", "--metrics-port", "0", "--metrics-host", "127.0.0.1", processes=2)
    children = site.until_serving(worker, 2)
    [port] = [int(each) for each in re.findall(r"metrics and health at http://127.0.0.1:(\d+)/", site.log)]
    with prometheus(tmp_path / "prometheus", port) as server:

        def told(query: str, value: float) -> bool:
            return asked(server, query) == [value]

        site.until_all(site.enqueue("quick", range(200)), TaskState.COMPLETED)
        completed = 'sum(taskq_tasks_ended_total{task="jobs.quick",status="completed"})'
        wait_until(lambda: told(completed, 200), "Prometheus knows of all", PATIENCE)
        wait_until(lambda: told("taskq_worker_processes", 2), "and of both processes", PATIENCE)
        assert told('sum(taskq_task_wait_seconds_count{task="jobs.quick"})', 200)
        wait_until(lambda: told('taskq_queue_arrived_total{queue="default"}', 200), "and of the queue", PATIENCE)
        children[0].kill()
        wait_until(lambda: not children[0].is_running(), "its supervisor knows", PATIENCE)
        site.until_serving(worker, 2)
        site.until_all(site.enqueue("quick", range(200, 250)), TaskState.COMPLETED)
        wait_until(lambda: told(completed, 250), "what the dead one has counted counts still", PATIENCE)
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=scraped(port), capture_output=True, text=True, timeout=PATIENCE
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        assert json.loads(scraped(port, "/health/ready"))["ready"]
    assert site.end(worker) == 0
