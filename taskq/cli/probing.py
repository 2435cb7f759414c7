"""What `--metrics-port` and `--health-file` show of a process, and of the processes under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taskq.domain.figures import Frame, desired_workers
from taskq.domain.health import Health
from taskq.runtime.process import Showing

if TYPE_CHECKING:
    from taskq.configuration import Configuration
    from taskq.configuration.sources import Key

F = TypeVar("F", bound=Callable[..., Any])


def probe_options(command: F) -> F:
    """Give a command the options by which it shows its metrics and its health."""
    for option in (
        click.option("--health-file", type=click.Path(dir_okay=False), metavar="PATH",
                     help="Write the health to a file every 2 s while it lives."),
        click.option("--metrics-host", default="0.0.0.0", show_default=True, metavar="HOST",
                     help="Where --metrics-port listens."),
        click.option("--metrics-port", type=click.IntRange(0, 65535), metavar="PORT",
                     help="Show /metrics, /health/live and /health/ready; 0: at a free port."),
    ):  # fmt: skip
        command = option(command)
    return command


def probe_keys(section: str) -> Mapping[str, Key]:
    """The keys of the configuration that the options stand for, by parameter."""
    own = {name: (section, name) for name in ("metrics_port", "health_file")}
    return {**own, "metrics_host": ("monitoring", "metrics_host")}


def showing_as(
    found: Configuration | None, section: str, *, metrics_port: int | None, metrics_host: str, health_file: str | None
) -> Showing | None:
    """What shows a process as the configuration says, where there is one, else as its options do.

    Arguments:
        found: the configuration, with the options before it.
        section: that of the process.
    """
    if found is None:
        return showing_of(metrics_port, metrics_host, health_file)
    said = getattr(found.sections, section)
    return showing_of(said.metrics_port, found.sections.monitoring.metrics_host, said.health_file)


def showing_of(port: int | None, host: str, file: str | None) -> Showing | None:
    """What shows a process at a port, and in a file; None where it is to show nothing.

    Raises:
        ConfigError: metrics are wanted and their package is not installed.
    """
    if port is None and file is None:
        return None
    if port is not None:
        from taskq.telemetry.probes import metrics_app

        metrics_app()  # what is missing is said before anything is begun
    return partial(_shown, port, host, None if file is None else Path(file))


@contextmanager
def _shown(
    port: int | None, host: str, file: Path | None, frame: Callable[[], Frame], health: Callable[[], Health]
) -> Iterator[None]:
    from taskq.telemetry.probes import HealthFile, Probes, metrics_app

    with ExitStack() as stack:
        if port is not None:
            probing = Probes(host, port, metrics_app(frame), health, lambda name: desired_workers(frame(), name))
            probes = stack.enter_context(probing)
            click.echo(f"metrics and health at http://{host}:{probes.port}/metrics, /health/ready", err=True)
        if file is not None:
            stack.enter_context(HealthFile(file, health))
        yield
