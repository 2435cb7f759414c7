"""The commands in this process: what they print and how they end, without the cost of a new interpreter each."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import App
from taskq.configuration.values import parse_queues
from taskq.crypto import Crypto, escaped
from taskq.domain.outcome import Complete
from taskq.errors import ConfigError
from taskq.ports import Settled
from tests.cli.support import taskq

APP = """
from taskq import App
app = App("memory://?snapshot=tasks")
other = App("memory://")
apart = App("memory://", results="nosuch://host")

@app.task(name="add")
def add(x: int, y: int = 2) -> int:
    return x + y

@app.task(name="hide", encrypt=True)
def hide(text: str) -> str:
    return text
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder with an application; gives its -A."""
    name = f"site_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield f"{name}:app"
    sys.modules.pop(name, None)


def test_enqueue_and_show(site: str) -> None:
    made = taskq("enqueue", "-A", site, "add", '{"x": 1}', "--priority", "high", "--delay", "60", "--json")
    id = json.loads(made.stdout)["id"]
    shown = json.loads(taskq("tasks", "show", "-A", site, id, "--json").stdout)
    assert (shown["state"], shown["priority"], shown["payload"]) == ("scheduled", "high", {"x": 1})
    text = taskq("tasks", "show", "-A", site, id).stdout
    assert "scheduled" in text
    assert id in text


def test_an_encrypted_task_is_shown_as_such_and_not_in_plain(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_CRYPTO__KEYS__2026-11", b64encode(bytes(32)).decode())
    made = taskq("enqueue", "-A", site, "hide", '{"text": "hush"}')
    assert made.exit_code == 0, made.output
    id = made.stdout.strip()
    shown = json.loads(taskq("tasks", "show", "-A", site, id, "--json").stdout)
    assert (shown["payload"], shown["headers"]) == ("(encrypted with the key 2026-11)", {"encrypted": True})
    text = taskq("tasks", "show", "-A", site, id).stdout
    assert "payload       (encrypted with the key 2026-11)" in text
    assert "hush" not in text


def test_an_encrypted_task_is_shown_without_any_key(site: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as with_key:
        with_key.setenv("TASKQ_CRYPTO__KEYS__2026-11", b64encode(bytes(32)).decode())
        id = taskq("enqueue", "-A", site, "hide", '{"text": "hush"}').stdout.strip()
    alone = taskq("tasks", "show", "--backend", f"memory://?snapshot={tmp_path / 'tasks'}", id)
    assert "(encrypted with the key 2026-11)" in alone.stdout
    sys.modules.pop(site.partition(":")[0])
    refused = taskq("enqueue", "-A", site, "hide", '{"text": "hush"}')
    assert (refused.exit_code, "there is no key" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (b'{"x":1}', {"x": 1}),
        (escaped(b'{"$enc":"2026-11","data":"x"}'), {"$enc": "2026-11", "data": "x"}),
        (Crypto({"2026-11": bytes(32)}).encrypt(b'"hush"', b""), "(encrypted with the key 2026-11)"),
    ],
    ids=["plain", "escaped", "encrypted"],
)
def test_a_result_is_shown_if_it_is_in_plain(site: str, result: bytes, shown: object) -> None:
    id = taskq("enqueue", "-A", site, "add", '{"x": 1}').stdout.strip()

    async def complete() -> None:
        async with App("memory://?snapshot=tasks") as app:
            backend = await app.backend()
            fetched = await backend.broker.fetch(["default"], 1, worker="w", lease=30.0, request_id="r")
            await backend.broker.settle([Settled(fetched.deliveries[0], Complete(result))])

    asyncio.run(complete())
    assert json.loads(taskq("tasks", "show", "-A", site, id, "--json").stdout)["result"] == shown


def test_arguments_of_another_version(site: str) -> None:
    made = taskq("enqueue", "-A", site, "add", '{"a": "one"}', "--version", "7")
    shown = json.loads(taskq("tasks", "show", "-A", site, made.stdout.strip(), "--json").stdout)
    assert (shown["payload"], shown["headers"]) == ({"a": "one"}, {"version": 7})


def test_the_store_of_the_results_is_looked_at_too(site: str) -> None:
    looked = taskq("doctor", "-A", site.replace(":app", ":apart"), "--json")
    assert looked.exit_code == 1
    [finding] = [finding for finding in json.loads(looked.stdout) if finding["check"] == "results"]
    assert finding["status"] == "fault"
    assert "nosuch" in finding["detail"]
    assert taskq("migrate", "-A", site.replace(":app", ":apart")).exit_code == 2


def test_the_store_of_the_environment_takes_no_application_from_its_own(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQ_BACKEND", "redis://127.0.0.1:1/0")
    made = taskq("enqueue", "-A", site, "add", '{"x": 5}')
    assert made.exit_code == 0, made.output
    assert taskq("tasks", "show", "-A", site, made.stdout.strip()).exit_code == 0


def test_arguments_come_from_standard_input(site: str) -> None:
    made = taskq("enqueue", "-A", site, "add", "-", input='{"x": 5}')
    assert made.exit_code == 0
    assert '"x": 5' in taskq("tasks", "show", "-A", site, made.stdout.strip()).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["enqueue", "add"], 2, "which store?"),
        (["enqueue", "-A", "SITE", "add", "[1]"], 2, "JSON object"),
        (["enqueue", "-A", "SITE", "add", "{"], 2, "not JSON"),
        (["enqueue", "-A", "SITE", "add", '{"x": "y"}'], 2, "parameter x"),
        (["enqueue", "--backend", "memory://", "add"], 2, "is gone"),
        (["tasks", "show", "-A", "SITE", "no-such"], 1, "no record"),
        (["migrate", "--backend", "memory://", "--sql"], 1, "no SQL"),
        (["migrate"], 2, "which store?"),
        (["doctor"], 2, "which store?"),
        (["worker", "-A", "nowhere:app"], 2, "no module"),
        (["worker", "-A", "no where"], 2, "module:app"),
        (["worker", "-A", "SITE", "-c", "0"], 2, "concurrency"),
        (["worker", "-A", "SITE", "-Q", "a=x"], 2, "weight"),
        (["wrker"], 2, "Did you mean worker"),
    ],
)
def test_what_is_wrong_is_one_line(site: str, arguments: list[str], status: int, said: str) -> None:
    result = taskq(*(site if argument == "SITE" else argument for argument in arguments))
    assert (result.exit_code, said in result.stderr) == (status, True), result.stderr


@pytest.mark.parametrize("wait", ["add", "nan"])
def test_a_wait_that_is_no_duration_says_how_to_write_it(site: str, wait: str) -> None:
    result = taskq("enqueue", "-A", site, "--wait", wait, '{"x": 1}')
    assert result.exit_code == 2
    assert f"{wait!r} is no duration; to wait without end write it last: --wait" in result.stderr


def test_a_path_without_an_attribute_must_be_clear(site: str) -> None:
    module = site.partition(":")[0]
    assert f"{module}:app, {module}:other" in taskq("worker", "-A", module).stderr
    assert "no App named 'none'" in taskq("worker", "-A", f"{module}:none").stderr


def test_a_module_that_cannot_be_imported(site: str, tmp_path: Path) -> None:
    for name, text, said in (
        ("raises_here", "1 / 0", "ZeroDivisionError"),
        ("leaves_here", "raise SystemExit(0)", "ended the program"),
        ("misses_here", "import not_there_at_all", "not_there_at_all"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        result = taskq("worker", "-A", f"{name}:app")
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_migrate_and_doctor_on_a_store_without_a_schema(site: str) -> None:
    assert "up to date" in taskq("migrate", "-A", site).stdout
    taskq("enqueue", "-A", site, "add", '{"x": 1}')
    found = json.loads(taskq("doctor", "-A", site, "--json").stdout)
    assert {finding["status"] for finding in found} == {"ok", "warning"}
    assert "none lives" in taskq("doctor", "-A", site).stdout


def test_doctor_finds_a_store_that_is_away() -> None:
    result = taskq("doctor", "--backend", "redis://127.0.0.1:1/0")
    assert result.exit_code == 1
    assert result.stdout.startswith("fault")


def test_queues_with_weights() -> None:
    assert parse_queues("high=3,default") == {"high": 3.0, "default": None}
    with pytest.raises(ConfigError, match="weight of high"):
        parse_queues("high=lots")
    with pytest.raises(ConfigError, match="the weight of high must be a number, not ''"):
        parse_queues("high=")
    for text in ("", "a,,b", "=3"):
        with pytest.raises(ConfigError, match="a queue without a name; they are written"):
            parse_queues(text)
    with pytest.raises(ConfigError, match=r"^-Q 'a=1,b,a=2': the queue a is named twice$"):
        parse_queues("a=1,b,a=2")


@pytest.mark.parametrize("arguments", [["enqueue", "add", '{"x": 1}'], ["migrate"]])
def test_a_damaged_snapshot_is_reported_by_the_command_that_sets_it_aside(
    site: str, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "tasks").write_bytes(b"nonsense")
    for damaged in (1, 0):
        result = taskq(arguments[0], "-A", site, *arguments[1:])
        assert result.exit_code == 0
        assert result.stderr.count("is damaged") == damaged
