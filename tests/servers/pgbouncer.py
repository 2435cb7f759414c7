"""A private PgBouncer."""

from __future__ import annotations

import os
import shutil
from urllib.parse import urlsplit

from tests.servers.base import Server, ServerError, unprivileged

CONFIG = """\
[databases]
* = host={host} port={target_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 50
max_client_conn = 500
server_idle_timeout = 1
ignore_startup_parameters = extra_float_digits
"""


class PgBouncer(Server):
    """A PgBouncer in transaction mode before a PostgreSQL; the program is Debian's, found on PATH.

    It passes on every database of that server, also those made later.

    Args:
        postgres: URL of the server behind it.
    """

    def __init__(self, postgres: str) -> None:
        self._postgres = urlsplit(postgres)
        super().__init__()

    @property
    def url(self) -> str:
        """`postgresql://postgres@127.0.0.1:PORT/postgres`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _owner(self) -> tuple[int, int] | None:
        return unprivileged()

    def _command(self) -> list[str]:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise ServerError("pgbouncer is not installed; on Debian: apt-get install pgbouncer")
        users, config = self.folder / "users.txt", self.folder / "pgbouncer.ini"
        users.write_text('"postgres" ""\n')
        config.write_text(
            CONFIG.format(
                host=self._postgres.hostname, target_port=self._postgres.port or 5432, port=self.port, users=users
            )
        )
        return [program, str(config)]

    def _ready(self) -> bool:
        # It says so once it listens, which a stranger on the same port would prevent.
        return "process up" in self.log.read_text(errors="replace")
