"""What workers of other releases have reported is read, and `taskq doctor` says what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest

import taskq_postgres.registry
import taskq_redis.registry
from taskq.management import fleet
from taskq.ports import FindingStatus, WorkerInfo, WorkerState

INFO = WorkerInfo(
    id="w1",
    name="mailer",
    host="host-1",
    pid=4711,
    queues=("default",),
    state=WorkerState.PRESSED,
    unresponsive=("5b",),
    pressure="memory 512 MiB of 400 MiB",
    runs={"mail.send": (20, 3)},
)
READERS: dict[str, Callable[[str], WorkerInfo]] = {
    "redis": lambda text: taskq_redis.registry._info(text.encode(), b"0"),
    "postgres": lambda text: taskq_postgres.registry._info(text, 0.0),
}


@pytest.mark.parametrize("backend", READERS)
def test_reports_of_other_releases_are_read(backend: str) -> None:
    fields = asdict(INFO)
    read = READERS[backend]
    assert read(json.dumps(fields)) == INFO
    assert read(json.dumps({**fields, "of_a_later_release": [1]})) == INFO
    assert read(json.dumps({**fields, "state": "of a later release"})).state is WorkerState.OTHER
    for name in ("unresponsive", "pressure", "runs"):
        del fields[name]
    earlier = read(json.dumps(fields))
    assert (earlier.unresponsive, earlier.pressure, earlier.runs) == ((), "", {})


def test_the_doctor_names_what_a_worker_cannot_end_and_why_it_takes_no_tasks() -> None:
    found = {finding.check: finding for finding in fleet._staff([INFO])}
    assert found["workers.stuck"].detail == "mailer (w1) cannot end 5b"
    assert found["workers.pressed"].detail == "mailer (w1) takes no tasks: memory 512 MiB of 400 MiB"
    assert {finding.status for finding in found.values()} == {FindingStatus.OK, FindingStatus.WARNING}
