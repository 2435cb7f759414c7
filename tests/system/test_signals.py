"""A worker of two processes that is told to stop, killed, or left alone by its supervisor."""

from __future__ import annotations

import os
import signal

import pytest

from taskq import TaskState
from taskq.ports import WorkerCommand
from tests.servers import wait_until
from tests.system.support import PATIENCE, Site, gone

pytestmark = pytest.mark.timeout(180)


def test_sigterm_with_a_hundred_running_loses_nothing(site: Site) -> None:
    worker = site.worker("-c", "50", lease=3.0)
    children = site.until_serving(worker)
    handles = site.enqueue("hold", range(100))
    site.until_witnessed("begin", 100)
    more = site.enqueue("quick", range(50))
    worker.terminate()
    wait_until(lambda: "SHUTTING" in str(_states(site)), "the workers know", PATIENCE)
    site.touch("go")
    assert worker.wait(PATIENCE) == 0
    assert gone(children)
    assert {record.state for record in site.records(handles)} == {TaskState.COMPLETED}
    assert site.witnessed("end").total() == 100
    for record in site.records(more):
        assert record.state in (TaskState.PENDING, TaskState.COMPLETED)
        assert record.attempt == (0 if record.state is TaskState.PENDING else 1)


def _states(site: Site) -> list[str]:
    async def ask() -> list[str]:
        return [info.state.name for info in await (await site.app.backend()).registry.workers()]

    found: list[str] = site.ask(ask())
    return found


def test_a_stop_that_reaches_every_process_is_one_request(site: Site) -> None:
    """As systemd has it: the supervisor is told, and so is each worker; the supervisor passes it on all the same."""
    worker = site.worker("-c", "10", lease=3.0)
    children = site.until_serving(worker)
    handles = site.enqueue("hold", range(20))
    site.until_witnessed("begin", 20)
    for process in (worker, *children):
        process.send_signal(signal.SIGTERM)
    wait_until(lambda: _states(site) == ["SHUTTING_DOWN"] * 2, "the workers know", PATIENCE)
    site.touch("go")
    assert worker.wait(PATIENCE) == 0
    assert gone(children)
    assert {record.state for record in site.records(handles)} == {TaskState.COMPLETED}
    assert "a second time" not in site.log


def test_a_second_ctrl_c_ends_at_once_and_gives_everything_back(site: Site) -> None:
    worker = site.worker("--shutdown-timeout", "3600", lease=3.0)
    children = site.until_serving(worker)
    handles = site.enqueue("hold", range(20))
    site.until_witnessed("begin", 20)
    worker.send_signal(signal.SIGINT)
    wait_until(lambda: "SHUTTING" in str(_states(site)), "the workers know", PATIENCE)
    assert site.end(worker, signal.SIGINT) == 0
    assert gone(children)
    for record in site.records(handles):
        assert (record.state, record.attempt, record.lost_leases) == (TaskState.PENDING, 0, 0)


def test_what_a_killed_worker_held_runs_again_by_itself(site: Site) -> None:
    worker = site.worker("-c", "100", processes=1, lease=2.0)
    [child] = site.until_serving(worker, 1)
    handles = site.enqueue("hold", range(100))
    site.until_witnessed("begin", 100)
    child.kill()
    site.touch("go")
    for record in site.until_all(handles, TaskState.COMPLETED):
        assert (record.lost_leases, record.attempt, record.fence) == (1, 1, 2)
    assert site.witnessed("begin") == {str(number): 2 for number in range(100)}
    assert site.end(worker) == 0


def test_what_a_killed_worker_held_runs_before_what_waited(site: Site) -> None:
    worker = site.worker("-c", "100", processes=1, lease=1.0)
    [child] = site.until_serving(worker, 1)
    handles = site.enqueue("hold", range(100))
    site.until_witnessed("begin", 100)
    backlog = site.enqueue("quick", range(1000, 3000))
    worker.kill()
    child.kill()
    wait_until(lambda: site.reap() and _pending(site) == 2100, "the leases are lost", PATIENCE)
    site.touch("go")
    worker = site.worker("-c", "10", processes=1)
    for record in site.until_all(handles, TaskState.COMPLETED):
        assert (record.lost_leases, record.attempt, record.fence) == (1, 1, 2)
    site.until_all(backlog, TaskState.COMPLETED)
    words = [line.split()[0] for line in (site.folder / "witness").read_text().splitlines()]
    # Those that were handed out last may still be looking for their checkpoints when the next ones begin.
    assert words[: words.index("quick")].count("begin") >= 200 - 10
    assert site.witnessed("quick") == {str(number): 1 for number in range(1000, 3000)}
    assert site.end(worker) == 0


