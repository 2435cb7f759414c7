"""`taskq limits set`, `recall`, `overrides`: what holds for limits and breakers instead of what tasks bring along."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.manage import management
from taskq.cli.showing import show
from taskq.cli.table import Table
from taskq.cli.tasks import read_arguments
from taskq.cli.values import duration, seconds_of
from taskq.config import check_identifier
from taskq.domain.overrides import Override, names_of
from taskq.errors import ConfigError, TaskNotRegistered
from taskq.gauges import limits_of
from taskq.limits import RateLimit
from taskq.management.limits import check_gate

F = TypeVar("F", bound=Callable[..., Any])
_KINDS = {"r": "rate", "c": "concurrency", "b": "breaker"}


def _of_gate(command: F) -> F:
    """What says which gate is meant."""
    for option in reversed(
        [
            click.argument("name"),
            click.option("--gate", metavar="GATE", help="Of the task's limits this one, as `limits show` names it."),
            click.option("--key", metavar="JSON", help="Arguments of a run: for their key alone.  [default: all keys]"),
            click.option("--tenant", default="", help="The tenant of the run."),
            click.option("--queue", "-q", metavar="NAME", help="As it is met there.  [default: the task's own]"),
        ]
    ):
        command = option(command)
    return command


@click.command("set")
@_of_gate
@app_option()
@backend_option
@click.option("--rate", metavar="RATE", help="Starts, as in 50/s or 100/m.")
@click.option("--burst", type=float, help="How many may start at once after a pause, with --rate.")
@click.option("--concurrency", type=int, metavar="N", help="How many run at once; 0: none begins.")
@click.option("--breaker", type=click.Choice(["open", "closed"]), help="Hold all back, or let all through.")
@click.option("--for", "lasting", callback=duration, metavar="2h", help="When it ends by itself.  [default: never]")
@click.option("--reason", default="", help="Why, for people.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def set_limit(
    app_path: str, url: str | None, rate: str | None, burst: float | None, concurrency: int | None,
    breaker: str | None, lasting: timedelta | None, reason: str, as_json: bool, **said: Any,
) -> None:  # fmt: skip
    """Have another rate, concurrency or state of the breaker hold for the task NAME, in the whole fleet, at once."""
    given = [letter for letter, value in (("r", rate), ("c", concurrency), ("b", breaker)) if value is not None]
    if len(given) != 1 or (burst is not None and rate is None):
        raise ConfigError("give one of --rate (with --burst), --concurrency and --breaker")
    app = store_app(app_path, url)
    queue, gates = _gates(app, **said)
    gate = _one([each for each in gates if each.startswith(given[0])], said["name"], _KINDS[given[0]])
    why: dict[str, Any] = {"lasting": lasting, "reason": reason}

    async def put() -> Override:
        desk = management(app).limits
        if rate is not None:
            return await desk.rate(queue, gate, RateLimit(rate).per_second, burst, **why)
        if concurrency is not None:
            return await desk.concurrency(queue, gate, concurrency, **why)
        return await desk.breaker(queue, gate, is_open=breaker == "open", **why)

    override = run(within(app, put))
    click.echo(json.dumps(plain(override)) if as_json else f"{override.gate}: {text_of(override)}")


@click.command()
@_of_gate
@app_option()
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def recall(app_path: str, url: str | None, as_json: bool, **said: Any) -> None:
    """Have hold again for the task NAME what its code says."""
    app = store_app(app_path, url)
    queue, gates = _gates(app, **said)

    async def take_back() -> list[str]:
        desk = management(app).limits
        held = {each.gate for each in await desk.overrides()}
        return [gate for gate in gates if gate in held and await desk.recall(queue, gate)]

    gone = run(within(app, take_back))
    click.echo(json.dumps({"recalled": gone}) if as_json else f"recalled: {', '.join(gone) or 'none'}")


@click.command()
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def overrides(app_path: str | None, url: str | None, as_json: bool) -> None:
    """List what holds now for limits and breakers instead of what tasks bring along."""
    app = store_app(app_path, url)
    found: Sequence[Override] = run(within(app, lambda: management(app).limits.overrides()))
    if as_json:
        click.echo(json.dumps([plain(override) for override in found], indent=2))
        return
    show([Table(("gate", "holds"), [(override.gate, text_of(override)) for override in found])])


def _gates(
    app: App, name: str, gate: str | None, key: str | None, tenant: str, queue: str | None
) -> tuple[str, Sequence[str]]:
    """The queue, and the gates that are meant.

    Raises:
        ConfigError: the application has no such task, or the task no such gate.
    """
    try:
        task = app.tasks.get(name)
    except TaskNotRegistered as error:
        raise ConfigError(str(error)) from None
    if tenant:
        check_identifier("tenant", tenant)
    known = task.terms.gates()
    if key is not None:
        known = tuple(limit.gate for limit in limits_of(task, read_arguments(key), tenant))
    if gate is not None and not {*names_of(check_gate(gate))} & {*known}:
        raise ConfigError(f"{name} has no gate {gate}; it has {', '.join(known) or 'none'}")
    return check_identifier("queue", queue or task.queue), known if gate is None else (gate,)


def _one(gates: Sequence[str], name: str, kind: str) -> str:
    if not gates:
        raise ConfigError(f"{name} has no {kind} that could be overridden: its code says none")
    if len(gates) > 1:
        raise ConfigError(f"{name} has several of that kind: say which with --gate: {', '.join(gates)}")
    return gates[0]


def text_of(override: Override | None) -> str:
    """What holds, for people; "-" for nothing."""
    if override is None:
        return "-"
    if override.limit is not None:
        holds = f"{override.limit:,} at once"
    elif override.per_second is not None:
        holds = f"{override.per_second:g}/s, burst {override.burst:g}"
    else:
        holds = "held open" if override.is_open else "held closed"
    end = "" if override.until is None else f" until {seconds_of(datetime.fromtimestamp(override.until, UTC))}"
    return f"{holds}{end}{': ' if override.reason else ''}{override.reason}"


def plain(override: Override | None) -> dict[str, Any] | None:
    """An override as JSON has it."""
    if override is None:
        return None
    until = None if override.until is None else datetime.fromtimestamp(override.until, UTC).isoformat()
    return {**{name: value for name, value in override._asdict().items() if value is not None}, "until": until}
