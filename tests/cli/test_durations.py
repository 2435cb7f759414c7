"""Durations and instants are typed alike wherever the command line takes one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from taskq.cli import cli
from tests.cli.support import taskq


@pytest.fixture
def kept(tmp_path: Path) -> str:
    """The URL of a store that is kept from one command to the next."""
    return f"memory://?snapshot={tmp_path}/tasks"


@pytest.mark.parametrize(("typed", "seconds"), [("2m", 120), ("90s", 90), ("45", 45), ("1h30m", 5400), ("500ms", 0.5)])
def test_a_delay_is_typed_as_any_duration(kept: str, typed: str, seconds: float) -> None:
    made = taskq("enqueue", "--backend", kept, "add", '{"x": 1}', "--delay", typed, "--json")
    shown = json.loads(taskq("tasks", "show", "--backend", kept, json.loads(made.stdout)["id"], "--json").stdout)
    due, enqueued = (datetime.fromisoformat(shown[name]) for name in ("due_at", "created_at"))
    assert (due - enqueued).total_seconds() == pytest.approx(seconds, abs=0.002)


def test_an_eta_is_an_instant(kept: str) -> None:
    made = taskq("enqueue", "--backend", kept, "add", '{"x": 1}', "--eta", "2030-01-02T03:04Z", "--json")
    shown = json.loads(taskq("tasks", "show", "--backend", kept, json.loads(made.stdout)["id"], "--json").stdout)
    assert datetime.fromisoformat(shown["due_at"]) == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


DURATIONS = (
    *(("enqueue", option) for option in ("--delay", "--expires", "--timeout", "--block")),
    *(("worker", option) for option in ("--lease", "--shutdown-timeout", "--max-loop-lag", "--max-backend-latency")),
    *(("workers autoscale", "--target"), ("workers profile", "--seconds"), ("bench", "--seconds")),
    *(("schedules put", "--jitter"), ("schedules put", "--every")),
    *(("queues pause", "--for"), ("audit trim", "--older-than")),
)  # fmt: skip


@pytest.mark.parametrize(("command", "option"), DURATIONS)
def test_every_duration_is_read_by_one_parser(command: str, option: str) -> None:
    for typed in ("soon", "-1", "nan", "inf", "2 minutes", ""):
        result = taskq(*command.split(), f"{option}={typed}")
        assert result.exit_code == 2
        assert f"'{typed}' is no duration, such as 90s, 15m, 2h, 7d" in result.stderr


def test_no_option_reads_a_duration_in_a_way_of_its_own() -> None:
    numbers = {
        " ".join(names) for names, option in options_of(cli) if isinstance(option.type, click.types.FloatParamType)
    }
    assert numbers == {"limits set --burst", "tasks cancel --rate", "tasks retry --rate"}


def options_of(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    """All options of a command and of those below it, each with what is typed for it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options_of(below, *names, name)
    for option in command.params:
        yield (*names, max(option.opts, key=len)), option
