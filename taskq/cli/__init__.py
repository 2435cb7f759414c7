"""The command line: a file for each group of commands, and no rule of its own."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

import click

from taskq.cli.commands import COMPLETE, LazyGroup, says_errors, says_lost_output


@click.group(
    cls=LazyGroup,
    commands_by_module={
        "worker": "taskq.cli.worker",
        "beat": "taskq.cli.beat",
        "bench": "taskq.cli.bench",
        "dev": "taskq.cli.dev",
        "enqueue": "taskq.cli.tasks",
        "top": "taskq.cli.top",
        "tasks": "taskq.cli.task_acts",
        "workers": "taskq.cli.workers",
        "audit": "taskq.cli.audit",
        "jobs": "taskq.cli.jobs",
        "keys": "taskq.cli.keys",
        "dlq": "taskq.cli.dlq",
        "queues": "taskq.cli.queues",
        "schedules": "taskq.cli.schedules",
        "workflows": "taskq.cli.flow_acts",
        "batches": "taskq.cli.flow_acts",
        "limits": "taskq.cli.limits",
        "tenants": "taskq.cli.tenants",
        "config": "taskq.cli.config",
        "alerts": "taskq.cli.alerts",
        "autoscale": "taskq.cli.autoscale",
        "metrics": "taskq.cli.metrics",
        "migrate": "taskq.cli.store",
        "doctor": "taskq.cli.doctor",
        "completion": "taskq.cli.completion",
    },
    sections={
        "Look": ("top", "metrics", "limits", "autoscale", "audit"),
        "Look and act": (
            *("tasks", "queues", "workers", "dlq", "schedules", "workflows", "batches", "jobs"),
            *("tenants", "alerts", "enqueue"),
        ),
        "Run": ("worker", "beat", "dev"),
        "Set up": ("migrate", "doctor", "config", "keys", "bench", "completion"),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="pytaskq", prog_name="taskq")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A distributed task queue: nothing lost, on Redis, Postgres or in memory."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


@says_errors()
def main() -> None:
    """Run the command line."""
    if COMPLETE in os.environ:
        from taskq.cli.completing import quietly  # for a shell that asks, and nobody else

        with quietly():
            cli(prog_name="taskq")
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")  # not every text that is shown is of this host
    with says_lost_output():
        cli(prog_name="taskq")


__all__ = ["cli", "main"]
