"""Showing what was found: once, or again and again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Generic, NamedTuple, TypeVar

import click

from taskq.app import App
from taskq.cli.commands import run, within
from taskq.cli.showing import is_terminal, show
from taskq.cli.table import Line, Tone, View, plain_lines
from taskq.cli.values import seconds_of
from taskq.domain.spans import parse_duration
from taskq.errors import BackendUnavailable, OutcomeUnknown, TaskqError
from taskq.telemetry.logs import printable

T = TypeVar("T")
INTERRUPTED = 130
"""The exit status of what SIGINT has ended, as a shell tells it: 128 and its number."""
OFTEN, SELDOM = 0.2, 2.0
"""Seconds from one look to the next: at least, and where nothing is said."""
_FLAG = "--watch"


def _nothing(_seen: object) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Face(Generic[T]):
    """How something is shown.

    Arguments:
        plain: all of it as JSON data.
        view: all of it for people.
        line: what changes most in one line, for pipes that follow it; None: all of it, each time.
        notes: what is said of it on standard error.
        has_silent_json: whether the notes are said beside JSON too, because nothing of them is in it.
        keys: what is pressed to see it otherwise while it is watched, and what is done then.
        legend: what is said of the keys.
    """

    plain: Callable[[T], Any]
    view: Callable[[T], View]
    line: Callable[[T], str] | None = None
    notes: Callable[[T], Sequence[str]] = _nothing
    has_silent_json: bool = False
    keys: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    legend: Callable[[], str] = str


class Away(NamedTuple):
    """A store that was there and is away."""

    since: datetime
    error: TaskqError
    before: Any
    """What was found last."""

    def __str__(self) -> str:
        return f"the store is away since {seconds_of(self.since)}: {self.error}"


# ------------------------------------------------------------ the option


class Watched(click.Command):
    """A command with `--watch [DURATION]`, which takes what follows it for that only where that is a duration."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command."""
        pairs = zip_longest(args, args[1:], fillvalue="")
        return super().parse_args(ctx, [f"{_FLAG}={self._pace}" if _is_bare(*pair) else pair[0] for pair in pairs])

    @property
    def _pace(self) -> str:
        [option] = [param for param in self.params if isinstance(param, click.Option) and _FLAG in param.opts]
        return str(option.flag_value)


def _is_bare(argument: str, following: str) -> bool:
    return argument == _FLAG and _pace_of(following) is None


def _pace_of(text: str) -> float | None:
    """The seconds of a duration; None of what is none, such as the id that a command is about."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError:
        return None


def watch_option(
    help: str = "Show it anew every DURATION, 2 s if not said, until Ctrl-C.", pace: float = SELDOM
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--watch [DURATION]` of a `Watched` command.

    Arguments:
        help: what it says of itself.
        pace: seconds, where none are said.
    """
    return click.option(
        _FLAG, "every", is_flag=False, flag_value=str(pace), callback=seconds, metavar="[DURATION]", help=help
    )


def seconds(_ctx: click.Context, _param: click.Parameter, given: str | None) -> float | None:
    """The value of an option that is how much time passes from one look to the next."""
    if given is None:
        return None
    if (pace := _pace_of(given)) is None or pace < OFTEN:
        raise click.BadParameter(f"{given!r} is no duration from {OFTEN} s on, such as 0.5 or 10s")
    return pace


# ------------------------------------------------------------ showing


def present(
    app: App, look: Callable[[], Awaitable[T]], face: Face[T], as_json: bool, every: float | None = None
) -> None:
    """Look at something and show it, once or until Ctrl-C.

    Arguments:
        app: in whose store it is.
        look: finds it.
        face: how it is shown.
        as_json: whether as JSON; a line each time where it is watched.
        every: seconds from one look to the next; None: it is looked at once.
    """
    if every is None:
        show_once(run(within(app, look)), face, as_json)
    else:
        watch(app, looks(look, every), face, as_json)


def show_once(seen: T, face: Face[T], as_json: bool) -> None:
    """Show something as it is now."""
    if as_json:
        click.echo(json.dumps(face.plain(seen), indent=2))
    else:
        show(face.view(seen))
    for note in face.notes(seen) if face.has_silent_json or not as_json else ():
        _note(note)


