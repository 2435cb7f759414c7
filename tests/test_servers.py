"""The private servers themselves: they start, survive what tests do to them, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.servers import PostgresServer, RedisServer, Server, ServerError, base, postgres, wait_until
from tests.servers.__main__ import main
from tests.servers.postgres import create_database, drop_database

ROOT = Path(__file__).parents[1]
STARTERS: dict[str, Callable[[], Server]] = {"redis": RedisServer, "postgres": PostgresServer}


@pytest.fixture(params=STARTERS)
def start(request: pytest.FixtureRequest) -> Callable[[], Server]:
    return STARTERS[str(request.param)]


@pytest.fixture
def redis_of_its_own() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def test_redis_runs_with_the_settings_that_the_backend_needs(redis_of_its_own: RedisServer) -> None:
    with redis.Redis.from_url(redis_of_its_own.url, decode_responses=True) as client:
        settings = client.config_get("append*", "hash-max-listpack-value", "maxmemory-policy", "save")
        assert client.info("server")["process_id"] == redis_of_its_own.pid
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["hash-max-listpack-value"] == "1024"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["save"] == ""


def test_redis_keeps_its_data_and_its_port_when_it_is_killed_and_restarted(redis_of_its_own: RedisServer) -> None:
    with redis.Redis.from_url(redis_of_its_own.url) as client:
        client.set("key", "before")
        url, first = redis_of_its_own.url, redis_of_its_own.pid
        redis_of_its_own.kill()
        assert not redis_of_its_own.running
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        redis_of_its_own.restart()
        assert client.get("key") == b"before"
    assert redis_of_its_own.url == url
    assert redis_of_its_own.pid != first


def test_redis_takes_settings_of_a_test() -> None:
    with RedisServer(config={"maxmemory": "7mb"}) as server, redis.Redis.from_url(server.url) as client:
        assert client.info("memory")["maxmemory"] == 7 * 1024 * 1024


def test_a_redis_cluster_owns_every_slot_again_after_a_restart(redis_cluster_server: RedisServer) -> None:
    redis_cluster_server.restart()
    with redis.Redis.from_url(redis_cluster_server.url) as client:
        assert client.set("key", "value")
        assert client.cluster("INFO")["cluster_slots_ok"] == "16384"


def test_postgres_writes_through_to_the_disk(postgres_of_its_own: PostgresServer) -> None:
    with psycopg.connect(postgres_of_its_own.url) as connection:
        for setting, value in (("fsync", "on"), ("synchronous_commit", "on"), ("server_encoding", "UTF8")):
            assert connection.execute("SELECT current_setting(%s)", [setting]).fetchone() == (value,)


def test_postgres_keeps_what_was_committed_when_it_is_killed_and_restarted(
    postgres_of_its_own: PostgresServer,
) -> None:
    url = postgres_of_its_own.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        connection.commit()
        processes = psutil.Process(postgres_of_its_own.pid).children(recursive=True)
        postgres_of_its_own.kill()
        assert [process for process in processes if process.is_running()] == []
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    postgres_of_its_own.restart()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]


def test_a_new_database_is_a_copy_of_its_template_and_can_be_dropped(postgres_server: PostgresServer) -> None:
    template = create_database(postgres_server.url)
    with psycopg.connect(template) as connection:
        connection.execute("CREATE TABLE copied ()")
    copy = postgres_server.create_database(template.rpartition("/")[2])
    with pytest.raises(psycopg.errors.AdminShutdown), psycopg.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM copied").fetchone() == (0,)
        drop_database(postgres_server.url, copy)
        connection.execute("SELECT 1")
    drop_database(postgres_server.url, template)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(copy)


def test_an_option_of_taskq_in_a_postgres_url_reaches_the_new_database_and_not_the_driver(
    postgres_server: PostgresServer,
) -> None:
    server = f"{postgres_server.url}?connect_timeout=3&an_option_of_taskq=1"
    url = create_database(server)
    drop_database(server, url)
    assert url.endswith("?connect_timeout=3&an_option_of_taskq=1")


def test_each_test_has_a_database_of_its_own(postgres_url: str, postgres_template: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
    assert row is not None
    assert row[0] not in postgres_template


def test_each_test_has_an_empty_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_postgres_runs_from_a_copy_where_root_has_the_wheel_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "open_to_all", lambda path: False)
    with PostgresServer() as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert Path(psutil.Process(server.pid).exe()).is_relative_to(server.folder) == (os.geteuid() == 0)


def test_a_folder_lies_where_the_user_of_the_server_can_reach_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert base.base_folder(None) == tmp_path
    assert base.base_folder((65534, 65534)) in (Path("/tmp"), Path("/var/tmp"))


def test_stop_leaves_no_process_and_no_folder(start: Callable[[], Server]) -> None:
    before = set(psutil.Process().children(recursive=True))
    server = start()
    processes = set(psutil.Process().children(recursive=True)) - before
    assert server.pid in {process.pid for process in processes}
    server.stop()
    server.stop()
    assert not server.folder.exists()
    assert not any(process.is_running() for process in processes)


def test_a_server_that_is_killed_from_outside_is_seen_as_gone(start: Callable[[], Server]) -> None:
    with start() as server:
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server.running, "the server is gone")


def test_a_postgres_that_was_killed_leaves_no_shared_memory(postgres_of_its_own: PostgresServer) -> None:
    segments = Path("/proc/sysvipc/shm")
    creator = f" {postgres_of_its_own.pid} "
    assert creator in segments.read_text()
    os.kill(postgres_of_its_own.pid, signal.SIGKILL)
    wait_until(lambda: not postgres_of_its_own.running, "the server is gone")
    postgres_of_its_own.stop()
    assert creator not in segments.read_text()


def test_a_frozen_server_is_stopped_all_the_same(redis_of_its_own: RedisServer) -> None:
    os.kill(redis_of_its_own.pid, signal.SIGSTOP)
    redis_of_its_own.stop()
    assert not redis_of_its_own.running


def test_a_taken_port_is_given_up_for_another(monkeypatch: pytest.MonkeyPatch, start: Callable[[], Server]) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken, free = stranger.getsockname()[1], base.free_port()
        ports = iter([taken, free])
        monkeypatch.setattr(base, "free_port", lambda: next(ports))
        with start() as server:
            assert server.port == free


def test_a_server_that_does_not_start_says_what_it_printed() -> None:
    with pytest.raises(ServerError, match="no-such-setting"):
        RedisServer(config={"no-such-setting": "1"})


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TASKQ_TEST_REDIS_SERVER", str(tmp_path / "no-redis"))
    with pytest.raises(OSError, match="no-redis"):
        RedisServer()


WAITS = """
import signal, socket, sys
from tests import servers

