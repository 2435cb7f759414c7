"""What is logged while a task runs: it says which task it is, and is kept with its record where the task wants that."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import App, InvalidOption, Retry, TaskContext, TaskState, current
from taskq.context import correlated
from taskq.domain.record import LOG_LIMIT
from taskq.handle import TaskHandle
from taskq.ports import Order, WorkerCommand
from taskq.runtime.capture import LONGEST
from taskq.runtime.worker import Worker
from taskq.telemetry import logs
from tests.worker import jobs
from tests.worker.support import adopt, ended, until, until_state, work

shop = logging.getLogger("shop")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, as JSON; the levels are what they were afterwards."""
    root, taskq = logging.getLogger(), logging.getLogger("taskq")
    before = (root.handlers[:], root.level, taskq.level)
    stream = io.StringIO()
    logs.configure("json", "INFO", stream)
    shop.setLevel(logging.DEBUG)
    yield stream
    root.handlers[:], root.level = before[0], before[1]
    taskq.setLevel(before[2])
    shop.setLevel(logging.NOTSET)


def lines(log: io.StringIO, logger: str = "shop") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in found if line["logger"] == logger]


async def kept(handle: TaskHandle[Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await handle.ainfo()).logs]


async def test_a_line_says_of_which_task_it_is(app: App, log: io.StringIO) -> None:
    @app.task(name="buy")
    async def buy() -> None:
        shop.info("bought")

    @app.task(name="sell")
    def sell() -> None:
        shop.info("sold")
        current().logger.info("done")

    async with work(app) as worker:
        for task in (buy, sell):
            handle = await task.options(tenant="acme").aenqueue()
            await ended(handle)
            line = lines(log)[-1]
            ids = {key: line[key] for key in ("task_id", "task", "queue", "tenant", "attempt", "worker_id")}
            assert ids == {
                "task_id": handle.id,
                "task": task.name,
                "queue": task.queue,
                "tenant": "acme",
                "attempt": 1,
                "worker_id": worker.id,
            }
        assert lines(log, "taskq.task")[0]["task_id"] == handle.id
    shop.info("closed")
    assert "task_id" not in lines(log)[-1]


async def test_the_log_of_a_task_is_kept_with_its_record(app: App, log: io.StringIO) -> None:
    @app.task(name="buy", capture_logs="INFO")
    async def buy(ctx: TaskContext) -> None:
        shop.debug("not this")
        shop.info("attempt %d", ctx.attempt)
        if ctx.attempt == 1:
            raise Retry(delay=0)
        ctx.logger.warning("sold out")

    async with work(app):
        handle = await buy.aenqueue()
        await ended(handle)
    found = await kept(handle)
    assert [(line["attempt"], line["level"], line["logger"], line["message"]) for line in found] == [
        (1, "INFO", "shop", "attempt 1"),
        (2, "INFO", "shop", "attempt 2"),
        (2, "WARNING", "taskq.task", "sold out"),
    ]
    assert all(line["at"].endswith("+00:00") for line in found)


async def test_a_task_that_does_not_ask_for_it_keeps_nothing(app: App, log: io.StringIO) -> None:
    @app.task(name="buy", capture_logs="DEBUG")
    async def buy() -> None:
        shop.info("bought")

    @app.task(name="sell")
    async def sell() -> None:
        shop.info("sold")

    async with work(app):
        asked, unasked = await buy.aenqueue(), await sell.aenqueue()
        await ended(asked)
        await ended(unasked)
    assert [line["message"] for line in await kept(asked)] == ["bought"]
    assert await kept(unasked) == []


async def test_threads_and_loop_tasks_at_once_keep_what_is_theirs(app: App, log: io.StringIO) -> None:
    both = threading.Barrier(2)
    meeting = asyncio.Event()

    @app.task(name="sell", capture_logs="INFO")
    def sell(what: str) -> None:
        both.wait(30)
        shop.info("sold %s", what)

    @app.task(name="buy", capture_logs="INFO")
    async def buy(what: str) -> None:
        if what == "buy tea":
            await meeting.wait()
        meeting.set()
        shop.info("bought %s", what)

    async with work(app):
        handles = {
            what: await task.aenqueue(what)
            for task in (sell, buy)
            for what in (f"{task.name} tea", f"{task.name} milk")
        }
        for handle in handles.values():
            await ended(handle)
        for what, handle in handles.items():
            [line] = await kept(handle)
            assert line["message"].endswith(what)


