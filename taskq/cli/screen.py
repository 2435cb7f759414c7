"""The whole of a terminal: painted anew whenever there is something new, and given back as it was."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import ExitStack, aclosing, contextmanager, suppress
from typing import Generic, TypeVar

from rich.live import Live

from taskq.cli.drawing import console, drawn
from taskq.cli.table import View

T = TypeVar("T")
QUIT = "q"
_MODES, _CHARACTERS = 3, 6
"""Where `termios.tcgetattr` has the local modes, and the characters that mean something."""


class Screen(Generic[T]):
    """Shows what comes, until the key q, or Ctrl-C.

    Arguments:
        picture: how something is shown.
        keys: what is done where a key is pressed; it is shown anew then.
    """

    def __init__(self, picture: Callable[[T], View], keys: Mapping[str, Callable[[], None]]) -> None:
        self._picture, self._keys = picture, keys
        self._seen: list[T] = []
        self._told = asyncio.Event()
        self._is_left = False

    async def show(self, changes: AsyncGenerator[T]) -> None:
        """Show each of the changes, until they end or somebody leaves.

        Raises:
            Whatever the changes raise.
        """
        screen = console()
        taking = asyncio.create_task(self._take(changes))
        with ExitStack() as terminal, given_back(terminal), _resizing(self._told.set):
            live = terminal.enter_context(Live(console=screen, screen=True, auto_refresh=False))
            terminal.enter_context(_keys(self._press))
            try:
                while not (self._is_left or taking.done()):
                    await self._told.wait()
                    self._told.clear()
                    for seen in self._seen:
                        live.update(drawn(self._picture(seen), *screen.size), refresh=True)
            finally:
                await _ended(taking)
        if not taking.cancelled():
            taking.result()

    async def _take(self, changes: AsyncGenerator[T]) -> None:
        try:
            async with aclosing(changes):
                async for seen in changes:
                    self._seen = [seen]
                    self._told.set()
        finally:
            self._told.set()

    def _press(self, key: str) -> None:
        if key == QUIT:
            self._is_left = True
        elif key in self._keys:
            self._keys[key]()
        self._told.set()


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task, again where it has taken that for the cancellation of something else."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)


@contextmanager
def given_back(terminal: ExitStack) -> Iterator[None]:
    """Give a terminal back before SIGTERM ends the process.

    Arguments:
        terminal: what is closed then.
    """
    loop = asyncio.get_running_loop()

    def end() -> None:
        terminal.close()
        loop.remove_signal_handler(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@contextmanager
def _resizing(told: Callable[[], None]) -> Iterator[None]:
    """Have it told when the terminal changes its size."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, told)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


@contextmanager
def _keys(press: Callable[[str], None]) -> Iterator[None]:
    """Have each key told as it is pressed, and shown nowhere; nothing where nobody types."""
    if not sys.stdin.isatty():
        yield
        return
    typed, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(typed)
    modes = termios.tcgetattr(typed)
    modes[_MODES] &= ~(termios.ECHO | termios.ICANON)
    # Whoever suspends it would have a terminal in this state.
    modes[_CHARACTERS][termios.VSUSP] = os.fpathconf(typed, "PC_VDISABLE").to_bytes(1, "big")

    def read() -> None:
        keys = b""
        with suppress(OSError):  # the terminal is gone
            keys = os.read(typed, 1024)
        for key in keys.decode("utf-8", "replace"):
            press(key)
        if not keys:
            loop.remove_reader(typed)

    termios.tcsetattr(typed, termios.TCSADRAIN, modes)
    loop.add_reader(typed, read)
    try:
        yield
    finally:
        loop.remove_reader(typed)
        termios.tcsetattr(typed, termios.TCSADRAIN, before)
