"""The command line: a file for each group of commands, and no rule of its own."""

from __future__ import annotations

import click

from taskq.cli.commands import LazyGroup, says_errors, says_lost_output


@click.group(
    cls=LazyGroup,
    commands_by_module={
        "worker": "taskq.cli.worker",
        "beat": "taskq.cli.beat",
        "dev": "taskq.cli.dev",
        "enqueue": "taskq.cli.tasks",
        "tasks": "taskq.cli.task_acts",
        "workers": "taskq.cli.workers",
        "audit": "taskq.cli.audit",
        "jobs": "taskq.cli.jobs",
        "dlq": "taskq.cli.dlq",
        "queues": "taskq.cli.queues",
        "schedules": "taskq.cli.schedules",
        "workflows": "taskq.cli.flow_acts",
        "batches": "taskq.cli.flow_acts",
        "limits": "taskq.cli.limits",
        "alerts": "taskq.cli.alerts",
        "autoscale": "taskq.cli.autoscale",
        "migrate": "taskq.cli.store",
        "doctor": "taskq.cli.store",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="pytaskq", prog_name="taskq")
def cli() -> None:
    """A distributed task queue: nothing lost, on Redis, Postgres or in memory."""


@says_errors()
def main() -> None:
    """Run the command line."""
    with says_lost_output():
        cli(prog_name="taskq")


__all__ = ["cli", "main"]
