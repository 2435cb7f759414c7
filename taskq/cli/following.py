"""Showing how something goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import click
from rich.live import Live
from rich.text import Text

T = TypeVar("T")


async def follow(
    changes: AsyncIterator[T],
    as_json: bool,
    *,
    plain: Callable[[T], dict[str, Any]],
    line: Callable[[T], str],
    text: Callable[[T], str],
) -> None:
    """Show something at each of its changes: in place on a terminal, else a line each, unless it is as the last one.

    Arguments:
        changes: what is to be shown, each time as it is then.
        as_json: whether a line is JSON, also on a terminal.
        plain: all of it as JSON data.
        line: what changes most, in one line.
        text: all of it for people.
    """
    is_terminal = sys.stdout.isatty() and not as_json
    last = ""
    with Live(auto_refresh=False) if is_terminal else nullcontext() as live:
        async for seen in changes:
            if live is not None:
                live.update(Text(text(seen)), refresh=True)
                continue
            said = json.dumps(plain(seen)) if as_json else line(seen)
            if said != last:
                click.echo(said)
                last = said
