"""The Postgres backend: PostgreSQL 14 or newer, psycopg 3."""

from __future__ import annotations

from taskq.ports import BackendOptions
from taskq_postgres.backend import PostgresBackend
from taskq_postgres.url import parse

__all__ = ["PostgresBackend", "create_backend"]


def create_backend(url: str, options: BackendOptions) -> PostgresBackend:
    """A backend, not opened yet: `postgresql://user@host/database?schema=taskq&listen=off`.

    Arguments:
        url: what libpq takes, and our own `schema` (default `taskq`; with `_` and the namespace behind it unless that
            is "default") and `listen=off`, for poolers in transaction mode.
        options: see BackendOptions.

    Raises:
        ConfigError: the URL is wrong.
    """
    return PostgresBackend(parse(url, options), options)
