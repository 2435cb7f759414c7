"""The statements: one file each in `sql/`, named after the port's method, with the schema's name put in."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from taskq.domain.limits import CUT_EVERY, LEAST_SHARE, LOOK_AGAIN, RECOVERY
from taskq.domain.message import DEAD_RETENTION, DEFAULT_RETENTION, DIGEST_RETENTION, TOMBSTONE
from taskq.domain.record import HISTORY_LIMIT, LOG_LIMIT, DeadReason
from taskq.domain.routing import AGED_EVERY, NOISY_LEAST, NOISY_SHARE
from taskq.ports.queues import DEFAULT_MAX_SIZE, DEFAULT_WARN_AT

PROMOTE_PER_FETCH = 200
"""Due tasks of a queue that a claim makes ready at most."""
GATE_ROUNDS = 5
"""Times that a claim looks for others where limits held back what it had found."""
GATE_REACH = 200
"""Tasks that it looks at then, beyond those that it may take."""
COUNTED_SIZE = 10_000
"""Up to this size a queue is counted with each enqueue; a larger one now and then."""
KEPT_LOAD = 500
"""From so many tasks on of a tenant their number is kept for a moment."""
NOISY_REACH = 500
"""Tasks at the head of a lane among which a claim counts those that run."""
JOINS_PER_STEP = 1000
"""Tasks that one statement tells of the end of others."""
COUNT_WITHIN = 8
"""Seconds that the workers have for it, which reap every 4.4: then who enqueues counts, because there are none."""
CONSTANTS: dict[str, object] = {
    "aged_every": AGED_EVERY,
    "noisy_least": NOISY_LEAST,
    "noisy_share": NOISY_SHARE,
    "noisy_reach": NOISY_REACH,
    "count_within": COUNT_WITHIN,
    "counted_size": COUNTED_SIZE,
    "cut_every": CUT_EVERY,
    "dead_retention": int(DEAD_RETENTION),
    "digest_retention": int(DIGEST_RETENTION),
    "gate_reach": GATE_REACH,
    "gate_rounds": GATE_ROUNDS,
    "history_limit": HISTORY_LIMIT,
    "kept_load": KEPT_LOAD,
    "joins_per_step": JOINS_PER_STEP,
    "least_share": LEAST_SHARE,
    "log_limit": LOG_LIMIT,
    "look_again": LOOK_AGAIN,
    "max_size": DEFAULT_MAX_SIZE,
    "parent_failed": DeadReason.PARENT_FAILED,
    "poison": DeadReason.POISON,
    "promote_per_fetch": PROMOTE_PER_FETCH,
    "recovery": RECOVERY,
    "rounding": 1e-3,
    "tombstone": int(TOMBSTONE),
    "usual_retention": int(DEFAULT_RETENTION),
    "warn_at": DEFAULT_WARN_AT,
}
"""What the functions of the schema know of the domain, by the names under which the migrations speak of it. One that
changes needs a migration, which makes anew what was made with the old value."""

RECORD = """r.id::text, r.name, r.queue, r.state, r.lease_until is not null, r.priority, r.lane_group, r.tenant, r.body,
    r.created_at, r.due_at, r.expires_at, r.started_at, r.completed_at, r.fence, r.settled_fence, r.attempt,
    r.lost_leases, r.max_lost_leases, r.dead_letter, r.retention, r.worker, r.cancel_requested, r.result, r.reason,
    r.failure, r.history, r.progress, r.checkpoint, r.logs, r.gates, r.waits_at, r.unique_key, r.unique_until,
    r.unique_ttl, r.parents, r.flow::text, r.tags"""
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
