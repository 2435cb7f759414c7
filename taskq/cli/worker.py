"""`taskq worker`."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

import click

from taskq.app import App
from taskq.cli.commands import (
    FAILED,
    WRONG_USAGE,
    app_option,
    backend_option,
    complain,
    load_app,
    look_at_store,
    run,
    says_errors,
)
from taskq.cli.configured import LOGGED, NAMED, configuration, given_arguments, join_of, start_logs, with_arguments
from taskq.cli.probing import probe_keys, probe_options, showing_as
from taskq.cli.values import SECONDS
from taskq.config import WorkerOptions
from taskq.configuration.sources import Key
from taskq.configuration.values import parse_queues, parse_rate
from taskq.errors import BackendUnavailable, ConfigError, InvalidOption, NotApplied
from taskq.runtime.process import Showing
from taskq.runtime.reports import Reports, reporting
from taskq.runtime.signals import Hangup, has_terminal
from taskq.runtime.supervisor import DISMISSED, REFUSED, Supervisor
from taskq.telemetry import logs
from taskq.variables import WORKER_PROCESS

_OPTIONS = (
    *("queues", "concurrency", "threads", "children", "processes", "name", "beat", "compare", "rate"),
    *("max_tasks", "max_memory", "max_rss", "max_loop_lag", "max_backend_latency", "lease", "shutdown_timeout"),
)
"""Parameters that have the name of their key in the section `worker`."""
Join = Callable[[Any], Hangup] | None


@click.command()
@app_option()
@backend_option
@click.option(
    "-Q", "--queues", default="default", show_default=True, metavar="NAME[=WEIGHT],…", help="Queues to serve."
)
@click.option("-c", "--concurrency", type=int, default=100, show_default=True, help="Loop tasks at once.")
@click.option("--threads", type=int, help="Thread tasks at once.  [default: 4 × cores]")
@click.option("--children", type=int, help="Process tasks at once.  [default: cores]")
@click.option("-P", "--processes", type=click.IntRange(0, 256), default=1, show_default=True,
              help="Worker processes under a supervisor; 0: this process, without one.")  # fmt: skip
@click.option("--name", help="A stable name, beside the random id of each start.  [default: host name]")
@click.option("--max-tasks", type=int, help="Runs after which a process is replaced.")
@click.option("--max-memory", type=int, metavar="MIB", help="Resident memory at which a process is replaced.")
@click.option("--rate", metavar="RATE", help="Starts, as in 50/s or 100/m; the processes of -P share them.")
@click.option("--max-rss", type=int, metavar="MIB", help="Resident memory over which no tasks are taken.")
@click.option("--max-loop-lag", type=SECONDS, default=1.0, show_default=True,
              help="How late the event loop may be before no tasks are taken.")  # fmt: skip
@click.option("--max-backend-latency", type=SECONDS, default=5.0, show_default=True,
              help="How slow the store may be before no tasks are taken.")  # fmt: skip
@click.option("--compare/--no-compare", default=True, show_default=True,
              help="Pause where runs fail here and not elsewhere.")  # fmt: skip
@click.option("--enable-profiling", "profiling", is_flag=True, help="Take profiles of itself when asked for one.")
@click.option("--beat", is_flag=True, help="Have schedules fire, too.")
@click.option("--lease", type=SECONDS, default=30.0, show_default=True, help="For how long a claim holds.")
@click.option("--shutdown-timeout", type=SECONDS, default=30.0, show_default=True, help="For a graceful stop.")
@probe_options
@click.option("--reload", is_flag=True, help="Start anew when a file changes.")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console", show_default=True)
@click.option("--log-level", default="INFO", show_default=True,
              type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False))  # fmt: skip
@says_errors(WRONG_USAGE)
def worker(
    app_path: str, url: str | None, processes: int, reload: bool, log_format: logs.Format, log_level: str,
    **said: Any,
) -> None:  # fmt: skip
    """Run tasks until SIGTERM or Ctrl-C; a second one ends at once."""
    arguments = _arguments()
    found = with_arguments(arguments)
    shown = {name: said.pop(name) for name in probe_keys("worker")}
    start_logs(found, log_format, log_level, warns=WORKER_PROCESS not in os.environ)
    if found is None:
        options = _options(processes=max(1, processes), **said)
    else:
        options, processes = found.worker_options, found.sections.worker.processes
    join = join_of(found, arguments)
    if WORKER_PROCESS in os.environ:
        _work_supervised(app_path, url, options, join)
    if reload:
        _watch_files()
    showing = showing_as(found, "worker", **shown)
    if processes == 0:
        _work_alone(app_path, url, options, join, showing)
    # What would make every process refuse to start is said once, here; a store that is away is not waited for.
    os.environ[WORKER_PROCESS] = json.dumps(run(look_at_store(load_app(app_path, url), is_for_others=True)))
    _supervise(processes, options, showing, reads_again=found is not None and found.path is not None)


def _arguments() -> dict[Key, tuple[str, Any]]:
    """What was said on the command line itself, by key of the configuration."""
    own: dict[str, Key] = {name: ("worker", name) for name in _OPTIONS}
    own["profiling"] = ("monitoring", "enable_profiling")
    found = given_arguments({**NAMED, **LOGGED, **own, **probe_keys("worker")})
    if (lease := found.get(("worker", "lease"))) is not None:
        found["worker", "heartbeat"] = (lease[0], lease[1] / 3)
    return found


def _options(queues: str, rate: str | None, processes: int, **said: Any) -> WorkerOptions:
    given = {key: value for key, value in said.items() if value is not None}
    if "children" in given:
        given["processes"] = given.pop("children")
    if rate is not None:
        given["rate"] = parse_rate(rate) / processes
    return WorkerOptions(queues=parse_queues(queues), heartbeat=given["lease"] / 3, **given)


def _work(app: App, options: WorkerOptions, join: Join, showing: Showing | None, said: Sequence[str] = ()) -> int:
    from taskq.runtime.process import serve

    run(look_at_store(app, said, is_for_others=True))
    errands = None
    if options.beat:
        from taskq.management.errands import errands_of  # most workers do without it

        errands = errands_of(app, configuration())
    return run(serve(app, options, join, showing, errands))


def _supervise(processes: int, options: WorkerOptions, showing: Showing | None, *, reads_again: bool) -> NoReturn:
    """The life of a supervisor, whose processes read their file again after SIGHUP, where there is one."""
    reports = None if showing is None else Reports()
    supervisor = Supervisor(
        *([sys.executable, "-m", "taskq", *sys.argv[1:]], processes, options.shutdown_timeout),
        expects_short_lives=options.max_tasks is not None,
        passes_hangup=reads_again and not has_terminal(),
        reports=reports,
    )
    with nullcontext() if showing is None or reports is None else showing(reports.frame, reports.health):
        status = supervisor.run()
    raise SystemExit(status)


def _work_alone(
    app_path: str, url: str | None, options: WorkerOptions, join: Join, showing: Showing | None
) -> NoReturn:
    """The life of a process without a supervisor."""
    from taskq.runtime.process import leave

    known = threading.enumerate()
    status = _work(load_app(app_path, url), options, join, showing)
    leave(0 if status == DISMISSED else status, known)


def _work_supervised(app_path: str, url: str | None, options: WorkerOptions, join: Join) -> NoReturn:
    """The life of one process under a supervisor, which gives up where one refuses to start.

    A store that went away since the supervisor began is no such refusal: it will be back.
    """
    from taskq.runtime.process import leave

    known = threading.enumerate()
    said = json.loads(os.environ.pop(WORKER_PROCESS))  # what a task starts is no such process
    try:
        status = _work(load_app(app_path, url), options, join, reporting(), said)
    except (ConfigError, InvalidOption, NotApplied) as error:
        complain(error)
        raise SystemExit(FAILED if isinstance(error, BackendUnavailable) else REFUSED) from None
    leave(status, known)


def _watch_files() -> NoReturn:
    from taskq.cli.reload import run_and_reload

    arguments = [argument for argument in sys.argv[1:] if argument != "--reload"]
    raise SystemExit(run_and_reload([sys.executable, "-m", "taskq", *arguments]))
