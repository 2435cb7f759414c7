"""Digests of idempotency keys: whose are remembered, and for how long."""

from __future__ import annotations

import psycopg
import pytest

from taskq.domain.state import TaskState
from taskq.ports import EnqueueStatus
from taskq.testing.conformance import Bench

CREATED, DUPLICATE, CONFLICT = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.CONFLICT


@pytest.mark.parametrize("digest", ["a", "b"])
async def test_a_digest_that_ran_out_says_nothing_though_it_is_not_pruned_yet(
    bench: Bench, postgres_url: str, digest: str
) -> None:
    message = await bench.put(digest="a")
    execute(postgres_url, "delete from taskq.task; update taskq.digest set forget_at = now() - interval '1 s'")
    fresh, repeated = message._replace(digest=digest), message._replace(digest="c")
    assert await bench.enqueue(fresh, fresh) == [CREATED, DUPLICATE]
    assert await bench.counts() == {TaskState.PENDING: 1}
    assert await bench.enqueue(repeated) == [CONFLICT]


async def test_a_duplicate_leaves_no_digest_behind(bench: Bench) -> None:
    message = await bench.put()
    for digest in ("a", "b"):
        assert await bench.enqueue(message._replace(digest=digest)) == [DUPLICATE]


async def test_a_duplicate_leaves_no_digest_behind_within_one_call(bench: Bench) -> None:
    message = bench.message()
    batch = [message, message._replace(digest="a"), message._replace(digest="b")]
    assert await bench.enqueue(*batch) == [CREATED, DUPLICATE, DUPLICATE]
    assert await bench.enqueue(message._replace(digest="c")) == [DUPLICATE]


async def test_what_has_ended_leaves_no_digest_behind(bench: Bench) -> None:
    message = await bench.put()
    await bench.backend.broker.cancel([message.id])
    for digest in ("a", "b"):
        assert await bench.enqueue(message._replace(digest=digest)) == [DUPLICATE]


async def test_a_refused_batch_leaves_no_digest_behind(bench: Bench) -> None:
    first, second = await bench.put(digest="a"), bench.message(digest="b")
    assert await bench.enqueue(first._replace(digest="x"), second, atomic=True) == [CONFLICT, CONFLICT]
    assert await bench.enqueue(second._replace(digest="c")) == [CREATED]


def execute(url: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text)
