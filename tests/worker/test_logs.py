"""What the worker writes into its log: ids and kinds of failure; no argument, no result, no message of an exception."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from taskq import App, Cancel, NoRetry, Reject, Retry, Snooze, TaskState
from taskq.domain.envelope import seal
from taskq.domain.message import Message
from taskq.ids import new_id
from taskq.telemetry import logs
from tests.worker import jobs
from tests.worker.support import adopt, ended, twin, until_state, work

CANARY = "canary-4711"


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that is logged, in each format, at the chattiest level."""
    root, taskq = logging.getLogger(), logging.getLogger("taskq")
    before = (root.handlers[:], root.level, taskq.level)
    stream = io.StringIO()
    logs.configure(request.param, "DEBUG", stream)
    yield stream
    root.handlers[:], root.level = before[0], before[1]
    taskq.setLevel(before[2])


async def test_a_payload_is_never_logged(app: App, log: io.StringIO) -> None:
    raised = {
        "value": ValueError(CANARY),
        "retry": Retry(3600, reason=CANARY),
        "snooze": Snooze(3600),
        "reject": Reject(CANARY),
        "cancel": Cancel(CANARY),
        "exit": SystemExit(CANARY),
    }

    @app.task(name="fails", retry=NoRetry())
    async def fails(kind: str, secret: str) -> str:
        if kind in raised:
            raise raised[kind]
        return secret

    @app.task(name="late", retry=NoRetry())
    def in_a_thread(secret: str) -> None:
        raise KeyError(secret)

    older = twin(app)
    ids = []
    async with work(app):
        for kind in (*raised, "none"):
            handle = await fails.aenqueue(kind, CANARY)
            await until_state(handle, *(state for state in TaskState if state not in ("pending", "running")))
            ids.append(handle.id)
        ids.append((await in_a_thread.aenqueue(CANARY)).id)
        ids.append((await older.aenqueue("fails", {"kind": CANARY, CANARY: CANARY})).id)
        ids.append((await adopt(app, jobs.raises, retry=NoRetry()).aenqueue(CANARY)).id)
        damaged = new_id()
        body = seal(damaged, "fails", json.dumps({"kind": CANARY}).encode())[:-1]
        await (await app.backend()).broker.enqueue([Message(damaged, "fails", body)])
        ids.append(damaged)
        for id in ids[len(raised) + 1 :]:
            await ended(app.handle(id))
    text = log.getvalue()
    assert CANARY not in text
    assert "went to the dead-letter queue: exhausted (ValueError)" in text
    for id in ids:
        assert id in text


async def test_a_strategy_that_fails_is_logged_without_the_tasks_message(app: App, log: io.StringIO) -> None:
    class Strategy:
        def next_delay(self, attempt: int, failure: object, random: object) -> float | None:
            raise ZeroDivisionError("no idea")

    @app.task(retry=Strategy())
    async def fails() -> None:
        raise ValueError(CANARY)

    async with work(app):
        await ended(await fails.aenqueue())
    assert CANARY not in log.getvalue()
    assert "retry strategy" in log.getvalue()


def test_json_lines_hold_one_record_each_whatever_it_says() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.Logger("taskq.test")
    logger.addHandler(handler)
    logger.warning("one\ntwo\x1b[2J\u2028", extra={"taskq": {"task_id": "5b\n0c"}})
    logger.error("%s", {"a": object}, exc_info=ValueError("x"))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["warning", "error"]
    assert lines[0]["task_id"] == "5b\n0c"


def test_console_lines_cannot_steer_a_terminal() -> None:
    record = logging.LogRecord("taskq", logging.INFO, "f.py", 1, "a\x1b[2Jb\nc", (), None)
    vars(record)["taskq"] = {"task_id": "5b"}
    line = logs.ConsoleFormatter().format(record)
    assert "\x1b" not in line
    assert "\n" not in line
    assert "task_id=5b" in line


def test_an_exception_in_a_console_log_cannot_steer_a_terminal_or_pass_for_a_record() -> None:
    try:
        raise ValueError("a\x1b[2Jb\n00:00:00.000 INFO    forged")
    except ValueError as error:
        caught = (type(error), error, error.__traceback__)
    record = logging.LogRecord("taskq", logging.ERROR, "f.py", 1, "it failed", (), caught)
    vars(record)["taskq"] = {"task_id": "5b\n0c"}
    first, *others = logs.ConsoleFormatter().format(record).split("\n")
    assert first.endswith("it failed  [task_id=5b\\n0c]")
    assert "ValueError: a\\x1b[2Jb" in "\n".join(others)
    assert all(line.startswith("    ") and line.isprintable() for line in others)
