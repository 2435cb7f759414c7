"""`taskq migrate`."""

from __future__ import annotations

import click

from taskq.app import App
from taskq.backends import create_backend, redact
from taskq.cli.commands import app_option, app_or_store, backend_option, run, says_errors, tell_damage
from taskq.errors import CapabilityMissing


@click.command()
@app_option(required=False)
@backend_option
@click.option("--sql", "print_sql", is_flag=True, help="Print the SQL instead, for those who run their own migrations.")
@says_errors()
def migrate(app_path: str | None, url: str | None, print_sql: bool) -> None:
    """Bring the store's schema up to date; safe to repeat, also from several places at once."""
    app = app_or_store(app_path, url)
    if print_sql:
        script = getattr(app.stores.root, "migration_sql", None)
        if script is None:
            raise CapabilityMissing(f"{redact(app.url)} has no schema, and so no SQL")
        click.echo(script())
        return

    async def bring_up() -> list[str]:
        steps = []
        for url in _urls(app):
            async with create_backend(url, app.stores.impatient_options) as backend:
                await tell_damage(backend)
                steps += await backend.migrate()
        return steps

    steps = run(bring_up())
    for step in steps:
        click.echo(step)
    click.echo("the schema is up to date" if not steps else f"{len(steps)} migrations were applied")


def _urls(app: App) -> list[str]:
    """The stores of an application: of its tasks, and of its results where they are kept apart."""
    return [app.url, *([] if app.stores.results_url is None else [app.stores.results_url])]
