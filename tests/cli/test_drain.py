"""`taskq workers drain`: a worker that stays, and takes nothing until it is told to resume."""

from __future__ import annotations

import json

from tests.cli.support import Shell
from tests.servers import wait_until


def test_a_drained_worker_stays_and_resumes(shell: Shell, shared_url: str) -> None:
    env = {"TASKQ_BACKEND": shared_url}

    def state() -> str:
        found = json.loads(shell.output("workers", "list", "--json", env=env))
        return str(found[0]["state"]) if found else ""

    worker = shell.start("worker", "-A", "tasks", "-P", "0", "--lease", "1.5", "--name", "anna", env=env)
    wait_until(lambda: state() == "idle", "it has reported")
    told = shell.output("workers", "drain", "anna", env=env)
    assert told.startswith("1 worker will heed it with the next heartbeat: ")
    wait_until(lambda: state() == "drained", "it is drained")
    id = shell.output("enqueue", "-A", "tasks", "tasks.add", '{"x": 1, "y": 2}', env=env)
    explained = json.loads(shell.output("tasks", "explain", id, "--json", env=env))
    assert "no worker takes tasks now: anna is drained" in [check["text"] for check in explained["checks"]]
    assert worker.process.poll() is None
    shell.output("workers", "resume", "anna", env=env)

    def is_done() -> bool:
        state: str = json.loads(shell.output("tasks", "show", id, "--json", env=env))["state"]
        return state == "completed"

    wait_until(is_done, "it runs again")
    assert worker.stop() == 0
