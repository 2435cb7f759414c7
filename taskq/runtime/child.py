"""What runs in a child process: one task at a time; bytes and text come in, bytes and text go out."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from taskq import backends
from taskq.app import App
from taskq.context import TaskContext, current_context
from taskq.domain.message import Delivery
from taskq.domain.outcome import Failed, Outcome
from taskq.domain.record import Progress
from taskq.errors import ConfigError, InvalidPayload
from taskq.headers import decode_headers
from taskq.runtime.failures import describe, outcome_of, result_of, undecodable
from taskq.runtime.reports import PATIENCE, Begun, Forwarder, Progressed, send
from taskq.task import Task

_outbox: socket.socket
_url: str


class Assignment(NamedTuple):
    """All that a child needs to run a task."""

    module: str
    qualified_name: str
    delivery: tuple[Any, ...]
    payload: bytes
    headers: bytes
    timeout: float | None
    """Seconds that the task may take, from its beginning in the child."""


class Setup(NamedTuple):
    """What a child is started with."""

    outbox: socket.socket
    preload: Sequence[str]
    log_levels: tuple[int, int]
    """Of all records, and of taskq's."""
    url: str
    """The store of the worker, which need not be the one that the application names in its module."""


def start(setup: Setup) -> None:
    """Prepare a fresh child: signals to the process group are its worker's affair, and so is a store in memory.

    It never raises: a pool whose children fail to start is broken for good. What cannot be imported fails the task
    that needs it.
    """
    global _outbox, _url
    _outbox, _url = setup.outbox, setup.url
    backends.is_child = True
    # An init system may send SIGTERM to every process of a service; the worker waits for what runs here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Whatever the task starts is in its group, and ends with it when the task has to.
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    logging.root.handlers[:] = [Forwarder(_outbox)]
    logging.root.setLevel(setup.log_levels[0])
    logging.getLogger("taskq").setLevel(setup.log_levels[1])
    threading.Thread(target=_end_with_worker, name="taskq-lifeline", daemon=True).start()
    for module in setup.preload:
        with contextlib.suppress(BaseException):
            importlib.import_module(module)


def _end_with_worker() -> None:
    """A worker that was killed tells nobody: its task runs again elsewhere, and must not go on here meanwhile."""
    worker = multiprocessing.parent_process()
    if worker is not None:
        worker.join()
        os._exit(1)


def run(assignment: Assignment) -> Outcome:
    """Run one task, whatever it raises."""
    delivery = Delivery(*assignment.delivery)
    run_here = _ChildRun(delivery)
    try:
        task = _find(assignment.module, assignment.qualified_name, delivery.name)
    except ConfigError as error:
        return undecodable(error)
    except BaseException as error:  # noqa: BLE001 - its module cannot be imported, now
        return Failed(describe(error))
    task.submitter.redirect(_url)
    try:
        args, kwargs = task.codec.decode(assignment.payload)
    except (ConfigError, InvalidPayload) as error:
        return undecodable(error)
    run_here.begin()
    deadline = None if assignment.timeout is None else datetime.now(UTC) + timedelta(seconds=assignment.timeout)
    metadata = decode_headers(assignment.headers).metadata
    context = TaskContext(delivery, run_here, deadline=deadline, metadata=metadata, origin=task.submitter)
    token = current_context.set(context)
    try:
        args, kwargs = task.codec.inject(args, kwargs, context)
        value = task.function(*args, **kwargs)
        if task.is_async:
            value = asyncio.run(value)
        return result_of(task, value)
    except BaseException as error:  # noqa: BLE001 - SystemExit too is the task's own affair
        return outcome_of(task, error)
    finally:
        current_context.reset(token)


class _ChildRun:
    """Reports over the pipe; a child that should end is killed, so nothing tells it."""

    def __init__(self, delivery: Delivery) -> None:
        self._key = (delivery.id, delivery.fence)

    def is_cancelled(self) -> bool:
        return False

    def begin(self) -> None:
        """Tell the worker that the task begins: its timeout counts from now."""
        send(_outbox, Begun(*self._key, os.getpid()), PATIENCE)

    def report(self, progress: Progress) -> None:
        send(_outbox, Progressed(*self._key, progress))


def _find(module: str, qualified_name: str, name: str) -> Task[..., Any]:
    """The task, by importing the module that defines it."""
    found: Any = importlib.import_module(module)
    namespace = vars(found)
    for part in qualified_name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Task) and found.name == name:
        return found
    for value in namespace.values():
        if isinstance(value, Task) and value.name == name:
            return value
        if isinstance(value, App) and (task := value.tasks.find(name)) is not None:
            return task
    raise ConfigError(f'a child process finds no task {name!r} in module {module}: executor="process" needs it there')
