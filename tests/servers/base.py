"""What all private servers have in common: a guard, a free port, a start that is waited for."""

from __future__ import annotations

import abc
import importlib.util
import os
import pwd
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self

from tests.servers.guard import Guard

START_TIMEOUT = 30.0
FIRST_PORT = 10_240
PORT_TRIES = 20


class ServerError(RuntimeError):
    """A server did not start; the message ends with what it printed."""


def wait_until(condition: Callable[[], bool], what: str, timeout: float = START_TIMEOUT) -> None:
    """Return as soon as `condition` holds.

    Args:
        condition: asked again and again, at first each millisecond, later each twentieth of a second.
        what: names the condition in the error.
        timeout: seconds to go on asking.

    Raises:
        TimeoutError: the condition did not hold in time.
    """
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def free_port() -> int:
    """Return a loopback port that nobody uses now.

    It lies below the range from which the system takes the local ports of outgoing connections: none of those can take
    the port while its server is being restarted, and no client that knocks at it meanwhile is connected to itself.
    """
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first_ephemeral = int(limits.read_text().split()[0]) if limits.exists() else 32_768
    while True:
        port = FIRST_PORT + secrets.randbelow(max(first_ephemeral - FIRST_PORT, 10_000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wheel(package: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerError(f"{package} is not installed; it is in the dependency group `test`")
    return Path(spec.origin).parent


def unprivileged() -> tuple[int, int] | None:
    """Return the user and group id for a server that refuses to run as root, None where we are not root."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def open_to_all(path: Path) -> bool:
    """Say whether every user can read and run `path`."""
    return path.stat().st_mode & 0o005 == 0o005 and all(parent.stat().st_mode & 0o001 for parent in path.parents)


def base_folder(owner: tuple[int, int] | None) -> Path:
    """Return where the folder of a server can be made, so that a server of another `owner` than us can reach it."""
    usual = Path(tempfile.gettempdir()).resolve()
    if owner is None or open_to_all(usual):
        return usual
    return next((base for base in (Path("/tmp"), Path("/var/tmp")) if open_to_all(base)), usual)


class Server(abc.ABC):
    """One private server: `pid`, `port`, `url`, `folder`; `kill`, `restart`, `stop`; also a context manager.

    Args:
        config: settings of the server in its own words, over the defaults here.
        env: environment variables of the server, over those of this process.

    Raises:
        ServerError: it did not start.
    """

    graceful: ClassVar[signal.Signals] = signal.SIGTERM
    farewell: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, *, config: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None) -> None:
        self._config = dict(config or {})
        self._env = {**os.environ, **(env or {})}
        self._user = self._owner()
        self._guard = Guard(base_folder(self._user))
        self.folder = self._guard.folder
        self.log = self.folder / "server.log"
        self.pid = 0
        try:
            if self._user is not None:
                os.chown(self.folder, *self._user)
            self._prepare()
            self._start_on_a_free_port()
        except BaseException:
            self._guard.close()
            raise

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        if self.pid == 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """Kill the server and all its processes with SIGKILL; its data stay."""
        self._guard.end(signal.SIGKILL, patience=0)

    def restart(self) -> None:
        """Start the server again in its folder and on its port, ending it gently first where it runs."""
        self._guard.end(self.graceful)
        self._start()

    def stop(self) -> None:
        """End the server and remove its folder; safe to say twice."""
        self._guard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abc.abstractmethod
    def _command(self) -> list[str]: ...

    @abc.abstractmethod
    def _ready(self) -> bool: ...

    def _owner(self) -> tuple[int, int] | None:
        return None

    def _prepare(self) -> None:
        return

    def _start_on_a_free_port(self) -> None:
        for _ in range(PORT_TRIES):
            self.port = free_port()
            try:
                return self._start()
            except ServerError as error:
                # Between the choice of a port and its use somebody else may take it.
                if "already in use" not in str(error):
                    raise
        raise ServerError(f"no free port in {PORT_TRIES} tries")

    def _start(self) -> None:
        self._run(self._command())
        try:
            wait_until(lambda: self._ready() or not self.running, f"{type(self).__name__} serves")
        except TimeoutError as error:
            raise ServerError(f"{error}\n{self._last_words()}") from error
        if not self.running:
            raise ServerError(f"{type(self).__name__} ended at its start\n{self._last_words()}")

    def _run(self, command: list[str]) -> None:
        self.pid = self._guard.start(command, log=self.log, env=self._env, owner=self._user, farewell=self.farewell)

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]
