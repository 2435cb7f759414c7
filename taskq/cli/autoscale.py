"""`taskq autoscale`: how many workers queues need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from taskq.cli.commands import app_option, backend_option, says_errors, store_app
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.table import Table
from taskq.cli.values import few
from taskq.management.autoscale import plain, scaling_of
from taskq.scaling import Hinted


@click.command(cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Queues that the same workers serve; repeat it.")
@click.option("--min", "least", type=int, help="Workers at least.  [default: 1]")
@click.option("--max", "most", type=int, help="Workers at the most.  [default: 100]")
@click.option("--target", type=float, metavar="SECONDS", help="How long a task may wait.  [default: 30]")
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def autoscale(
    app_path: str | None, url: str | None, queues: Sequence[str], as_json: bool, every: float | None, **said: Any
) -> None:
    """Say how many workers queues need: those that are named together, else each by itself."""
    scaling = scaling_of(**{name: value for name, value in said.items() if value is not None})
    app = store_app(app_path, url)

    async def ask() -> Sequence[Hinted]:
        desk = management(app).workers.autoscale
        return [await desk.hint(queues, scaling)] if queues else await desk.each(scaling)

    def told(found: Sequence[Hinted]) -> Any:
        return plain(found[0]) if queues else [plain(hint) for hint in found]

    present(app, ask, Face[Sequence[Hinted]](told, lambda found: [_table(found)]), as_json, every)


def _table(found: Sequence[Hinted]) -> Table:
    rows = [(few(hint.queues), hint.workers, hint.desired, hint.waiting, hint.reason) for hint in found]
    return Table(("queues", "workers", "desired", "waiting", "why"), rows, spare=("why",))
