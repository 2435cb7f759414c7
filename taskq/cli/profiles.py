"""`taskq workers profile` and `taskq workers profiles`: where a worker spends its time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import msgspec

from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.manage import management
from taskq.cli.showing import show
from taskq.cli.table import Table
from taskq.cli.values import SECONDS, seconds_of
from taskq.domain.profile import Profile, Weight, collapsed, speedscope
from taskq.errors import ConfigError, TaskqError
from taskq.profiles import ProfileInfo

Format = Literal["collapsed", "speedscope"]
F = TypeVar("F", bound=Callable[..., Any])


def _shape_options(command: F) -> F:
    """How a profile is written, and where to."""
    for option in (
        click.option("--by", type=click.Choice(["cpu", "wall"]), default="cpu", show_default=True,
                     help="Weigh stacks by what they cost, or by how long they were there."),
        click.option("--format", "form", type=click.Choice(["collapsed", "speedscope"]), default="collapsed",
                     show_default=True, help="Lines for flamegraph.pl, or a file for speedscope.app."),
        click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                     help="Where to write it.  [default: standard output]"),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@app_option(required=False)
@backend_option
@click.argument("worker", metavar="ID|NAME")
@click.option("--seconds", type=SECONDS, default=10.0, show_default=True, help="For how long, at most 60.")
@_shape_options
@says_errors()
def profile(app_path: str | None, url: str | None, worker: str, seconds: float, **shape: Any) -> None:
    """Take a profile of a worker that runs with --enable-profiling."""
    _check(shape["output"])
    app = store_app(app_path, url)

    async def take() -> tuple[ProfileInfo, Profile]:
        desk = management(app).workers
        id = await desk.profile(worker, seconds)
        click.echo(f"taskq: profile {id}: waits for a heartbeat of the worker, then for {seconds:g} s", err=True)
        return await desk.profiled(id), await desk.download(id)

    _write(*run(within(app, take)), **shape)


@click.command()
@app_option(required=False)
@backend_option
@click.argument("id", metavar="[PROFILE]", required=False)
@_shape_options
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def profiles(app_path: str | None, url: str | None, id: str | None, as_json: bool, **shape: Any) -> None:
    """List the profiles that are kept, the newest first, or write the one of that id."""
    _check(shape["output"])
    app = store_app(app_path, url)
    if id is not None:

        async def read() -> tuple[ProfileInfo, Profile]:
            desk = management(app).workers
            return await desk.profiled(id), await desk.download(id)

        _write(*run(within(app, read)), **shape)
        return
    found: Sequence[ProfileInfo] = run(within(app, lambda: management(app).workers.profiles()))
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(info) for info in found], indent=2))
        return
    head = ("id", "asked", "by", "name", "worker", "state", "seconds", "looks", "note")
    show([Table(head, [_row(info) for info in found], spare=("note", "looks", "by"))])


def _check(output: Path | None) -> None:
    """Refuse, before anything is waited for, what cannot be written to."""
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"--output {output}: there is no folder {output.parent}")


def _write(info: ProfileInfo, taken: Profile, *, form: Format, by: Weight, output: Path | None) -> None:
    text = collapsed(taken, by) if form == "collapsed" else speedscope(taken, info.name, by)
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise TaskqError(f"cannot write {output}: {error.strerror}") from None
    told = f"{taken.samples:,} looks in {taken.seconds:.1f} s at worker {info.name} ({info.worker})"
    if by == "cpu" and not taken.knows_cpu:
        told += "; its host does not tell what threads cost, so stacks are weighed by wall"
    click.echo(f"taskq: {told}{'; ' if info.reason else ''}{info.reason}", err=True)


def _row(info: ProfileInfo) -> tuple[object, ...]:
    took = f"{info.took or info.seconds:.1f}"
    ids = (info.id, seconds_of(info.asked_at), info.actor, info.name, info.worker)
    return (*ids, info.state, took, info.samples, info.reason or "-")
