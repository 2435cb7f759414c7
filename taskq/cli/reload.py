"""Runs a command anew whenever a Python file below this folder changes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Sequence

from watchfiles import PythonFilter, watch

from taskq.variables import LIFELINE

logger = logging.getLogger("taskq.reload")
STOP_TIMEOUT = 30.0


def run_and_reload(command: Sequence[str], folder: str = ".") -> int:
    """Run `command`, stop it gracefully and start it again at each change; ends with Ctrl-C or SIGTERM.

    Returns:
        The exit status of the last run; 0 where it was stopped before it could listen.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` and `&` leave it
            signal.signal(number, lambda *_: stop.set())
    lifeline, held = os.pipe()  # `held` closes when this process ends, however it ends
    process = _start(command, lifeline)
    try:
        for changes in watch(folder, watch_filter=PythonFilter(), stop_event=stop, raise_interrupt=False):
            names = ", ".join(sorted({path.rpartition("/")[2] for _, path in changes})[:3])
            logger.warning("%s changed: starting anew", names)
            _end(process)
            if stop.is_set():
                break
            process = _start(command, lifeline)
    finally:
        status = _end(process)
        for end in (lifeline, held):
            os.close(end)
    return 0 if status == -signal.SIGTERM else status


def _start(command: Sequence[str], lifeline: int) -> subprocess.Popen[bytes]:
    # It stays in the foreground of the terminal, or it could not read what is typed; so Ctrl-C reaches it too. That
    # waits until it listens (see taskq.runtime.signals): a program that still imports would end in a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(command, env={**os.environ, LIFELINE: str(lifeline)}, pass_fds=(lifeline,))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
