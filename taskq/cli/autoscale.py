"""`taskq autoscale`, and `taskq workers autoscale`: how many workers queues need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, says_errors, store_app
from taskq.cli.completing import queue_names
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.table import Table
from taskq.cli.values import SECONDS, few
from taskq.errors import ConfigError
from taskq.management.autoscale import external_metric, plain
from taskq.scaling import Hinted
from taskq.scaling_rules import scaling_of


@click.command(cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--queue", "queues", multiple=True, metavar="NAME", shell_complete=queue_names,
              help="Queues that the same workers serve; repeat it.")  # fmt: skip
@click.option("--group", metavar="NAME", help="The queues of this group of the configuration.")
@click.option("--min", type=int, help="Workers at least.  [default: as configured, else 1]")
@click.option("--max", type=int, help="Workers at the most.  [default: as configured, else 100]")
@click.option("--target", type=SECONDS, help="How long a task may wait.  [default: as configured, else 30s]")
@click.option("--format", "form", type=click.Choice(["table", "json", "keda"]), default="table", show_default=True,
              help="keda: one number, as its scaler metrics-api reads it.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As --format json.")
@watch_option()
@says_errors()
def autoscale(
    app_path: str | None, url: str | None, queues: Sequence[str], group: str | None, form: str, as_json: bool,
    every: float | None, **said: Any,
) -> None:  # fmt: skip
    """Say how many workers queues need: those that are named together, those of a group, else each by itself.

    Queues of a group are told of together; bounds and groups are those of the section autoscale of the configuration.
    """
    if queues and group is not None:
        raise ConfigError("give --queue or --group, not both")
    is_one = bool(queues) or group is not None
    if form == "keda" and not is_one:
        raise ConfigError("--format keda is one number: say of what, with --queue or --group")
    app = store_app(app_path, url)
    given = {name: value for name, value in said.items() if value is not None}

    def told(found: Sequence[Hinted]) -> Any:
        if form == "keda":
            return external_metric(found[0])
        return plain(found[0]) if is_one else [plain(hint) for hint in found]

    face = Face[Sequence[Hinted]](told, lambda found: [_table(found)])
    present(app, lambda: _asked(app, queues, group, given), face, as_json or form != "table", every)


async def _asked(app: App, queues: Sequence[str], group: str | None, given: dict[str, Any]) -> Sequence[Hinted]:
    desk = management(app).workers.autoscale
    if group is not None:
        return [await desk.group(group, scaling_of(desk.group_of(group).scaling, **given))]
    scaling = scaling_of(desk.configured.scaling, **given)
    if queues:
        return [await desk.hint(queues, scaling)]
    return await desk.each(scaling if given else None)


def _table(found: Sequence[Hinted]) -> Table:
    rows = [(hint.group or few(hint.queues), hint.workers, hint.desired, hint.waiting, hint.reason) for hint in found]
    return Table(("queues", "workers", "desired", "waiting", "why"), rows, spare=("why",))
