"""What `--metrics-port` and `--health-file` show of a process, and of the processes under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from taskq.domain.figures import Frame
from taskq.domain.health import Health
from taskq.runtime.process import Showing

F = TypeVar("F", bound=Callable[..., Any])


def probe_options(command: F) -> F:
    """Give a command the options by which it shows its metrics and its health."""
    for option in (
        click.option("--health-file", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
                     help="Write the health to a file every 2 s while it lives."),
        click.option("--metrics-host", default="0.0.0.0", show_default=True, metavar="HOST",
                     help="Where --metrics-port listens."),
        click.option("--metrics-port", type=click.IntRange(0, 65535), metavar="PORT",
                     help="Show /metrics, /health/live and /health/ready; 0: at a free port."),
    ):  # fmt: skip
        command = option(command)
    return command


def showing_of(port: int | None, host: str, file: Path | None) -> Showing | None:
    """What shows a process as its options say; None where it is to show nothing.

    Raises:
        ConfigError: metrics are wanted and their package is not installed.
    """
    if port is None and file is None:
        return None
    if port is not None:
        from taskq.telemetry.probes import metrics_app

        metrics_app()  # what is missing is said before anything is begun
    return partial(_shown, port, host, file)


@contextmanager
def _shown(
    port: int | None, host: str, file: Path | None, frame: Callable[[], Frame], health: Callable[[], Health]
) -> Iterator[None]:
    from taskq.telemetry.probes import HealthFile, Probes, metrics_app

    with ExitStack() as stack:
        if port is not None:
            probes = stack.enter_context(Probes(host, port, metrics_app(frame), health))
            click.echo(f"metrics and health at http://{host}:{probes.port}/metrics, /health/ready", err=True)
        if file is not None:
            stack.enter_context(HealthFile(file, health))
        yield
