"""Ping a store until the standard input ends, then print how long the longest took: `python -m benchmarks.pings URL`.

A process of its own: it sees how long the store lets others wait, and not what keeps the one that asks it busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import sys
import time
from collections.abc import AsyncIterator, Callable


def pings(url: str) -> Callable[[], object]:
    """What sends one ping and waits for its answer."""
    if url.startswith("redis"):
        import redis

        return redis.Redis.from_url(url).ping
    import psycopg

    connection = psycopg.connect(url.replace("postgres://", "postgresql://"), autocommit=True)
    return lambda: connection.execute("select 1").fetchone()


def main(url: str) -> None:
    """Ping every few milliseconds."""
    ping, longest = pings(url), 0.0
    ping()
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        start = time.perf_counter()
        ping()
        longest = max(longest, time.perf_counter() - start)
    print(longest, flush=True)


class Longest:
    """The longest ping of a while."""

    seconds = 0.0


@contextlib.asynccontextmanager
async def pinged(url: str) -> AsyncIterator[Longest]:
    """Ping a store during a block; the longest is known at its end."""
    pipe, longest = asyncio.subprocess.PIPE, Longest()
    command = [sys.executable, "-m", "benchmarks.pings", url]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        yield longest
    finally:
        process.stdin.close()
        longest.seconds = float(await process.stdout.readline())
        await process.wait()


if __name__ == "__main__":
    main(sys.argv[1])
