"""Real servers for tests, each private to the run: its own port, its own folder, gone without a trace at the end."""

from tests.servers.base import Server, ServerError, free_port, wait_until
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

__all__ = ["PgBouncer", "PostgresServer", "RedisServer", "Server", "ServerError", "free_port", "wait_until"]
