"""What is said reaches those whom it is said to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from taskq import App, ConfigError
from taskq.assumed import Assumed, assume, assumed, assuming
from taskq.cli import cli, configured
from taskq.config import Settings, WorkerOptions
from taskq.crypto import Crypto
from taskq.domain.message import DEFAULT_RETENTION
from taskq.errors import PayloadTooLarge
from taskq.ports import BackendOptions
from taskq.runtime.beat import Beat
from taskq.telemetry.tracing import Tracing, instrument
from tests.configuration.conftest import Read

BACKEND = """
backend:
  url: memory://?snapshot=kept
  durability: disk
  pool_size: 9
  connect_timeout: 2s
  command_timeout: 3s
  max_payload: 20
  max_result: 30
retention: {age: 1d}
"""


def options_of(app: App) -> BackendOptions:
    return app.stores._options


def test_an_application_takes_what_its_code_does_not_say(read: Read) -> None:
    app = read(BACKEND).app(namespace="shop")
    options = options_of(app)
    assert (app.url, options.namespace, options.durability) == ("memory://?snapshot=kept", "shop", "disk")
    assert (options.pool_size, options.connect_timeout, options.command_timeout) == (9, 2.0, 3.0)
    assert (app.settings.max_payload, app.settings.max_result) == (20, 30)


def test_what_its_code_says_goes_before(read: Read) -> None:
    settings = Settings(max_payload=1000, crypto=Crypto({"own": bytes(32)}))
    app = read(BACKEND + "crypto: {keys: {k1: jgJrxI3kq0ZVw1mS5uYd8bQnTf2hLcXo7eGaPpRzM4E=}}").app(
        backend="memory://", durability="process", settings=settings
    )
    assert (app.url, options_of(app).durability, app.settings.max_payload) == ("memory://", "process", 1000)
    assert app.stores.crypto is settings.crypto


def test_how_long_ends_are_kept(read: Read) -> None:
    app = read("retention: {age: 1d}").app()

    @app.task(name="usual")
    def usual() -> None: ...

    @app.task(name="own", retention=60.0)
    def own() -> None: ...

    assert usual.declared.retention == 86_400.0
    assert own.declared.retention == 60.0
    assert app.enqueue("unknown").info().retention == 86_400.0
    assert usual.enqueue().info().retention == 86_400.0
    assert App("memory://").enqueue("unknown").info().retention == DEFAULT_RETENTION


def test_the_most_bytes_of_arguments(read: Read) -> None:
    app = read("backend: {max_payload: 20}").app()
    with pytest.raises(PayloadTooLarge, match=r"over max_payload \(20 bytes\)"):
        app.enqueue("note", {"text": "x" * 30})


def test_nothing_is_assumed_afterwards() -> None:
    with assuming(Assumed(url="redis://one")):
        assert App().url == "redis://one"
        assert App("memory://").url == "memory://"
        with ThreadPoolExecutor(1) as another:
            assert another.submit(assumed).result() == Assumed(), "other threads make theirs as they were"
    assert assumed() == Assumed()
    before = assume(Assumed(url="redis://two"))
    assert (assume(before).url, assumed()) == ("redis://two", before)


def test_a_durability_that_is_none() -> None:
    with pytest.raises(ConfigError, match="durability must be process, disk or replica, not 'safe'"):
        App("memory://", durability="safe")


async def test_how_often_a_beat_looks(read: Read) -> None:
    options = read("scheduler: {tick: 100ms}").worker_options
    assert options.look_every == 0.1
    app = App("memory://")
    assert 0 < await Beat(app, look_every=options.look_every).tick() <= 0.1
    assert await Beat(app).tick() == 1.0
    with pytest.raises(ConfigError, match=r"look_every must be from 0\.05 to 60 seconds, not 0"):
        WorkerOptions(look_every=0)


def test_the_rate_is_shared_by_the_processes(read: Read) -> None:
    found = read("worker: {rate: 90/m, processes: 3, children: 2}")
    assert (found.worker_options.rate, found.worker_options.processes) == (0.5, 2)
    assert read("worker: {rate: 60, processes: 0}").worker_options.rate == 60.0


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("mail: {}", {}),
        ("mail: {workers: null, max_retries: null, retry_strategy: null}", {}),
        ("mail: {max_retries: 5}", {"retry": {"strategy": "exponential", "max_retries": 5}}),
        ("mail: {retry_strategy: none}", {"retry": {"strategy": "none"}}),
        (
            "mail: {retry_strategy: {strategy: fixed, delay: 5}, max_retries: 2}",
            {"retry": {"strategy": "fixed", "delay": 5, "max_retries": 2}},
        ),
        ("mail: {rate_limit: 5, timeout: 1m, max_size: 1000000}", {"rate": 5, "timeout": 60.0, "max_size": 1_000_000}),
    ],
)
def test_what_is_said_of_a_queue(read: Read, text: str, settings: dict[str, Any]) -> None:
    assert read(f"queues:\n  {text}").queues == {"mail": settings}


def test_how_many_ends_of_each_queue_are_kept(read: Read) -> None:
    found = read("retention: {max_finished: 50}\nqueues: {mail: {}, slow: {max_finished: 5}}")
    assert found.queues == {"mail": {"max_finished": 50}, "slow": {"max_finished": 5}}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An SDK that takes spans."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield
    provider.shutdown()


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("has_seen_to_it", [False, True])
def test_tasks_are_traced_once(read: Read, monkeypatch: pytest.MonkeyPatch, has_seen_to_it: bool) -> None:
    app = App("memory://")
    if has_seen_to_it:
        instrument(app)
    for text, number in (("monitoring: {otel: false}", int(has_seen_to_it)), ("monitoring: {otel: true}", 1)):
        found = read(text)
        monkeypatch.setattr(configured, "configuration", lambda found=found: found)
        configured.trace_if_asked(app)
        owners = [getattr(hook, "__self__", None) for hook in app.middleware.on_enqueue]
        assert sum(isinstance(owner, Tracing) for owner in owners) == number


def test_what_traces_is_not_installed(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read("monitoring: {otel: true}")
    monkeypatch.setattr(configured, "configuration", lambda: found)
    monkeypatch.setitem(sys.modules, "taskq.telemetry.tracing", None)
    with pytest.raises(ConfigError, match=r'needs OpenTelemetry: pip install "pytaskq\[otel\]"'):
        configured.trace_if_asked(App("memory://"))


def test_how_a_command_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr("taskq.telemetry.logs.configure", lambda format, level: seen.append((format, level)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taskq.yaml").write_text("monitoring: {log_format: json, log_level: debug}")
    for arguments in ((), ("--log-level", "ERROR")):
        assert CliRunner().invoke(cli, ["beat", "-A", "nosuch:app", *arguments]).exit_code == 2
    assert seen == [("json", "DEBUG"), ("json", "ERROR")]
