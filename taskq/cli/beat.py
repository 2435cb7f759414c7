"""`taskq beat`."""

from __future__ import annotations

from typing import Any

import click

from taskq.cli.commands import WRONG_USAGE, app_option, backend_option, load_app, look_at_store, run, says_errors
from taskq.cli.configured import LOGGED, NAMED, given_arguments, join_of, start_logs, with_arguments
from taskq.cli.probing import probe_keys, probe_options, showing_as
from taskq.config import LOOK_EVERY
from taskq.errors import ConfigError
from taskq.management.errands import errands_of
from taskq.telemetry import logs


@click.command()
@app_option()
@backend_option
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console", show_default=True)
@click.option("--log-level", default="INFO", show_default=True,
              type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False))  # fmt: skip
@probe_options
@says_errors(WRONG_USAGE)
def beat(
    app_path: str, url: str | None, log_format: logs.Format, log_level: str,
    **shown: Any,
) -> None:  # fmt: skip
    """Have schedules fire until SIGTERM or Ctrl-C. Any number of beats may run: each fire is enqueued once."""
    from taskq.runtime.process import serve_beat

    arguments = given_arguments({**NAMED, **LOGGED, **probe_keys("scheduler")})
    found = with_arguments(arguments)
    start_logs(found, log_format, log_level)
    app = load_app(app_path, url)
    if app.url == "memory://":
        raise ConfigError(
            "memory:// is this process alone, where nothing would run: give --backend redis://… or postgres://…, "
            "or run taskq worker --beat, or taskq dev"
        )
    showing, errands = showing_as(found, "scheduler", **shown), errands_of(app, found)
    run(look_at_store(app, is_for_others=True))
    look_every = LOOK_EVERY if found is None else found.sections.scheduler.tick
    run(serve_beat(app, look_every, join_of(found, arguments), showing, errands))
