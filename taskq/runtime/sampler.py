"""Looks a hundred times a second where the threads of this process are, and what each has cost since."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import PurePath
from types import CodeType, FrameType

from taskq.domain.profile import Profile, Stacks

EVERY = 0.01
"""Seconds between two looks."""
_MOST_LABELS = 20_000
_LONGEST = 200
"""Characters of what is told of a frame."""
_NUMBER = re.compile(r"[-_]\d+$")
_MOST_FRAMES = 1000
"""Frames that are walked of a stack: of a deeper recursion the outermost are not seen."""


def sample(seconds: float, stop: threading.Event) -> Profile:
    """Look at all threads but the one that calls.

    Arguments:
        seconds: for how long.
        stop: ends it sooner.
    """
    stacks, labels, costs = Stacks(), Labels(), Costs()
    begin = time.monotonic()
    due, looks = begin, 0
    while time.monotonic() < begin + seconds and not stop.wait(max(0.0, due - time.monotonic())):
        _look(stacks, labels, costs)
        looks += 1
        # What was missed is missed: to catch up would be to look twice at the same.
        due = max(due + EVERY, time.monotonic())
    return Profile(time.monotonic() - begin, looks, stacks.all(), costs.are_known)


def _look(stacks: Stacks, labels: Labels, costs: Costs) -> None:
    """Look once. No frame is kept: it would keep what the code works with."""
    threads = {thread.ident: thread for thread in threading.enumerate()}
    own = threading.get_ident()
    for ident, frame in sys._current_frames().items():
        if ident == own:
            continue
        thread = threads.get(ident)
        name = "a thread of others" if thread is None else _NUMBER.sub("", printed(thread.name))
        cpu = 0.0 if thread is None or thread.native_id is None else costs.since(thread.native_id)
        stacks.add((name, *labels.of(frame)), cpu)


class Labels:
    """What is told of frames: function, file and line."""

    def __init__(self) -> None:
        self._known: dict[tuple[CodeType, int], str] = {}

    def of(self, frame: FrameType | None) -> tuple[str, ...]:
        """The frames of a stack, the outermost first."""
        return tuple(reversed([*self._walk(frame)]))

    def _walk(self, frame: FrameType | None) -> Iterator[str]:
        for _ in range(_MOST_FRAMES):
            if frame is None:
                return
            key = frame.f_code, frame.f_lineno or 0
            label = self._known.get(key)
            if label is None:
                if len(self._known) >= _MOST_LABELS:
                    self._known.clear()
                module = frame.f_globals.get("__name__")
                label = label_of(frame.f_code, key[1], module if isinstance(module, str) else "")
                self._known[key] = label
            yield label
            frame = frame.f_back


def label_of(code: CodeType, line: int, module: str) -> str:
    """What is told of a frame.

    >>> label_of(compile("1", "/home/ann/shop/pictures.py", "exec"), 1, "shop.pictures")
    '<module> (shop/pictures.py:1)'
    """
    return printed(f"{code.co_qualname} ({place_of(code.co_filename, module)}:{line})")


def place_of(file: str, module: str) -> str:
    """A file as its package names it: no folder above that, which may be somebody's home.

    >>> place_of("/home/ann/.venv/lib/python3.12/site-packages/shop/__init__.py", "shop")
    'shop/__init__.py'
    >>> place_of("/home/ann/run.py", "__main__")
    'run.py'
    """
    path = PurePath(file)
    names = module.split(".")
    inside = [*names, "__init__"] if path.stem == "__init__" else names
    is_whole = [*path.parent.parts, path.stem][-len(inside) :] == inside
    return "/".join(path.parts[-len(inside) :]) if is_whole else path.name


def printed(text: str) -> str:
    """A text that breaks no line of a profile apart.

    >>> printed("a;b\\n")
    'a:b?'
    """
    text = text[:_LONGEST].replace(";", ":")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class Costs:
    """What threads have cost: seconds of a processor, since each was asked about before."""

    def __init__(self) -> None:
        self._before: dict[int, float] = {}
        self.are_known = sys.platform == "linux" and _seconds_of(threading.get_native_id()) is not None
        """Whether the host tells."""

    def since(self, native_id: int) -> float:
        """Seconds that a thread has cost; 0 of one that is new, or gone."""
        now = _seconds_of(native_id) if self.are_known else None
        if now is None:
            return 0.0
        before = self._before.get(native_id, now)
        self._before[native_id] = now
        return max(0.0, now - before)


def _seconds_of(native_id: int) -> float | None:
    """What a thread has cost; None of one that is gone, or where the host does not tell.

    The clock of a thread by its number, as Linux makes it (MAKE_THREAD_CPUCLOCK in its posix-timers.h): of one that
    is gone it only fails, where `time.pthread_getcpuclockid` would read memory that is not there any more.
    """
    try:
        return time.clock_gettime((~native_id << 3) | 6)
    except OSError:
        return None
