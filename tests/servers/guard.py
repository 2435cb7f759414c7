"""A helper process that owns one test server and its folder and ends both when the test run ends, however it ends."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PARENT_CHECK = 0.5
REAP_CHECK = 0.02
PATIENCE = 5.0


class Guard:
    """The caller's side: starts the helper process and speaks with it, one JSON line each way.

    A process of its own, because it outlives a `kill -9` of the test run, collects what a killed server leaves behind,
    and does not care which thread started the server.

    Args:
        base: the folder in which the server's own folder is made.
    """

    def __init__(self, base: Path) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(base)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._owner = os.getpid()
        self.folder = Path(self._receive()["folder"])
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """The process id of the helper itself."""
        return self._process.pid

    def start(
        self,
        command: list[str],
        *,
        log: Path,
        env: dict[str, str],
        owner: tuple[int, int] | None,
        farewell: signal.Signals,
    ) -> int:
        """Run the server and return its process id.

        Args:
            command: program and arguments.
            log: the file that takes what the server prints, emptied first.
            env: the whole environment of the server.
            owner: user and group id to run as, or None to stay who we are.
            farewell: the signal that ends the server when the test run is gone.
        """
        request = {"command": command, "log": str(log), "env": env, "owner": owner, "farewell": farewell}
        answer = self._ask({"start": request})
        if "error" in answer:
            raise OSError(f"cannot run {command[0]}: {answer['error']}")
        return int(answer["pid"])

    def end(self, with_signal: signal.Signals, patience: float = PATIENCE) -> None:
        """Signal the server and return when it and all its descendants are gone, killed after `patience` seconds."""
        self._ask({"end": {"number": with_signal, "patience": patience}})

    def close(self) -> None:
        """End the server and the helper and remove the folder; safe to say twice."""
        # A forked child inherits this object and its exit hook, and must not end its parent's server.
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        stdin, stdout = self._pipes()
        stdin.close()
        self._process.wait(timeout=4 * PATIENCE)
        stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, _ = self._pipes()
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        _, stdout = self._pipes()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"the guard process {self._process.pid} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


class _Keeper:
    """The helper's side: parent of the server, and of every descendant that the server loses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parent = os.getppid()
        self._server: int | None = None
        self._farewell = signal.SIGKILL
        self._libc = ctypes.CDLL(None)
        self._wakeup, writer = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        # A handler, not SIG_IGN: an ignored signal would stay ignored in the server, a handler does not.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        if sys.platform == "linux":
            self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(self) -> None:
        """Serve requests until the caller closes its end or is gone."""
        try:
            self._answer({"folder": str(self._folder)})
            while (line := self._next_request()) is not None:
                self._answer(self._handle(json.loads(line)))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._end(self._farewell, PATIENCE)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _next_request(self) -> bytes | None:
        # The end of the pipe is not enough: a forked child of the caller may hold it open.
        while os.getppid() == self._parent:
            ready, _, _ = select.select([0, self._wakeup], [], [], PARENT_CHECK)
            if self._wakeup in ready:
                self._reap()
            if 0 in ready:
                return sys.stdin.buffer.readline() or None
        return None

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        if "start" in request:
            return self._start(**request["start"])
        self._end(**request["end"])
        return {}

    def _start(
        self, command: list[str], log: str, env: dict[str, str], owner: list[int] | None, farewell: int
    ) -> dict[str, Any]:
        user, group = owner or (None, None)
        groups: list[int] | None = [] if owner else None
        self._farewell = signal.Signals(farewell)
        try:
            with open(log, "wb") as output:
                self._server = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=env,
                    cwd=self._folder,
                    user=user,
                    group=group,
                    extra_groups=groups,
                    start_new_session=True,
                    preexec_fn=self._die_with_me,
                ).pid
        except (OSError, subprocess.SubprocessError) as error:
            return {"error": str(error)}
        return {"pid": self._server}

    def _die_with_me(self) -> None:
        # The kernel clears this at a change of user, which subprocess has behind it by now.
        if sys.platform == "linux":
            self._libc.prctl(PR_SET_PDEATHSIG, int(self._farewell))

    def _end(self, number: int, patience: float) -> None:
        if self._server is not None:
            os.kill(self._server, number)
        deadline = time.monotonic() + patience
        while self._reap():
            if time.monotonic() >= deadline:
                self._kill_children()
            select.select([self._wakeup], [], [], REAP_CHECK)

    def _reap(self) -> bool:
        """Collect the children that have ended; say whether any is left."""
        try:
            os.read(self._wakeup, 4096)
        except BlockingIOError:
            pass
        try:
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                if pid == self._server:
                    self._server = None
        except ChildProcessError:
            return False
        return True

    def _kill_children(self) -> None:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        pids = [int(pid) for pid in children.read_text().split()] if children.exists() else [self._server]
        for pid in pids:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

    def _answer(self, answer: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _Keeper(Path(tempfile.mkdtemp(prefix="taskq-test-", dir=sys.argv[1]))).run()
