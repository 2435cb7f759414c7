"""`taskq bench`: what it tells, what it refuses, and that nothing of it stays in the store."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any

import psycopg
import pytest
import redis

from taskq import App
from taskq.errors import BackendUnavailable
from taskq.ports import WorkerInfo, WorkerState
from taskq.runtime import bench
from taskq.testing.conformance.fleet import worker_info
from tests.cli.support import Shell, taskq
from tests.servers import wait_until

FEW = ("--tasks", "100")
MANY = ("--tasks", "500000", "--seconds", "600")
LATENCIES, THROUGHPUTS = ("round_trip", "pickup", "enqueue"), ("enqueue_many", "drain")
NAMES = """
select nspname from pg_namespace where nspname !~ '^pg_' union all
select nspname || '.' || relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where nspname !~ '^pg_'
"""


class Eraser:
    """What no backend is."""


def names(url: str) -> list[str]:
    """The names of all that lies in a store."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            return sorted(key.decode() for key in client.scan_iter())
    with psycopg.connect(url.replace("postgres://", "postgresql://")) as connection:
        return sorted(name for (name,) in connection.execute(NAMES).fetchall())


def of_benches(url: str) -> list[str]:
    return [name for name in names(url) if "bench_" in name]


def has_worker(url: str) -> bool:
    """Whether the worker of a bench works."""
    if url.startswith("redis"):
        return any(":worker:" in name for name in of_benches(url))
    tables = [name for name in of_benches(url) if name.endswith(".worker")]
    with psycopg.connect(url.replace("postgres://", "postgresql://")) as connection:
        return any(connection.execute(f"select 1 from {table}").fetchone() for table in tables)


def tell(url: str, act: Callable[[App], Any]) -> Any:
    """Do something with an application on a store."""

    async def told() -> Any:
        async with App(url) as app:
            return await act(app)

    return asyncio.run(told())


def living(url: str, *infos: WorkerInfo) -> None:
    """Have workers live, as far as the store knows."""

    async def report(app: App) -> None:
        for info in infos:
            await (await app.backend()).registry.report(info, 900.0)

    tell(url, report)