# A run in the background of a shell inherits an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Not signal.pause(), which would sleep through a signal that comes just before it.
woken, wakes = socket.socketpair()
wakes.setblocking(False)
signal.set_wakeup_fd(wakes.fileno())
server = getattr(servers, sys.argv[1])()
print(server.pid, server.folder, flush=True)
woken.recv(1)
"""


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["RedisServer", "PostgresServer"])
def test_servers_end_with_the_process_that_started_them(kind: str, with_signal: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        parent.send_signal(with_signal)
        wait_until(lambda: not Path(folder).exists(), "the folder is gone")
        assert not psutil.pid_exists(int(pid))


FORKS = """
import os, signal, sys
from tests.servers import RedisServer

server = RedisServer()
if os.fork() == 0:
    sys.exit()
os.wait()
child = os.fork()
if child == 0:
    signal.pause()
print(server.running, server.folder, child, flush=True)
signal.pause()
"""


def test_a_forked_child_neither_ends_the_server_of_its_parent_nor_keeps_it() -> None:
    with subprocess.Popen([sys.executable, "-c", FORKS], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        running, folder, child = parent.stdout.readline().split()
        assert running == "True"
        parent.kill()
        wait_until(lambda: not Path(folder).exists(), "the folder is gone")
        os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_command_is_run_with_the_url_of_a_server(kind: str) -> None:
    check = f"import os, sys; assert sys.argv[1] == os.environ['URL']; sys.exit(sys.argv[1].startswith('{kind}') * 7)"
    assert main([kind, "URL={url}", "--", sys.executable, "-c", check, "{url}"]) == 7


def test_a_wrong_command_line_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mysql", "--", "true"]) == 2
    assert "usage:" in capsys.readouterr().err
