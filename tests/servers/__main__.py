"""Run a command with a private server: `python -m tests.servers redis -- COMMAND … {url} …`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from tests.servers import PgBouncer, PostgresServer, RedisServer, Server

USAGE = "usage: python -m tests.servers redis|postgres|pgbouncer [NAME={url} …] -- COMMAND [ARGUMENT | {url}] …"


def main(arguments: list[str]) -> int:
    """Start the server, run the command and return its exit status.

    Args:
        arguments: the kind of server; assignments of environment variables; `--`; the command. In the assignments and
            in the command, `{url}` stands for the server's URL.
    """
    if "--" not in arguments or arguments[0] not in ("redis", "postgres", "pgbouncer"):
        print(USAGE, file=sys.stderr)
        return 2
    split = arguments.index("--")
    kind, assignments, command = arguments[0], arguments[1:split], arguments[split + 1 :]
    with contextlib.ExitStack() as stack:
        url = _start(kind, stack).url
        env = dict(assignment.replace("{url}", url).split("=", 1) for assignment in assignments)
        return subprocess.run([word.replace("{url}", url) for word in command], env={**os.environ, **env}).returncode


def _start(kind: str, stack: contextlib.ExitStack) -> Server:
    if kind == "redis":
        return stack.enter_context(RedisServer())
    postgres = stack.enter_context(PostgresServer())
    return postgres if kind == "postgres" else stack.enter_context(PgBouncer(postgres.url))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
