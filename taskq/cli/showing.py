"""Printing what is shown: drawn on a terminal, plain for pipes and files."""

from __future__ import annotations

import os
import sys

import click

from taskq.cli.table import View, plain_lines

_DUMB = {"dumb", "unknown"}


def is_terminal() -> bool:
    """Whether standard output is a terminal that can be painted on."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in _DUMB


def show(view: View) -> None:
    """Print something for people: drawn on a terminal, else plain."""
    if is_terminal():
        from taskq.cli.drawing import draw  # rich takes its time, and pipes do not need it

        draw(view)
        return
    for line in plain_lines(view):
        click.echo(line)
