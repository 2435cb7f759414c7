"""Showing how something goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import click
from rich.live import Live
from rich.text import Text

from taskq.app import App
from taskq.cli.commands import run, within

T = TypeVar("T")
INTERRUPTED = 130
"""The exit status of what SIGINT has ended, as a shell tells it: 128 and its number."""


def follow(
    app: App,
    changes: AsyncGenerator[T],
    as_json: bool,
    *,
    plain: Callable[[T], dict[str, Any]],
    line: Callable[[T], str],
    text: Callable[[T], str],
) -> None:
    """Show something at each of its changes: in place on a terminal, else a line each, unless it is as the last one.

    Arguments:
        app: in whose store it is.
        changes: what is to be shown, each time as it is then.
        as_json: whether a line is JSON, also on a terminal.
        plain: all of it as JSON data.
        line: what changes most, in one line.
        text: all of it for people.

    Raises:
        SystemExit: Ctrl-C was pressed, which is how one leaves it.
    """

    def said(seen: T) -> str:
        return json.dumps(plain(seen)) if as_json else line(seen)

    is_terminal = sys.stdout.isatty() and not as_json
    try:
        run(within(app, lambda: _in_place(changes, text) if is_terminal else _in_lines(changes, said)))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


async def _in_place(changes: AsyncGenerator[T], text: Callable[[T], str]) -> None:
    async with aclosing(changes):  # or the end of the loop would close it and what it goes through at the same time
        with Live(auto_refresh=False) as live:
            async for seen in changes:
                live.update(Text(text(seen)), refresh=True)


async def _in_lines(changes: AsyncGenerator[T], said: Callable[[T], str]) -> None:
    last = ""
    async with aclosing(changes):
        async for seen in changes:
            if (words := said(seen)) != last:
                click.echo(words)
                last = words