def _pending(site: Site) -> int:
    async def ask() -> int:
        counts = await (await site.app.backend()).inspector.counts()
        return counts["default"].get(TaskState.PENDING, 0)

    found: int = site.ask(ask())
    return found


def test_a_killed_process_is_replaced(site: Site) -> None:
    worker = site.worker()
    before = site.until_serving(worker)
    before[0].kill()
    wait_until(lambda: len(site.workers() - {child.pid for child in before}) == 1, "a new one serves", PATIENCE)
    assert before[1].is_running()
    [handle] = site.enqueue("quick", range(1))
    assert handle.result(PATIENCE) == 0
    assert site.end(worker) == 0


def test_without_their_supervisor_the_workers_stop_gracefully(site: Site) -> None:
    worker = site.worker("-c", "5", lease=3.0)
    children = site.until_serving(worker)
    handles = site.enqueue("hold", range(10))
    site.until_witnessed("begin", 10)
    worker.kill()
    worker.wait()
    wait_until(lambda: "SHUTTING" in str(_states(site)), "the workers know", PATIENCE)
    site.touch("go")
    wait_until(lambda: gone(children), "the workers have ended", PATIENCE)
    assert {record.state for record in site.records(handles)} == {TaskState.COMPLETED}


def test_a_task_that_kills_its_worker_three_times_is_buried_and_harms_no_other(site: Site) -> None:
    worker = site.worker("-c", "10", processes=1, lease=1.0)
    site.until_serving(worker, 1)
    [poison] = site.enqueue("kill_worker", range(1))
    innocents = site.enqueue("quick", range(200))
    [record] = site.until_all([poison], TaskState.DEAD)
    assert (record.reason, record.lost_leases) == ("poison", 3)
    for innocent in site.until_all(innocents, TaskState.COMPLETED):
        assert innocent.lost_leases <= 2
    assert site.witnessed("poison").total() == 3
    assert site.end(worker) == 0


def test_a_child_process_enqueues_by_itself(site: Site) -> None:
    worker = site.worker(processes=1)
    site.until_serving(worker, 1)
    [handle] = site.enqueue("in_a_child", range(7, 8))
    assert site.app.handle(handle.result(PATIENCE)).result(PATIENCE) == 7
    assert site.end(worker) == 0


def test_the_children_of_a_killed_worker_end_with_it(site: Site) -> None:
    worker = site.worker(processes=1)
    [process] = site.until_serving(worker, 1)
    site.enqueue("hang_in_a_child", range(1))
    site.until_witnessed("hangs", 1)
    children = process.children(recursive=True)
    assert children
    worker.kill()
    process.kill()
    wait_until(lambda: gone(children), "the children have ended", PATIENCE)


def test_an_exit_in_a_task_of_a_task_does_not_end_the_worker(site: Site) -> None:
    worker = site.worker(processes=1)
    [process] = site.until_serving(worker, 1)
    [exits] = site.enqueue("exit_in_a_subtask", range(1))
    [record] = site.until_all([exits], TaskState.DEAD)
    assert record.failure is not None
    assert (record.failure.type, record.lost_leases) == ("SystemExit", 0)
    assert process.is_running()
    assert site.end(worker) == 0


def test_workers_that_are_told_to_shut_down_are_not_replaced(site: Site) -> None:
    worker = site.worker(lease=2.0)
    children = site.until_serving(worker)
    _tell_to_shut_down(site, children[0].pid)
    wait_until(lambda: gone(children[:1]), "the first has ended", PATIENCE)
    [handle] = site.enqueue("quick", range(1))
    assert handle.result(PATIENCE) == 0
    assert site.workers() == {children[1].pid}
    _tell_to_shut_down(site, children[1].pid)
    assert worker.wait(PATIENCE) == 0


def _tell_to_shut_down(site: Site, pid: int) -> None:
    async def tell() -> None:
        registry = (await site.app.backend()).registry
        [info] = [info for info in await registry.workers() if info.pid == pid]
        assert await registry.command(info.id, WorkerCommand.SHUTDOWN)

    site.ask(tell())


def test_sigint_from_the_terminal_stops_gracefully(site: Site) -> None:
    worker = site.worker()
    children = site.until_serving(worker)
    os.killpg(worker.pid, signal.SIGINT)
    assert worker.wait(PATIENCE) == 0
    assert gone(children)
