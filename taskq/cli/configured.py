"""The configuration of a command: read where there is any, so that one without pays nothing for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from taskq.app import App
from taskq.assumed import assume
from taskq.configuration import Configuration, load
from taskq.configuration.sources import Key, has_any
from taskq.errors import ConfigError
from taskq.telemetry import logs

if TYPE_CHECKING:
    from taskq.config import WorkerOptions
    from taskq.ports import Backend
    from taskq.runtime.beat import Beat
    from taskq.runtime.service import Tick
    from taskq.runtime.signals import Hangup
    from taskq.runtime.worker import Worker

_FILE, _READ = "taskq.configuration.file", "taskq.configuration.read"
Arguments = Mapping[Key, tuple[str, Any]]
LOGGED: Mapping[str, Key] = {"log_format": ("monitoring", "log_format"), "log_level": ("monitoring", "log_level")}
NAMED: Mapping[str, Key] = {"app_path": ("app",), "url": ("backend", "url")}
"""By parameter of a command, the key that it stands for."""
logger = logging.getLogger("taskq.configuration")


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--config FILE`; what it says is had by `configuration`."""
    return click.option(
        "--config", metavar="FILE", is_eager=True, expose_value=False, callback=_note_file,
        help="The configuration. Also TASKQ_CONFIG; else taskq.yaml or taskq.toml here.",
    )(command)  # fmt: skip


def _note_file(ctx: click.Context, _param: click.Parameter, given: str | None) -> None:
    if given is not None:
        ctx.meta[_FILE] = given


def config_file() -> str | None:
    """What --config says."""
    ctx = click.get_current_context(silent=True)
    found: str | None = None if ctx is None else ctx.meta.get(_FILE)
    return found


def configuration() -> Configuration | None:
    """The configuration of this command, with its arguments once they are known; None where nothing is configured.

    Raises:
        ConfigError: it cannot be used.
    """
    ctx = click.get_current_context(silent=True)
    if ctx is None or not _has_any():
        return None
    if _READ not in ctx.meta:
        ctx.meta[_READ] = load(config_file())
    found: Configuration = ctx.meta[_READ]
    return found


def with_arguments(arguments: Arguments) -> Configuration | None:
    """The same, with the arguments of this command before it; from now on it is that of the command.

    Nothing is refused of the file or the variables in the place of which an argument stands.

    Raises:
        ConfigError: it cannot be used.
    """
    if not _has_any():
        return None
    found = load(config_file(), arguments=arguments)
    click.get_current_context().meta[_READ] = found
    return found


def _has_any() -> bool:
    return config_file() is not None or has_any(os.environ, Path())


def given_arguments(keys: Mapping[str, Key]) -> dict[Key, tuple[str, Any]]:
    """What was said on the command line itself.

    Arguments:
        keys: by parameter, the key that it stands for.
    """
    ctx = click.get_current_context()
    options = {param.name: max(param.opts, key=len) for param in ctx.command.params}
    return {
        key: (str(options.get(name)), ctx.params[name])
        for name, key in keys.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def assume_configuration() -> None:
    """Have applications that are made until the end of this command take of it what their code does not say.

    Raises:
        ConfigError: it cannot be used.
    """
    found = configuration()
    if found is not None:
        before = assume(found.assumed)
        click.get_current_context().call_on_close(lambda: assume(before))


def trace_if_asked(app: App) -> None:
    """Have the tasks of an application traced where `monitoring.otel` says so, and its code has not seen to it.

    Raises:
        ConfigError: the API of OpenTelemetry is not installed.
    """
    found = configuration()
    if found is None or not found.sections.monitoring.otel:
        return
    try:
        from taskq.telemetry.tracing import Tracing, instrument
    except ImportError:
        raise ConfigError('monitoring.otel needs OpenTelemetry: pip install "pytaskq[otel]"') from None
    if not any(isinstance(getattr(hook, "__self__", None), Tracing) for hook in app.middleware.on_enqueue):
        instrument(app)


def start_logs(found: Configuration | None, log_format: logs.Format, log_level: str, *, warns: bool = True) -> None:
    """Log as the configuration says.

    Arguments:
        found: the configuration, with the arguments of the command.
        log_format, log_level: where it says nothing.
        warns: whether to log what may be a mistake in it.
    """
    if found is not None:
        said = found.sections.monitoring
        log_format = said.log_format if found.says("monitoring.log_format") else log_format
        log_level = said.log_level if found.says("monitoring.log_level") else log_level
    logs.configure(log_format, log_level)
    for warning in found.warnings if found is not None and warns else ():
        logger.warning("%s", warning)


def join_of(found: Configuration | None, arguments: Arguments) -> Callable[[Worker | Beat], Hangup] | None:
    """What keeps a process to its configuration while it runs; None where nothing is configured."""
    return None if found is None else Kept(found, arguments).join


class Kept:
    """Keeps a worker, or a beat, to its configuration for as long as it runs.

    Arguments:
        configuration: as it was read.
        arguments: of the command.
    """

    def __init__(self, configuration: Configuration, arguments: Arguments) -> None:
        self._configuration = configuration
        # Absolute, because a task may change the directory.
        self._file = None if configuration.path is None else configuration.path.absolute()
        self._folder = Path.cwd()
        self._arguments = arguments
        self._ask: Callable[[], object] = lambda: None

    def join(self, process: Worker | Beat) -> Hangup:
        """Go along with a worker or a beat; returns what SIGHUP means."""
        from taskq.runtime.retuning import retune
        from taskq.runtime.worker import Worker

        tune = partial(retune, process) if isinstance(process, Worker) else None
        process.beside.append(lambda backend: self._services(backend, tune))
        return None if self._file is None else lambda: self._ask()

    def _services(self, backend: Backend, retune: Callable[[WorkerOptions], None] | None) -> list[tuple[str, Tick]]:
        from taskq.configuration.reload import Reload

        reload = Reload(self._configuration, self._load, backend, retune)
        self._ask = reload.ask
        return [("the configuration", reload.tick)]

    def _load(self) -> Configuration:
        return load(self._file, arguments=self._arguments, folder=self._folder)
