"""What runs in a child process: one task at a time; bytes and text come in, bytes and text go out."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import queue
import signal
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from taskq import backends
from taskq.app import App
from taskq.assumed import assume
from taskq.context import TaskContext, current_context
from taskq.domain.message import Delivery
from taskq.domain.outcome import Failed, Outcome
from taskq.domain.record import Progress
from taskq.errors import ConfigError
from taskq.headers import decode_headers
from taskq.runtime.failures import describe, outcome_of, result_of, undecodable
from taskq.runtime.opening import UNREADABLE, lacking, open_call
from taskq.runtime.soft_child import Interrupted
from taskq.runtime.soft_loop import SoftTimed
from taskq.runtime.wire import Assignment, Begun, Ended, Forwarder, Kept, Link, Progressed, Setup
from taskq.task import Task
from taskq.transaction import IN_A_CHILD

IGNORED = (signal.SIGINT, signal.SIGTERM)
"""An init system may send these to every process of a service; the worker waits for what runs in its children."""


def main(descriptor: int) -> None:
    """Run tasks until the worker is gone.

    Arguments:
        descriptor: of the socket to the worker, which has blocked the signals in IGNORED for the time until now.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    link = Link(socket.socket(fileno=descriptor))
    inbox: queue.SimpleQueue[Setup | Assignment] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(link, inbox), name="taskq-worker", daemon=True).start()
    setup = inbox.get()
    assert isinstance(setup, Setup)
    _prepare(setup, link)
    while True:
        assignment = inbox.get()
        assert isinstance(assignment, Assignment)
        link.send(Ended.of(run(assignment, link, setup.url)))


def _listen(link: Link, inbox: queue.SimpleQueue[Setup | Assignment]) -> None:
    """Pass on what the worker says.

    A worker that was killed tells nobody: its task runs again elsewhere, and must not go on here meanwhile, nor
    whatever it has started.
    """
    for word in link.words():
        inbox.put(word)
    os.killpg(0, signal.SIGKILL)


def _prepare(setup: Setup, link: Link) -> None:
    """Log to the worker, and import what its tasks need; what cannot be imported fails the task that needs it."""
    backends.is_child = True
    assume(setup.assumed)
    logging.root.handlers[:] = [Forwarder(link)]
    logging.root.setLevel(setup.log_levels[0])
    logging.getLogger("taskq").setLevel(setup.log_levels[1])
    for module in setup.preload:
        with contextlib.suppress(BaseException):
            importlib.import_module(module)


def run(assignment: Assignment, link: Link, url: str) -> Outcome:
    """Run one task, whatever it raises.

    Arguments:
        assignment: the task.
        link: told of its beginning and its progress.
        url: the store that it enqueues into.
    """
    delivery = assignment.delivery
    run_here = _ChildRun(delivery, link)
    try:
        task = _find(assignment.module, assignment.qualified_name, delivery.name)
    except ConfigError as error:
        return undecodable(error)
    except BaseException as error:  # noqa: BLE001 - its module cannot be imported, now
        return Failed(describe(error))
    task.submitter.redirect(url)
    headers = decode_headers(assignment.headers)
    if (unknown := lacking(task, headers, assignment.payload)) is not None:
        return unknown
    try:
        args, kwargs = open_call(task, delivery.id, headers, assignment.payload)
    except UNREADABLE as error:
        return undecodable(error)
    except BaseException as error:  # noqa: BLE001 - an argument's own code may raise anything
        return outcome_of(task, error)
    run_here.begin()
    deadline = None if assignment.timeout is None else datetime.now(UTC) + timedelta(seconds=assignment.timeout)
    context = TaskContext(
        delivery, run_here, deadline=deadline, metadata=headers.metadata, origin=task.submitter, work=IN_A_CHILD,
        flow=headers.flow, node=headers.node, trace=headers.trace, correlation_id=headers.correlation,
    )  # fmt: skip
    context.parent_results = msgspec.json.decode(assignment.parent_results)
    context.last_checkpoint = msgspec.json.decode(assignment.last_checkpoint)
    token = current_context.set(context)
    try:
        args, kwargs = task.codec.inject(args, kwargs, context)
        return result_of(task, _call(task, args, kwargs, assignment.soft_timeout))
    except BaseException as error:  # noqa: BLE001 - SystemExit too is the task's own affair
        return outcome_of(task, error)
    finally:
        current_context.reset(token)


def _call(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], soft_timeout: float | None) -> Any:
    """What the function gives, however long it waits for it; SoftTimeout is raised in it when its time is over."""
    if not task.is_async:
        with Interrupted(soft_timeout):
            return task.function(*args, **kwargs)
    coroutine = task.function(*args, **kwargs)
    return asyncio.run(coroutine if soft_timeout is None else _await(SoftTimed(coroutine, soft_timeout)))


async def _await(timed: SoftTimed[Any]) -> Any:
    return await timed


class _ChildRun:
    """Reports to the worker; a child whose run should end is killed, so nothing tells it."""

    def __init__(self, delivery: Delivery, link: Link) -> None:
        self._key = (delivery.id, delivery.fence)
        self._link = link

    def is_cancelled(self) -> bool:
        return False

    def begin(self) -> None:
        """Tell the worker that the task begins: its timeout counts from now."""
        self._link.send(Begun(*self._key))

    def report(self, progress: Progress) -> None:
        self._link.offer(Progressed(*self._key, progress))

    def keep(self, checkpoint: bytes) -> None:
        self._link.send(Kept(*self._key, checkpoint))


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
