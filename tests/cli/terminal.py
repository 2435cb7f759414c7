"""A terminal with a command in its foreground, as a person has one."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.cli.support import TIMEOUT, command, environment

CTRL_C, CTRL_D = "\x03", "\x04"
ENTERED, LEFT, HOME = "\x1b[?1049h", "\x1b[?1049l", "\x1b[H"
HIDDEN, SEEN = "\x1b[?25l", "\x1b[?25h"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Only the process itself can make the terminal its own.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """Runs a command of taskq on a pseudo-terminal; what is typed goes through its line discipline.

    Arguments:
        folder: where the command runs.
        arguments: of taskq.
        size: lines and columns.
        env: what is set in the environment besides.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        size: tuple[int, int] = (24, 80),
        env: dict[str, str] | None = None,
    ) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(self._ours, size)
        self._modes = termios.tcgetattr(theirs)
        bare = {key: value for key, value in environment().items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command(*arguments)],
            cwd=folder,
            env={**bare, "TERM": "xterm-256color", **(env or {})},
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

    def resize(self, lines: int, columns: int) -> None:
        """Change its size; the command is told."""
        termios.tcsetwinsize(self._ours, (lines, columns))

    @property
    def screen(self) -> str:
        """What was painted last, where the whole of it is painted each time, without its colours."""
        *_, last = self.text.split(HOME)
        return _COLOUR.sub("", last.partition(LEFT)[0]).replace("\r", "")

    @property
    def is_clean(self) -> bool:
        """Whether it is as it was before the command: its modes, its cursor, what it showed."""
        is_back = self.text.count(ENTERED) == self.text.count(LEFT) and not self.text.rpartition(LEFT)[2].strip()
        is_seen = self.text.count(HIDDEN) <= self.text.count(SEEN)
        return is_back and is_seen and termios.tcgetattr(self._ours) == self._modes

    def until_it_says(self, pattern: str, times: int = 1) -> None:
        """Wait until the screen has shown something."""
        end = time.monotonic() + TIMEOUT
        while len(re.findall(pattern, self.text)) < times:
            assert self._read(end), f"{pattern!r} has not been shown: {self.text}"

    def until(self, holds: Callable[[str], bool]) -> None:
        """Wait until something holds for what is painted."""
        end = time.monotonic() + TIMEOUT
        while not holds(self.screen):
            assert self._read(end), f"it has not come: {self.screen}"

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