@pytest.fixture(autouse=True)
def few_pickups(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process."""
    monkeypatch.setattr(bench, "PICKUPS", 10)


@pytest.fixture
def used(shared_url: str) -> str:
    """A store that is in use, with a task in it."""
    tell(shared_url, lambda app: app.aenqueue("mail.send", {"to": "a@b.c"}, queue="mail"))
    return shared_url


# ---------------------------------------------------------------- measuring


def test_the_figures_as_json_and_that_nothing_is_left(used: str) -> None:
    before = names(used)
    result = taskq("bench", "--backend", used, *FEW, "-c", "7", "--queue", "mail", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["tasks"], told["concurrency"], told["queue"], told["durability"]) == (100, 7, "mail", "process")
    assert {figure: told[figure]["samples"] for figure in LATENCIES} == {
        "round_trip": bench.LOOKS,
        "pickup": bench.PICKUPS,
        "enqueue": 100,
    }
    assert all(0 < told[figure]["p50_ms"] <= told[figure]["p95_ms"] for figure in LATENCIES)
    assert [told[figure]["tasks"] for figure in THROUGHPUTS] == [100, 201]
    assert all(told[figure]["tasks_per_second"] > 0 for figure in THROUGHPUTS)
    assert names(used) == before


def test_the_figures_for_people_and_what_it_says_first(used: str) -> None:
    result = taskq("bench", "--backend", used, *FEW)
    assert result.exit_code == 0, result.output
    [said] = result.stderr.splitlines()
    assert said.startswith(f"taskq: this loads {used.split('?')[0]}")
    assert "200 tasks, about 75 s at most, in bench_" in said
    for words in ("p50 ms", "tasks/s", "round trip to the store", "pickup by an idle worker", "201 tasks"):
        assert words in result.stdout


def test_what_is_in_the_store_is_left_alone(used: str) -> None:
    living(used, worker_info(id="w1", state=WorkerState.IDLE, running=0))
    assert taskq("bench", "--backend", used, *FEW, "--queue", "mail").exit_code == 0

    async def look(app: App) -> Any:
        backend = await app.backend()
        return await backend.inspector.counts(), [worker.id for worker in await backend.registry.workers()]

    assert tell(used, look) == ({"mail": {"pending": 1}}, ["w1"])


def test_it_uses_the_namespace_of_no_application(shell: Shell, shared_url: str) -> None:
    (shell.folder / "named.py").write_text("from taskq import App\napp = App(namespace='shop')\n")
    shell.output("migrate", "-A", "named:app", "--backend", shared_url)
    shell.output("enqueue", "-A", "named:app", "--backend", shared_url, "mail.send", "{}")
    before = names(shared_url)
    shell.output("bench", "-A", "named:app", "--backend", shared_url, *FEW)
    assert names(shared_url) == before


@pytest.mark.parametrize("url", ["memory://", "kept"])
def test_the_memory_of_this_process(url: str, request: pytest.FixtureRequest) -> None:
    url = url if url == "memory://" else request.getfixturevalue(url)
    result = taskq("bench", "--backend", url, *FEW, "--json")
    assert result.exit_code == 0, result.output
    assert "this loads the memory of this process" in result.stderr
    assert json.loads(result.stdout)["drain"]["tasks"] == 201
    assert tell(url, lambda app: app.backend()) is not None


def test_each_step_ends_when_its_time_is_up(redis_url: str) -> None:
    result = taskq("bench", "--backend", redis_url, "--tasks", "500000", "--seconds", "0.1", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert 0 < told["enqueue_many"]["tasks"] < 500_000
    assert 0 < told["pickup"]["samples"] < bench.PICKUPS
    assert of_benches(redis_url) == []


# ---------------------------------------------------------------- being told to end


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_nothing_is_left_where_it_is_told_to_end(shell: Shell, used: str, number: signal.Signals, status: int) -> None:
    before = names(used)
    running = shell.start("bench", "--backend", used, *MANY)
    running.until_it_says("this loads")
    wait_until(lambda: len(of_benches(used)) > 5, "the bench works")
    assert running.stop(number) == status
    assert names(used) == before
    assert "Traceback" not in running.log
    assert "may be left" not in running.log


def test_nothing_is_left_where_it_is_told_to_end_while_its_worker_works(shell: Shell, used: str) -> None:
    before = names(used)
    running = shell.start("bench", "--backend", used, *MANY, "-c", "1")
    running.until_it_says("this loads")
    wait_until(lambda: has_worker(used), "the worker works")
    assert running.stop(signal.SIGINT) == 130
    assert names(used) == before


def test_a_second_ctrl_c_breaks_off_the_taking_away_and_says_what_may_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    remove, calls = bench.remove, iter([None])

    async def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    async def interrupted_later(app: App, namespace: str) -> None:
        await (interrupted() if next(calls, "later") == "later" else remove(app, namespace))

    monkeypatch.setattr(bench.Bench, "_measure", interrupted)
    monkeypatch.setattr(bench, "remove", interrupted_later)
    result = taskq("bench", "--backend", "memory://", *FEW)
    assert (result.exit_code, result.stdout) == (130, "")
    [begun, left] = result.stderr.splitlines()
    namespace = begun.rpartition(" ")[2]
    assert left == f"taskq: some of {namespace} may be left; take it away: taskq bench --remove {namespace}"


# ---------------------------------------------------------------- refusing


def test_it_is_refused_where_workers_are_busy(used: str) -> None:
    living(used, worker_info(id="w1", name="fox", running=2), worker_info(id="w2", name="hen", running=0))
    before = names(used)
    result = taskq("bench", "--backend", used, *FEW)
    assert (result.exit_code, result.stdout) == (1, "")
    [said] = result.stderr.splitlines()
    assert said.startswith("taskq: workers run tasks of ")
    assert said.endswith(" (fox), which this would slow: --yes does it anyhow")
    assert names(used) == before
    assert taskq("bench", "--backend", used, *FEW, "--yes").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "99"], "taskq: tasks must be a whole number from 100 to 500,000, not 99"),
        (["--tasks", "500001"], "taskq: tasks must be a whole number from 100 to 500,000, not 500001"),
        (["--tasks", "some"], "'some' is not a valid integer"),
        (["--seconds", "0"], "taskq: seconds must be over 0 and at most 600, not 0.0"),
        (["--seconds", "nan"], "'nan' is no duration"),
        (["--concurrency", "0"], "taskq: concurrency must be a whole number from 1 to 10,000, not 0"),
        (["--queue", "a b"], "taskq: queue 'a b': use 1 to 200 of the characters"),
        (["--remove", "default"], "taskq: 'default' is no namespace of a bench, such as bench_0a1b2c3d"),
        (["--remove", "bench_*"], "taskq: 'bench_*' is no namespace of a bench"),
        (["--backend", "nosuch://host"], "taskq: no backend for 'nosuch://host'"),
    ],
)
def test_wrong_usage(redis_url: str, arguments: Sequence[str], said: str) -> None:
    result = taskq("bench", "--backend", redis_url, *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert names(redis_url) == []


def test_a_store_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_BACKEND", raising=False)
    monkeypatch.delenv("TASKQ_APP", raising=False)
    result = taskq("bench")
    assert (result.exit_code, "which store?" in result.stderr) == (2, True)


@pytest.mark.parametrize("more", [[], ["--yes"]])
def test_a_store_that_is_away_is_said_without_its_password(more: list[str]) -> None:
    result = taskq("bench", "--backend", "redis://:hunter-2@127.0.0.1:1/0", *FEW, *more)
    assert (result.exit_code, "hunter-2" in result.output, "may be left" in result.output) == (1, False, False)
    assert all(line.startswith("taskq: ") for line in result.stderr.splitlines())


def test_what_could_not_be_taken_away_is_not_begun(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("bob", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-scan"])
        try:
            result = taskq("bench", "--backend", redis_url.replace("://", "://bob:x@"), *FEW, "--yes")
        finally:
            client.acl_deluser("bob")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Redis refuses this user (NOPERM)" in result.stderr.splitlines()[-1]
    assert names(redis_url) == []


def test_a_user_of_postgres_who_may_make_no_schema_is_told_so(postgres_url: str) -> None:
    user = f"bob_{token_hex(4)}"
    with psycopg.connect(postgres_url.replace("postgres://", "postgresql://"), autocommit=True) as connection:
        connection.execute(f"create role {user} login password 'hunter-2'")
        try:
            before = names(postgres_url)
            url = postgres_url.replace("postgres@", f"{user}:hunter-2@")
            result = taskq("bench", "--backend", url, *FEW, "--yes")
        finally:
            connection.execute(f"drop role {user}")
    assert (result.exit_code, "hunter-2" in result.output) == (1, False)
    assert result.stderr.splitlines()[-1].endswith("for which the user of the URL needs CREATE on the database")
    assert names(postgres_url) == before


def test_what_its_workers_say_of_the_store_is_said_once(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with redis.Redis.from_url(redis_url) as client:
        [before] = client.config_get("hash-max-listpack-value").values()
        client.config_set("hash-max-listpack-value", 64)
        try:
            assert taskq("bench", "--backend", redis_url, *FEW).exit_code == 0
        finally:
            client.config_set("hash-max-listpack-value", before)
    assert [line for line in caplog.messages if "hash-max-listpack-value 64" in line] != []
    assert len(caplog.messages) == len(set(caplog.messages))


def test_a_worker_that_runs_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(*_: object) -> None: ...

    monkeypatch.setattr(bench, "PATIENCE", 0.05)
    monkeypatch.setattr("taskq.runtime.fetcher.Fetcher.run", idle)
    result = taskq("bench", "--backend", "memory://", *FEW)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "taskq: the worker has run no task within 0.05 s: is the store that slow?"


def test_a_store_that_takes_nothing_back_is_not_loaded(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ErasableBackend", Eraser)
    result = taskq("bench", "--backend", redis_url, *FEW, "--yes")
    assert (result.exit_code, "cannot take away again" in result.stderr) == (1, True)
    assert names(redis_url) == []


# ---------------------------------------------------------------- what is left all the same


def test_what_could_not_be_removed_is_named_and_can_be_removed_later(
    used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(used)

    erase, calls = bench.remove, iter([None])

    async def first(app: App, namespace: str) -> None:
        if next(calls, "away") == "away":
            raise BackendUnavailable("the store is away")
        await erase(app, namespace)

    with monkeypatch.context() as broken:
        broken.setattr(bench, "remove", first)
        result = taskq("bench", "--backend", used, *FEW)
    assert (result.exit_code, result.stdout) == (1, "")
    *_, left, why = result.stderr.splitlines()
    namespace = left.rpartition(" ")[2]
    assert left == f"taskq: some of {namespace} may be left; take it away: taskq bench --remove {namespace}"
    assert why == "taskq: the store is away"
    assert of_benches(used) != []
    removed = taskq("bench", "--backend", used, "--remove", namespace)
    assert (removed.exit_code, removed.stdout) == (0, f"{namespace} is removed\n")
    assert names(used) == before
    assert taskq("bench", "--backend", used, "--remove", namespace).exit_code == 0