async def looks(look: Callable[[], Awaitable[T]], every: float) -> AsyncGenerator[T | Away]:
    """What is found, again and again.

    Arguments:
        look: finds it.
        every: seconds from one look to the next; more where a look takes long, so that the store is left in peace.

    Raises:
        BackendUnavailable, OutcomeUnknown: the store is away at the first look; later that is told, and it is looked at
            again.
    """
    last: T | Away | None = None
    while True:
        began = time.monotonic()
        try:
            last = await look()
        except (BackendUnavailable, OutcomeUnknown) as error:
            if last is None:
                raise
            last = _away(last, error)
        took = time.monotonic() - began
        yield last
        await asyncio.sleep(max(every - took, took))


def _away(last: object, error: TaskqError) -> Away:
    return last._replace(error=error) if isinstance(last, Away) else Away(datetime.now(UTC), error, last)


async def spaced(changes: AsyncGenerator[T], least: float) -> AsyncGenerator[T]:
    """The same, but for what follows too soon.

    Arguments:
        changes: what comes, each time as it is then.
        least: seconds from one to the next.
    """
    async with aclosing(changes):
        async for seen in changes:
            yield seen
            await asyncio.sleep(least)


def watch(app: App, changes: AsyncGenerator[T | Away], face: Face[T], as_json: bool) -> None:
    """Show something until Ctrl-C: on the whole of a terminal, else all of it each time.

    Ends with the status 0: there is no other way to leave it.
    """
    try:
        if is_terminal() and not as_json:
            from taskq.cli.screen import Screen  # which loads rich

            screen = Screen[T | Away](lambda seen: _picture(face, seen), face.keys)
            run(within(app, lambda: screen.show(changes)))
        else:
            run(within(app, lambda: _in_blocks(changes, face, as_json)))
    except KeyboardInterrupt:
        return


def _picture(face: Face[T], seen: T | Away) -> View:
    foot: View = ["", Line("   ".join(text for text in ("q quit", face.legend()) if text), Tone.ASIDE)]
    if isinstance(seen, Away):
        text = str(seen)
        return [Line(text[:1].upper() + text[1:], Tone.BAD), *face.view(seen.before), *foot]
    return [*face.view(seen), *(Line(note, Tone.ASIDE) for note in face.notes(seen)), *foot]


async def _in_blocks(changes: AsyncGenerator[T | Away], face: Face[T], as_json: bool) -> None:
    is_first = True
    async with aclosing(changes):
        async for seen in changes:
            if isinstance(seen, Away):
                _tell_away(seen, as_json)
            elif as_json:
                click.echo(json.dumps(face.plain(seen)))
            else:
                lines = plain_lines(face.view(seen))
                click.echo("\n".join(lines if is_first else ["", *lines]))
                is_first = False


def _tell_away(away: Away, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"away_since": away.since.isoformat(), "error": str(away.error)}))
    else:
        _note(str(away))


def _note(text: str) -> None:
    click.echo(f"taskq: {printable(text)}", err=True)


def follow(app: App, changes: AsyncGenerator[T], face: Face[T], as_json: bool) -> None:
    """Show something at each of its changes until it ends: in place on a terminal, else a line each, none twice.

    Arguments:
        app: in whose store it is.
        changes: what is to be shown, each time as it is then.
        face: how it is shown; where it has a line, that is shown where there is no terminal.
        as_json: whether a line is JSON, also on a terminal.

    Raises:
        SystemExit: Ctrl-C was pressed before the end, for which whatever comes after it may wait.
    """

    def said(seen: T) -> str:
        if as_json:
            return json.dumps(face.plain(seen))
        return "\n".join(plain_lines(face.view(seen))) if face.line is None else face.line(seen)

    in_place = is_terminal() and not as_json
    try:
        run(within(app, lambda: _in_place(changes, face) if in_place else _in_lines(changes, said)))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


async def _in_place(changes: AsyncGenerator[T], face: Face[T]) -> None:
    from rich.live import Live

    from taskq.cli.drawing import console, drawn
    from taskq.cli.screen import given_back

    async with aclosing(changes):  # or the end of the loop would close it and what it goes through at the same time
        screen = console()
        with ExitStack() as terminal, given_back(terminal):
            live = terminal.enter_context(Live(console=screen, auto_refresh=False))
            async for seen in changes:
                live.update(drawn(face.view(seen), screen.width), refresh=True)


async def _in_lines(changes: AsyncGenerator[T], said: Callable[[T], str]) -> None:
    last = ""
    async with aclosing(changes):
        async for seen in changes:
            if (words := said(seen)) != last:
                click.echo(words)
                last = words
