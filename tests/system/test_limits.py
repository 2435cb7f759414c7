"""A limit that holds while workers are killed: what a dead one held is freed with its lease, and not before."""

from __future__ import annotations

from collections import Counter

import psutil
import pytest

from taskq import TaskState
from tests.servers import wait_until
from tests.system.support import PATIENCE, Site, gone

pytestmark = pytest.mark.timeout(180)
LIMIT = 5
TASKS = 60
LEASE = 2.0


def test_a_concurrency_limit_is_never_exceeded_while_workers_are_killed(site: Site) -> None:
    worker = site.worker("-c", "20", processes=3, lease=LEASE)
    site.until_serving(worker, 3)
    handles = site.enqueue("share", range(TASKS))
    for kills in range(1, 3):
        site.until_witnessed("in", 10 * kills)
        _kill_busiest(site, site.children(worker))
    records = site.until_all(handles, TaskState.COMPLETED)
    assert {len(record.limits) for record in records} == {1}
    assert sum(record.lost_leases for record in records) > 0
    assert set(site.witnessed("out")) == {str(number) for number in range(TASKS)}
    assert _most_inside(site) == LIMIT
    assert site.end(worker) == 0


def _kill_busiest(site: Site, children: list[psutil.Process]) -> None:
    """Kill a process that is inside of tasks, and write it down: before that nobody can have taken its places."""
    wait_until(lambda: bool(_inside(site)), "somebody is inside", PATIENCE)
    held = Counter(pid for _, pid in _inside(site))
    victim = max(children, key=lambda child: held[child.pid])
    victim.kill()
    wait_until(lambda: gone([victim]), "it is gone", PATIENCE)
    with (site.folder / "witness").open("a") as file:
        file.write(f"killed - {victim.pid}\n")


def _lines(site: Site) -> list[tuple[str, str, int]]:
    """What was witnessed: a word, a number, a process."""
    lines = [line.split() for line in (site.folder / "witness").read_text().splitlines()]
    return [(word, number, int(pid)) for word, number, pid in lines]


def _inside(site: Site) -> set[tuple[str, int]]:
    """Tasks that have begun and not ended, with their processes."""
    inside: set[tuple[str, int]] = set()
    for word, number, pid in _lines(site):
        inside = inside | {(number, pid)} if word == "in" else inside - {(number, pid)}
    return inside


def _most_inside(site: Site) -> int:
    """How many were ever inside at once; of a process that was killed, until it was."""
    inside: set[tuple[str, int]] = set()
    most = 0
    for word, number, pid in _lines(site):
        if word == "killed":
            inside = {held for held in inside if held[1] != pid}
        elif word == "in":
            inside.add((number, pid))
            most = max(most, len(inside))
        else:
            inside.discard((number, pid))
    return most
