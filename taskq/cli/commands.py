"""What the commands share: options, loading the application, and errors as one line with an exit status."""

from __future__ import annotations

import asyncio
import difflib
import functools
import importlib
import logging
import os
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from taskq.app import App
from taskq.assumed import assumed
from taskq.backends import create_backend
from taskq.cli.configured import assume_configuration, config_option, configuration, trace_if_asked
from taskq.errors import ConfigError, InvalidOption, InvalidPayload, NotApplied, TaskqError
from taskq.frames import summary, where_raised
from taskq.ports import Backend, Capability
from taskq.telemetry.logs import printable

T = TypeVar("T")
logger = logging.getLogger("taskq.worker")
FAILED, WRONG_USAGE = 1, 2
COMPLETE = "_TASKQ_COMPLETE"
"""The variable of the environment by which a shell asks for completions."""
IN_MEMORY = (
    "the tasks are kept in the memory of this process: nothing outside of it can reach them, or enqueue more; "
    "give --backend redis://… or postgres://…"
)


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, so that `taskq worker` loads no other.

    Arguments:
        commands_by_module: by the name of each command, where it is.
        sections: by their titles the names of the commands, as the help lists them; what none names comes in the last.
    """

    def __init__(
        self,
        *args: Any,
        commands_by_module: dict[str, str],
        sections: Mapping[str, Sequence[str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._modules = commands_by_module
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        module = self._modules.get(cmd_name)
        if module is None and ctx.resilient_parsing:
            return None  # a shell completes what follows a word that is none of ours
        if module is None:
            near = difflib.get_close_matches(cmd_name, self._modules, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"there is no command {cmd_name!r}.{hint}")
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section."""
        named = {name for names in self._sections.values() for name in names}
        sections = {title: list(names) for title, names in self._sections.items()}
        sections[list(sections)[-1]] += [name for name in self.list_commands(ctx) if name not in named]
        width = formatter.width - 6 - max(map(len, self._modules))
        for title, names in sections.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            rows = [(name, command.get_short_help_str(width)) for name, command in commands.items() if command]
            with formatter.section(title):
                formatter.write_dl(rows)