async def test_a_child_process_keeps_its_log_too(app: App, log: io.StringIO) -> None:
    logged = adopt(app, jobs.logs_something, capture_logs="INFO")
    async with work(app):
        handle = await logged.aenqueue("from a child")
        await ended(handle)
    assert [line["message"] for line in await kept(handle)] == ["from a child"]
    assert [line["task_id"] for line in lines(log)] == [handle.id]


async def test_only_so_much_is_kept(app: App, log: io.StringIO) -> None:
    @app.task(name="buy", capture_logs="INFO")
    async def buy() -> None:
        for number in range(LOG_LIMIT + 5):
            shop.info("%d %s", number, "x" * LONGEST)

    async with work(app):
        handle = await buy.aenqueue()
        await ended(handle)
    found = await kept(handle)
    assert len(found) == LOG_LIMIT
    assert found[0]["message"].startswith("5 ")
    assert {len(line["message"]) for line in found} == {LONGEST}


async def test_a_line_that_cannot_be_written_harms_nobody(
    app: App, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    @app.task(name="buy", capture_logs="INFO")
    async def buy() -> str:
        shop.info("%d", "no number")
        shop.info("bought")
        return "tea"

    async with work(app):
        handle = await buy.aenqueue()
        await until_state(handle, TaskState.COMPLETED)
    assert [line["message"] for line in await kept(handle)] == ["bought"]


async def test_a_worker_changes_its_level_when_told(app: App, log: io.StringIO) -> None:
    taskq = logging.getLogger("taskq")
    changed = threading.Event()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "told to log level" in record.getMessage():
                changed.set()

    heard = Heard()
    taskq.addHandler(heard)
    try:
        async with work(app) as worker:
            assert isinstance(worker, Worker)
            hear = worker._orders.hearing(asyncio.get_running_loop())
            hear([Order(WorkerCommand.LOG_LEVEL, "LOUD"), Order(WorkerCommand.LOG_LEVEL, "ERROR")])
            assert changed.is_set()
            await until(lambda: taskq.level == logging.ERROR, "the level has changed")
    finally:
        taskq.removeHandler(heard)
    assert any("the log level stays as it is" in line["message"] for line in lines(log, "taskq.worker"))


def test_what_is_no_level_is_refused() -> None:
    with pytest.raises(InvalidOption, match="capture_logs must be one of DEBUG, INFO, WARNING, ERROR, not 'LOUD'"):
        App("memory://").task(name="f", capture_logs="LOUD")(lambda: None)


async def test_what_is_done_for_one_reason_shares_its_correlation_id(app: App, log: io.StringIO) -> None:
    @app.task(name="pack")
    def pack() -> None:
        shop.info("packed")

    @app.task(name="buy")
    async def buy() -> None:
        shop.info("bought")
        await pack.aenqueue()

    async with work(app):
        with correlated("req-17"):
            handle = await buy.aenqueue()
        await ended(handle)
        await until(lambda: len(lines(log)) == 2, "what it enqueued has run")
        assert {line["correlation_id"] for line in lines(log)} == {"req-17"}
        handle = await buy.aenqueue()
        await until(lambda: len(lines(log)) == 4, "what it enqueued has run")
    assert {line["correlation_id"] for line in lines(log)[2:]} == {handle.id}, (
        "that of the first, where nobody gave one"
    )


async def test_a_task_may_give_another_correlation_id_to_what_it_enqueues(app: App, log: io.StringIO) -> None:
    @app.task(name="pack")
    def pack() -> None:
        shop.info("packed")

    @app.task(name="buy")
    def buy() -> None:
        with correlated("order-5"):
            pack.enqueue()

    async with work(app):
        await buy.aenqueue()
        await until(lambda: lines(log), "what it enqueued has run")
    assert lines(log)[0]["correlation_id"] == "order-5"


@pytest.mark.parametrize("id", ["", "a" * 201, "a\nb", 5, None])
def test_a_correlation_id_is_short_and_printable(id: Any) -> None:
    with pytest.raises(InvalidOption, match="from 1 to 200 printable characters"), correlated(id):
        pass
