"""A terminal with a command in its foreground, as a person has one."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.cli.support import TIMEOUT, command, environment

CTRL_C, CTRL_D = "\x03", "\x04"
# Only the process itself can make the terminal its own.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """Runs a command of taskq on a pseudo-terminal; what is typed goes through its line discipline.

    Arguments:
        folder: where the command runs.
        arguments: of taskq.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command(*arguments)],
            cwd=folder,
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def until_it_says(self, pattern: str, times: int = 1) -> None:
        """Wait until the screen has shown something."""
        end = time.monotonic() + TIMEOUT
        while len(re.findall(pattern, self.text)) < times:
            assert self._read(end), f"{pattern!r} has not been shown: {self.text}"

    def until_it_ends(self) -> int:
        """Wait until the command has ended; returns its exit status."""
        while self._read(time.monotonic() + TIMEOUT):
            pass
        return self.process.wait(TIMEOUT)

    def _read(self, end: float) -> bool:
        """Read what comes next; False at the end, or when it is time."""
        readable, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
        if not readable:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the last process has closed it
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever is still on this terminal is told that it is gone.
        os.close(self._ours)
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
