"""Every key with its default: as promised, as the options of the commands have it, and as the page shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from taskq import App
from taskq.assumed import Assumed
from taskq.cli.beat import beat
from taskq.cli.worker import worker
from taskq.config import WorkerOptions
from taskq.configuration import load
from taskq.configuration.model import Auth, Queue, Sections
from taskq.configuration.show import values
from taskq.management import Role
from taskq.ports import BackendOptions, QueueSettings
from taskq.runtime.run import DEFAULT_TIMEOUT
from tests.configuration.conftest import Read

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
A_KEY = "jgJrxI3kq0ZVw1mS5uYd8bQnTf2hLcXo7eGaPpRzM4E="
PROMISED = {
    "server.host": "0.0.0.0",
    "server.port": 8080,
    "server.admin_port": 8081,
    "server.grpc_port": 9090,
    "server.tls": None,
    "backend.url": "memory://",
    "backend.durability": "process",
    "worker.concurrency": 100,
    "worker.processes": 1,
    "worker.lease": 30.0,
    "worker.heartbeat": 10.0,
    "worker.shutdown_timeout": 30.0,
    "worker.max_rss": None,
    "worker.max_backend_latency": 5.0,
    "scheduler.tick": 1.0,
    "retention.age": 7 * 86_400.0,
    "retention.max_finished": 100_000,
    "auth.jwt_secret": None,
    "auth.jwks_url": None,
    "auth.roles": {},
    "monitoring.metrics_port": 2112,
    "monitoring.enable_profiling": False,
    "monitoring.log_level": "INFO",
    "monitoring.log_format": "console",
    "monitoring.otel": False,
}
PROMISED_OF_A_QUEUE = {
    "max_size": 1_000_000,
    "max_retries": 3,
    "retry_strategy": "exponential",
    "timeout": 300.0,
    "warn_at": 0.8,
    "workers": None,
    "rate_limit": None,
}


@pytest.mark.parametrize("key", PROMISED)
def test_a_default(read: Read, key: str) -> None:
    [found] = [value for value in values(read()) if value.key == key]
    assert (found.value, found.origin.kind) == (PROMISED[key], "default")


def test_the_defaults_of_a_queue_are_those_that_hold_without_it() -> None:
    queue, holds = Queue(), QueueSettings()
    assert {name: getattr(queue, name) for name in PROMISED_OF_A_QUEUE} == PROMISED_OF_A_QUEUE
    assert (queue.max_size, queue.warn_at, queue.max_finished) == (holds.max_size, holds.warn_at, holds.max_finished)
    assert queue.timeout == DEFAULT_TIMEOUT
    assert queue.settings == {}


def test_a_worker_is_told_the_same_as_without_a_configuration(read: Read) -> None:
    assert read().worker_options == WorkerOptions()


def test_an_application_is_told_the_same_as_without_a_configuration(read: Read) -> None:
    options = read().app().assumed.options("default", None, None)
    usual = BackendOptions()
    for name in ("durability", "pool_size", "connect_timeout", "command_timeout"):
        assert getattr(options, name) == getattr(usual, name)
    assert Assumed().settings == App("memory://").settings
    assert read().assumed == Assumed(variables={})


@pytest.mark.parametrize("command", [worker, beat])
def test_the_options_of_a_command_have_the_same_defaults(read: Read, command: object) -> None:
    sections = read().sections
    shown = {"log_format": sections.monitoring.log_format, "log_level": sections.monitoring.log_level}
    told = {**sections.worker.model_dump(), **shown, "queues": "default"}
    for option in getattr(command, "params"):  # noqa: B009 - it is a click.Command only by its decorator
        if option.name in told:
            assert option.to_info_dict()["default"] == (told[option.name]), option.name


def test_the_roles_are_those_of_the_management() -> None:
    annotation = Auth.model_fields["roles"].annotation
    assert set(get_args(get_args(annotation)[1])) == {str(role) for role in Role}


def test_the_page_shows_every_key_with_its_default(tmp_path: Path) -> None:
    [example] = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "taskq.yaml").write_text(example)
    found = load(environment={}, folder=tmp_path)
    usual = Sections()
    assert found.sections.model_copy(update={"queues": {}}) == usual
    assert found.sections.queues["mail"].model_dump() == Queue().model_dump()


def test_the_page_names_every_key_that_has_no_default(tmp_path: Path) -> None:
    [example] = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    example = re.sub(r"^( *)# (\w+: )", r"\1\2", example, flags=re.MULTILINE).replace("…", A_KEY)
    (tmp_path / "taskq.yaml").write_text(example)
    found = load(environment={}, folder=tmp_path)
    shown = {re.sub(r"(rules\.)\w+", r"\1*", value.key): value.origin.kind for value in values(found)}
    in_file = {re.sub(r"(rules\.)\w+", r"\1*", value.key) for value in values(found) if value.origin.kind == "file"}
    assert in_file == set(shown)
