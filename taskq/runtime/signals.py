"""What a worker process does with signals, and when its supervisor dies."""

from __future__ import annotations

import asyncio
import os
import signal

from taskq.runtime.supervisor import LIFELINE
from taskq.runtime.worker import Worker


def install(worker: Worker) -> None:
    """SIGTERM and SIGINT stop the worker gracefully, a second one at once; so does the end of its supervisor."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    lifeline = os.environ.get(LIFELINE)
    if lifeline is not None:
        watch = int(lifeline)
        os.set_blocking(watch, False)
        loop.add_reader(watch, _orphaned, loop, watch, worker)


def _orphaned(loop: asyncio.AbstractEventLoop, watch: int, worker: Worker) -> None:
    """The pipe came to its end: the supervisor is gone."""
    loop.remove_reader(watch)
    worker.stop()
