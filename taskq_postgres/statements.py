"""The statements: one file each in `sql/`, named after the port's method, with the schema's name put in."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from taskq.domain.message import DEAD_RETENTION, DEFAULT_RETENTION, DIGEST_RETENTION, TOMBSTONE
from taskq.domain.record import HISTORY_LIMIT, LOG_LIMIT, DeadReason
from taskq.domain.routing import AGED_EVERY

PROMOTE_PER_FETCH = 200
"""Due tasks of a queue that a claim makes ready at most."""
CONSTANTS: dict[str, object] = {
    "aged_every": AGED_EVERY,
    "dead_retention": int(DEAD_RETENTION),
    "digest_retention": int(DIGEST_RETENTION),
    "history_limit": HISTORY_LIMIT,
    "log_limit": LOG_LIMIT,
    "poison": DeadReason.POISON,
    "promote_per_fetch": PROMOTE_PER_FETCH,
    "tombstone": int(TOMBSTONE),
    "usual_retention": int(DEFAULT_RETENTION),
}
"""What the functions of the schema know of the domain, by the names under which the migrations speak of it. One that
changes needs a migration, which makes anew what was made with the old value."""

RECORD = """r.id::text, r.name, r.queue, r.state, r.lease_until is not null, r.priority, r.lane_group, r.tenant, r.body,
    r.created_at, r.due_at, r.expires_at, r.started_at, r.completed_at, r.fence, r.settled_fence, r.attempt,
    r.lost_leases, r.max_lost_leases, r.dead_letter, r.retention, r.worker, r.cancel_requested, r.result, r.reason,
    r.failure, r.history, r.progress, r.checkpoint, r.logs"""
"""What `record.to_record` reads, in its order, from a row `r`."""


@cache
def statements(schema: str) -> dict[str, str]:
    """All statements by name.

    Arguments:
        schema: the name of the schema, a valid identifier.
    """
    folder = files(__package__).joinpath("sql")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return {name.removesuffix(".sql"): with_schema(folder.joinpath(name).read_text("utf-8"), schema) for name in names}


def with_constants(text: str) -> str:
    """Put the domain's constants into the text of a migration."""
    for name, value in CONSTANTS.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def with_schema(text: str, schema: str) -> str:
    """Put the schema's name into the text of a statement or migration."""
    return text.replace("{record}", RECORD).replace("{schema}", f'"{schema}"').replace("{literal}", f"'{schema}'")
