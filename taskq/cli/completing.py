"""What a shell offers while a command is typed: names that the application or its store knows, if they are quick."""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

import click

from taskq.app import App
from taskq.cli.commands import app_or_store, opened_app
from taskq.domain.message import Priority
from taskq.domain.query import ENDED, LIVE
from taskq.domain.record import DeadReason
from taskq.domain.state import TaskState

LOOK = 1.0
"""Seconds that the store has for its answer."""
PATIENCE = 3.0
"""Seconds after which nothing is offered, whatever it is that takes so long."""
MOST = 1000
"""Names that are offered."""
_OFFERED = re.compile(r"[\w.@+-]{1,200}")
"""Names that mean nothing to a shell, or to a terminal."""

Offer = Callable[[click.Context, click.Parameter, str], list[str]]
"""What click asks for words that begin with what is typed."""
Known = Callable[[App], Iterable[str]]
Stored = Callable[[App], Awaitable[Iterable[str]]]


# ------------------------------------------------------------ the process


@contextmanager
def quietly() -> Iterator[None]:
    """Let nothing of a completion be seen but what it offers, and let it end in time.

    A shell waits for it, with somebody before it who has not asked for messages.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    watchdog = threading.Timer(PATIENCE, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()
    with suppress(Exception):
        yield


# ------------------------------------------------------------ names


def _offer(known: Known, stored: Stored) -> Offer:
    """Offer names that an application knows, and those that its store holds."""

    def offer(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        return _beginning(_names(ctx, known, stored), incomplete)

    return offer


def _beginning(names: Iterable[str], start: str) -> list[str]:
    return sorted({name for name in names if name.startswith(start) and _OFFERED.fullmatch(name)})[:MOST]


def _names(ctx: click.Context, known: Known, stored: Stored) -> list[str]:
    """All that are found before something fails; what the user's own code prints is no name."""
    found: list[str] = []
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), suppress(Exception):
        app = app_or_store(ctx.params.get("app_path"), ctx.params.get("url"))
        app.stores.hurry()
        found += known(app)
        found += asyncio.run(asyncio.wait_for(_within(app, stored), LOOK))
    return found


async def _within(app: App, stored: Stored) -> list[str]:
    async with opened_app(app):
        return list(await stored(app))


async def _queues(app: App) -> Iterable[str]:
    return await (await app.backend()).inspector.counts()


async def _workers(app: App) -> Iterable[str]:
    return [name for one in await (await app.backend()).registry.workers() for name in (one.name, one.id)]


async def _schedules(app: App) -> Iterable[str]:
    return [schedule.name for schedule in await app.schedules.alist()]


async def _tasks(app: App) -> Iterable[str]:
    return [name for one in await (await app.backend()).registry.workers() for name in one.tasks]


def _nothing(_app: App) -> Iterable[str]:
    return ()


queue_names = _offer(lambda app: {task.queue for task in app.tasks}, _queues)
worker_names = _offer(_nothing, _workers)
schedule_names = _offer(_nothing, _schedules)
task_names = _offer(lambda app: {task.name for task in app.tasks}, _tasks)


# ------------------------------------------------------------ queries


def _of_words(words: Iterable[str]) -> Offer:
    known = list(words)
    return lambda _ctx, _param, incomplete: _beginning(known, incomplete)


dead_reasons = _of_words(map(str, DeadReason))
_VALUES: dict[str, Offer] = {
    "state": _of_words([*map(str, TaskState), ENDED, LIVE]),
    "priority": _of_words(priority.name.lower() for priority in Priority),
    "queue": queue_names,
    "task": task_names,
    "worker": worker_names,
}
"""By a field of queries: what it can be."""


def query_terms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer values for the term of a query that is typed; of several with commas for the last."""
    field, before, value = _term(tuple(ctx.params.get("words") or ()), incomplete)
    offer = _VALUES.get(field.removeprefix("-"))
    if offer is None:
        return []
    earlier, comma, last = value.rpartition(",")
    return [f"{before}{earlier}{comma}{name}" for name in offer(ctx, param, last)]


def _term(words: tuple[str, ...], incomplete: str) -> tuple[str, str, str]:
    """The field of what is typed, what of it must be said again, and its value; bash parts words at a colon.

    >>> _term((), "state:de"), _term(("state", ":"), "de"), _term(("state",), ":"), _term(("state",), "de")
    (('state', 'state:', 'de'), ('state', '', 'de'), ('state', '', ''), ('', '', 'de'))
    """
    if incomplete == ":" and words:
        return words[-1], "", ""
    if words[-1:] == (":",) and len(words) > 1:
        return words[-2], "", incomplete
    field, colon, value = incomplete.rpartition(":")
    return field, f"{field}{colon}", value


def to_queue_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--to QUEUE`, for what starts tasks anew."""
    about = "The queue that they go to, instead of their own."
    return click.option("--to", "to_queue", metavar="QUEUE", shell_complete=queue_names, help=about)(command)