def app_option(required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-A module:app`, or TASKQ_APP, or what the configuration says."""

    @says_errors(WRONG_USAGE)
    def found(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
        if ctx.resilient_parsing:  # a shell that completes what is typed
            return given
        if given is None and (said := configuration()) is not None:
            given = said.sections.app
        if given is None and required:
            raise click.MissingParameter(ctx=ctx, param=param)
        return given

    return click.option(
        "-A", "--app", "app_path", envvar="TASKQ_APP", metavar="MODULE:APP", callback=found,
        help=f"The application, as module:attribute. Also TASKQ_APP.{'  [required]' if required else ''}",
    )  # fmt: skip


def backend_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--backend URL`, and `--config FILE`.

    TASKQ_BACKEND is no default of it: it is for an application that names no store, and must not part the workers of
    one that does from those who enqueue.
    """
    option = click.option("--backend", "url", metavar="URL", help="The backend, instead of the application's.")
    return config_option(option(command))


def load_app(path: str, url: str | None = None) -> App:
    """Import an application; `url` takes the place of its own backend.

    Raises:
        ConfigError: there is none at that path; the message says what was found instead.
    """
    assume_configuration()
    app = _find_app(path)
    trace_if_asked(app)
    if url is not None:
        app.url = url
    return app


def _find_app(path: str) -> App:
    module_name, _, attribute = path.partition(":")
    if not module_name or not all(part.isidentifier() for part in f"{module_name}.{attribute or 'app'}".split(".")):
        raise ConfigError(f"-A {path!r} is not of the form module:app, such as -A mysite.tasks:app")
    sys.path.insert(0, str(Path.cwd()))
    module = _import(module_name)
    if attribute:
        found = getattr(module, attribute, None)
        if isinstance(found, App):
            return found
    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if not attribute and len(apps) == 1:
        return next(iter(apps.values()))
    there = f"it has {', '.join(f'{module_name}:{name}' for name in sorted(apps))}" if apps else "it has no App"
    raise ConfigError(f"module {module_name} has no App named {attribute or 'app'!r}: {there}")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {name!r} here (looked in {Path.cwd()} and on the Python path)"
            ) from None
        raise ConfigError(f"importing {name} failed: {error} ({where_raised(error) or 'while importing'})") from error
    except Exception as error:
        raise ConfigError(f"importing {name} failed: {summary(error)}") from error
    except SystemExit as error:
        raise ConfigError(
            f"importing {name} ended the program (sys.exit): guard it with `if __name__ == '__main__'`"
        ) from error


def app_or_store(app_path: str | None, url: str | None) -> App:
    """The application at a path, or one without tasks for a store that is given alone.

    Raises:
        ConfigError: neither is given, or there is no application at that path.
    """
    if app_path is not None:
        return load_app(app_path, url)
    assume_configuration()
    url = url or assumed().url or os.environ.get("TASKQ_BACKEND")
    if not url:
        raise ConfigError("which store? Give -A module:app (or TASKQ_APP), or --backend URL (or TASKQ_BACKEND)")
    return App(url)


def store_app(app_path: str | None, url: str | None) -> App:
    """The same for a command that reads and writes what is kept, and waits for no store that is away.

    Raises:
        ConfigError: also where the store is gone when the command ends.
    """
    app = app_or_store(app_path, url)
    if app.url == "memory://":
        raise ConfigError("memory:// is gone when this command ends: give --backend redis://… or postgres://…")
    app.stores.hurry()
    return app


@asynccontextmanager
async def opened_app(app: App) -> AsyncIterator[None]:
    """Have the store of an application open meanwhile."""
    async with app:
        await tell_damage(await app.backend())
        yield


async def within(app: App, act: Callable[[], Awaitable[T]]) -> T:
    """Do something while the store of an application is open."""
    async with opened_app(app):
        return await act()


async def look_at_store(app: App, said: Sequence[str] = (), *, is_for_others: bool = False) -> list[str]:
    """Refuse to start on a store that cannot be reached, or would lose tasks; log what it warns of.

    Arguments:
        app: whose store it is.
        said: warnings that this command has logged already.
        is_for_others: whether other processes are meant to reach it too, which a plain memory cannot give them.

    Returns:
        All warnings. A worker that looks for itself is kept from repeating them.
    """
    async with create_backend(app.url, app.stores.impatient_options) as backend:
        warnings = await backend.check()
    if is_for_others and app.url == "memory://":
        warnings = [*warnings, IN_MEMORY]
    for warning in warnings:
        if warning not in said:
            logger.warning(warning)
    logger.addFilter(lambda record: record.getMessage() not in warnings)
    return warnings


async def tell_damage(backend: Backend) -> None:
    """Print what a store that is a file warns of: it sets a damaged one aside, and nobody would learn of it later."""
    if Capability.SHARED not in backend.capabilities:
        for warning in await backend.check():
            click.echo(f"taskq: {warning}", err=True)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new event loop, uvloop's where it is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(coroutine)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def says_errors(status: int = FAILED) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """A command whose errors are one line each; `status` is the exit status of a store that cannot be used.

    A traceback is shown only with TASKQ_DEBUG=1.
    """

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(command)
        def wrapped(*args: Any, **kwargs: Any) -> T:
            try:
                return command(*args, **kwargs)
            except (ConfigError, InvalidOption, InvalidPayload) as error:
                _fail(error, WRONG_USAGE)
            except NotApplied as error:
                _fail(error, status)
            except TaskqError as error:
                _fail(error, FAILED)

        return wrapped

    return decorate


@contextmanager
def says_lost_output() -> Iterator[None]:
    """Have it said what became of output that could not be written, as onto a full disk; click sees to closed pipes.

    Raises:
        TaskqError: standard output took no more.
    """
    try:
        yield
    except OSError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if frame.f_code is not click.echo.__code__:
            raise
        # The interpreter would write at its end what is left, and say that it failed once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise TaskqError(f"cannot write to standard output: {error.strerror}") from error


def _fail(error: TaskqError, status: int) -> NoReturn:
    complain(error)
    raise SystemExit(status)


def complain(error: TaskqError) -> None:
    """Say an error in one line, with its traceback above it where TASKQ_DEBUG asks for that."""
    if os.environ.get("TASKQ_DEBUG"):
        traceback.print_exception(error)
    for line in getattr(error, "lines", (str(error),)):
        click.echo(f"taskq: {printable(line)}", err=True)
