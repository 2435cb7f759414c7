"""Who is heard before whom, and who said what holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from taskq.configuration import load
from taskq.configuration.sources import has_any
from taskq.errors import ConfigError
from taskq.variables import PRIVATE
from tests.configuration.conftest import Read

KEY = "A" * 43 + "="
FILE = "worker:\n  concurrency: 1\n  poll: 2\n"
LEASE = ("worker", "lease")


def test_arguments_before_variables_before_the_file_before_the_default(read: Read) -> None:
    environment = {"TASKQ_WORKER__CONCURRENCY": "2", "TASKQ_WORKER__THREADS": "2"}
    arguments = {("worker", "concurrency"): ("--concurrency", 3)}
    for said, holds, origin in (
        ({"arguments": arguments, "environment": environment}, 3, "--concurrency"),
        ({"environment": environment}, 2, "TASKQ_WORKER__CONCURRENCY"),
        ({}, 1, "taskq.yaml:2"),
    ):
        found = read(FILE, **said)
        assert (found.sections.worker.concurrency, str(found.origin("worker.concurrency"))) == (holds, origin)
        assert (found.sections.worker.poll, str(found.origin("worker.poll"))) == (2.0, "taskq.yaml:3")
        assert str(found.origin("worker.lease")) == "default"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("taskq.yaml", "worker: {lease: 1m}"),
        ("taskq.yml", "worker:\n  lease: 60"),
        ("taskq.toml", '[worker]\nlease = "1m"'),
        ("taskq.toml", "worker.lease = 60"),
        ("taskq.yaml", "\ufeffworker: {lease: 60.0}"),
    ],
)
def test_a_file_of_each_kind(read: Read, name: str, text: str) -> None:
    found = read(text, name)
    assert (found.sections.worker.lease, found.sections.worker.heartbeat) == (60.0, 20.0)
    assert str(found.origin("worker.lease")).startswith(name)
    assert found.path is not None


def test_two_files_are_refused(read: Read, tmp_path: Path) -> None:
    read("worker: {}", "taskq.yml")
    (tmp_path / "taskq.toml").write_text("")
    with pytest.raises(ConfigError, match=r"^taskq.yml and taskq.toml are both here: keep one, or name one with"):
        read()
    assert load(tmp_path / "taskq.toml", environment={}, folder=tmp_path).path == tmp_path / "taskq.toml"


def test_a_file_that_is_named(read: Read, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("worker: {lease: 7}")
    assert read(FILE, environment={"TASKQ_CONFIG": "other.yaml"}).sections.worker.lease == 7
    assert load("taskq.yaml", environment={"TASKQ_CONFIG": "other.yaml"}, folder=tmp_path).sections.worker.lease == 30
    with pytest.raises(ConfigError, match=r"the configuration file gone\.yaml cannot be read: No such file"):
        read(environment={"TASKQ_CONFIG": "gone.yaml"})


@pytest.mark.parametrize("text", ["", "# nothing\n", "worker:\n", "queues:\n  mail:\n", "alerts:\n  rules:\n"])
def test_a_section_may_be_empty(read: Read, text: str) -> None:
    assert read(text).sections.worker.lease == 30.0


@pytest.mark.parametrize(
    ("environment", "url", "origin"),
    [
        ({"TASKQ_BACKEND": "redis://one"}, "redis://one", "TASKQ_BACKEND"),
        ({"TASKQ_BACKEND__URL": "redis://two"}, "redis://two", "TASKQ_BACKEND__URL"),
        ({"TASKQ_BACKEND": "redis://one", "TASKQ_BACKEND__URL": "redis://two"}, "redis://two", "TASKQ_BACKEND__URL"),
        ({"TASKQ_BACKEND": '{"url": "redis://three", "pool_size": 4}'}, "redis://three", "TASKQ_BACKEND"),
        ({"TASKQ_BACKEND": ""}, "redis://file", "taskq.yaml:1"),
    ],
)
def test_the_url_of_the_backend(read: Read, environment: dict[str, str], url: str, origin: str) -> None:
    found = read("backend: redis://file", environment=environment)
    assert (found.sections.backend.url, str(found.origin("backend.url"))) == (url, origin)
    assert found.app().url == url


@pytest.mark.parametrize("said", ["high=3,low", "[high, low]", "{high: 3, low: null}"])
def test_the_queues_of_a_worker_are_replaced_whole(read: Read, said: str) -> None:
    text = f"worker:\n  queues: {said}"
    found = read(text)
    assert set(found.sections.worker.queues) == {"high", "low"}
    again = read(text, environment={"TASKQ_WORKER__QUEUES": "mail=2"})
    assert again.worker_options.queues == {"mail": 2.0}
    assert str(again.origin("worker.queues")) == "TASKQ_WORKER__QUEUES"


def test_lists_and_names_in_variables(read: Read) -> None:
    environment = {
        "TASKQ_QUEUES__Mail-2__RATE_LIMIT": "100/m",
        "TASKQ_CRYPTO__KEYS__K1": KEY,
        "TASKQ_CRYPTO__KEYS__k2": "B" * 42 + "A=",
        "TASKQ_CRYPTO__ACTIVE": "K1",
        "TASKQ_WEBHOOKS__SECRETS": f"whsec_{'A' * 32}, whsec_{'B' * 32}",
        "TASKQ_WEBHOOKS__ALLOW": "10.0.0.0/8,192.168.0.1",
        "TASKQ_WEBHOOKS__PORTS": "443, 8443",
        "TASKQ_ALERTS__RULES__OLDEST_AGE__QUEUES": "mail,slow",
        "TASKQ_AUTH__ROLES__Ops": "operator",
    }
    found = read("crypto: {keys: {K1: wrong}}", environment=environment)
    assert found.queues == {"Mail-2": {"rate": "100/m"}}
    assert list(found.sections.crypto.keys) == ["K1", "k2"]
    assert found.sections.webhooks.ports == [443, 8443]
    assert found.sections.alerts.rules.oldest_age.queues == ["mail", "slow"]
    assert found.sections.auth.roles == {"Ops": "operator"}
    app = found.app()
    crypto, webhooks = app.stores.crypto, found.assumed.webhooks()
    assert crypto is not None
    assert (crypto.active, sorted(crypto._keys)) == ("K1", ["K1", "k2"])
    assert webhooks is not None
    assert (repr(webhooks), sorted(webhooks.ports)) == ("Webhooks(secrets=2)", [443, 8443])


def test_a_variable_that_is_nearly_json(read: Read) -> None:
    found = read(environment={"TASKQ_WORKER__NAME": "{worker", "TASKQ_WORKER": '{"lease": "1m"}'})
    assert (found.sections.worker.name, found.sections.worker.lease) == ("{worker", 60.0)
    assert str(found.origin("worker.lease")) == "TASKQ_WORKER"


def test_the_keys_are_those_of_all_who_say_some(read: Read) -> None:
    text = f"crypto: {{keys: {{a: {KEY}}}, active: a, encrypt_all: true, digest_key: {KEY}}}"
    crypto = read(text, environment={"TASKQ_CRYPTO__KEYS__b": "B" * 42 + "A="}).app().stores.crypto
    assert repr(crypto) == "Crypto(keys=a, b, active='a', encrypt_all=True)"


def test_variables_of_other_programs_are_warned_of(read: Read) -> None:
    known = {"TASKQ_DEBUG": "1", "TASKQ_WORKER_PROCESS": "[]", "TASKQ_TEST_REDIS_URL": "x", "TASKQ_LIFELINE": "3"}
    assert read(environment={**known, "PATH": "x", "TASKQ_EMPTY": ""}).warnings == ()
    found = read(environment={**known, "TASKQ_WORKR__LEASE": "5", "TASKQ_FOO": "1"})
    assert set(found.warnings) == {
        "the variable TASKQ_WORKR__LEASE is not one of taskq's, did you mean TASKQ_WORKER__LEASE?",
        "the variable TASKQ_FOO is not one of taskq's: it is ignored",
    }


@pytest.mark.parametrize(
    ("environment", "file", "is_any"),
    [
        ({}, None, False),
        ({"TASKQ_BACKEND": "redis://h", "TASKQ_APP": "a:b", "TASKQ_DEBUG": "1"}, None, False),
        ({"TASKQ_CRYPTO__ACTIVE": "k", "TASKQ_WEBHOOKS__ALLOW": "x", "TASKQ_WORKER_PROCESS": "[]"}, None, False),
        (dict.fromkeys(PRIVATE, "3"), None, False),
        ({"TASKQ_WORKER__LEASE": ""}, None, False),
        ({"TASKQ_WORKER__LEASE": "5"}, None, True),
        ({"TASKQ_CONFIG": "x.yaml"}, None, True),
        ({}, "taskq.toml", True),
    ],
)
def test_whether_there_is_any(tmp_path: Path, environment: dict[str, str], file: str | None, is_any: bool) -> None:
    if file is not None:
        (tmp_path / file).touch()
    assert has_any(environment, tmp_path) == is_any


def test_the_environment_and_the_folder_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TASKQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TASKQ_WORKER__LEASE", "12")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taskq.toml").write_text('app = "tasks:app"')
    found = load()
    assert (found.sections.worker.lease, found.sections.app) == (12.0, "tasks:app")


@pytest.mark.parametrize(
    ("text", "variables", "arguments", "pairs"),
    [
        ("server: {port: 99}", {"TASKQ_WORKER__METRICS_PORT": "99"}, {}, ["server.port", "worker.metrics_port"]),
        ("worker: {metrics_port: 99}", {}, {"scheduler": 99}, ["worker.metrics_port", "scheduler.metrics_port"]),
        ("worker: {metrics_port: 99}", {}, {"worker": 98, "scheduler": 99}, []),
        ("worker: {metrics_port: 2112}", {}, {}, []),
        ("worker: {metrics_port: 0}\nscheduler: {metrics_port: 0}", {}, {}, []),
        (
            "",
            {"TASKQ_MONITORING__METRICS_PORT": "7"},
            {"worker": 7},
            ["monitoring.metrics_port", "worker.metrics_port"],
        ),
    ],
)
def test_a_port_that_two_are_to_have_is_warned_of(
    read: Read, text: str, variables: dict[str, str], arguments: dict[str, int], pairs: list[str]
) -> None:
    """By what is in force, whoever says it; where nobody says it each may have a host of its own."""
    said = {(section, "metrics_port"): ("--metrics-port", port) for section, port in arguments.items()}
    warnings = read(text, environment=variables, arguments=said).warnings
    assert len(warnings) == bool(pairs)
    for pair in pairs:
        assert pair in warnings[0]


def test_ports_of_the_server_differ_whoever_says_them(wrong: Callable[..., list[str]]) -> None:
    said = {("monitoring", "metrics_port"): ("--metrics-port", 99)}
    for more in ({"environment": {"TASKQ_MONITORING__METRICS_PORT": "99"}}, {"arguments": said}):
        assert wrong("server: {port: 99}", **more) == ["server.port and monitoring.metrics_port are both 99"]
