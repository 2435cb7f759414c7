"""`taskq workflows …` and `taskq batches …`: ending them, and starting them anew, whole or in part."""

from __future__ import annotations

import json

import click

from taskq.app import App
from taskq.cli.commands import FAILED, run, says_errors, store_app, within
from taskq.cli.flows import batches, in_both, known, of_one, plain_flow, summary, workflows
from taskq.cli.manage import management
from taskq.domain.flow import FlowKind, FlowRecord, FlowState
from taskq.telemetry.logs import printable


@in_both
@click.command()
@of_one
@click.option("--reason", default="", help="Why, for people.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
@says_errors()
def cancel(
    kind: FlowKind, app_path: str | None, url: str | None, id: str, reason: str, yes: bool, as_json: bool
) -> None:
    """Cancel what has not ended of ID.

    What waits ends at once; of what runs the workers are told.
    """
    app = store_app(app_path, url)
    flow = run(within(app, lambda: known(app, kind, id)))
    if not (yes or _is_over(flow)):
        what = f"{flow.tally.pending:,} tasks of the {kind} {printable(flow.name)}"
        click.confirm(f"cancel {what}?", abort=True, err=True)
    is_cancelled, flow = run(within(app, lambda: _end(app, kind, id, reason)))
    if not is_cancelled:
        click.echo(f"taskq: nothing was cancelled: the {kind} has ended, as {flow.state}", err=True)
        raise SystemExit(FAILED)
    click.echo(json.dumps(plain_flow(flow)) if as_json else summary(flow))


async def _end(app: App, kind: FlowKind, id: str, reason: str) -> tuple[bool, FlowRecord]:
    """Cancel one; returns whether it had not ended, and how it is now."""
    is_over = _is_over(await known(app, kind, id))
    is_cancelled = not is_over and await management(app).flows.cancel(kind, id, reason)
    return is_cancelled, await known(app, kind, id)


def _is_over(flow: FlowRecord) -> bool:
    """Whether there is nothing left to cancel, even if its end is not noted yet."""
    return flow.state not in (FlowState.OPEN, FlowState.RUNNING)


@in_both
@click.command()
@of_one
@click.option("--only-failed", is_flag=True, help="Not what was cancelled, or has failed because another task had.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
@says_errors()
def retry(kind: FlowKind, app_path: str | None, url: str | None, id: str, only_failed: bool, as_json: bool) -> None:
    """Start anew what has failed of ID.

    That is each task that has failed, died, expired or was cancelled, behind those for which it waits. With
    --only-failed it is those that have failed by themselves: a task that was cancelled, or has failed because one for
    which it waited had, stays as it is. Attempts count from the first again.
    """
    app = store_app(app_path, url)

    async def act() -> int:
        await known(app, kind, id)
        return await management(app).flows.retry(kind, id, only_failed=only_failed)

    started = run(within(app, act))
    click.echo(json.dumps({"started": started}) if as_json else f"{started:,} were started anew")


@workflows.command()
@of_one
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
@says_errors()
def again(kind: FlowKind, app_path: str | None, url: str | None, id: str, as_json: bool) -> None:
    """Enqueue all of ID anew, as another run; prints its id.

    Its tasks are as their records are, also those that have completed: as they were enqueued, but after a retry or a
    redrive without their expiry, and in the queue into which that has put them. ID stays as it is.
    """
    app = store_app(app_path, url)

    async def act() -> str:
        await known(app, kind, id)
        return (await management(app).flows.again(id)).id

    other = run(within(app, act))
    click.echo(json.dumps({"id": other}) if as_json else other)


@batches.command()
@of_one
@click.pass_obj
@says_errors()
def close(kind: FlowKind, app_path: str | None, url: str | None, id: str) -> None:
    """Have no more tasks come to ID but from its own.

    It is for a batch that stays open because its process has died, so that it can end and its callbacks come.
    """
    app = store_app(app_path, url)

    async def act() -> FlowRecord:
        await known(app, kind, id)
        await management(app).flows.close(id)
        return await known(app, kind, id)

    click.echo(summary(run(within(app, act))))
