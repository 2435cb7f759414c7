"""`taskq autoscale`: how many workers queues need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.manage import management
from taskq.cli.values import few, print_table
from taskq.management.autoscale import plain, scaling_of
from taskq.scaling import Hinted


@click.command()
@app_option(required=False)
@backend_option
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Queues that the same workers serve; repeat it.")
@click.option("--min", "least", type=int, help="Workers at least.  [default: 1]")
@click.option("--max", "most", type=int, help="Workers at the most.  [default: 100]")
@click.option("--target", type=float, metavar="SECONDS", help="How long a task may wait.  [default: 30]")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def autoscale(app_path: str | None, url: str | None, queues: Sequence[str], as_json: bool, **said: Any) -> None:
    """Say how many workers queues need: those that are named together, else each by itself."""
    scaling = scaling_of(**{name: value for name, value in said.items() if value is not None})
    app = store_app(app_path, url)

    async def ask() -> Sequence[Hinted]:
        desk = management(app).autoscale
        return [await desk.hint(queues, scaling)] if queues else await desk.each(scaling)

    found = run(within(app, ask))
    if as_json:
        told = [plain(hint) for hint in found]
        click.echo(json.dumps(told[0] if queues else told, indent=2))
        return
    rows = [(few(hint.queues), hint.workers, hint.desired, hint.waiting, hint.reason) for hint in found]
    print_table(("queues", "workers", "desired", "waiting", "why"), rows)
