"""The URL: libpq's own, and our parameters, which libpq never sees."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskq.errors import ConfigError
from taskq.ports import BackendOptions

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,39}")
EXAMPLE = "postgresql://user@host/database?schema=taskq&listen=off"


class Target(NamedTuple):
    """Where to connect, and how."""

    conninfo: str
    schema: str
    is_listening: bool
    """Whether the connections are the server's own: LISTEN and prepared statements work."""


def parse(url: str, options: BackendOptions) -> Target:
    """Read a URL.

    Raises:
        ConfigError: a part of it is wrong; the password is never shown.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = _schema(query.pop("schema", "taskq"), options.namespace)
    listen = query.pop("listen", "on")
    if listen not in ("on", "off"):
        raise ConfigError(f"listen={listen!r} in the Postgres URL: write listen=on or listen=off")
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigError(f"a Postgres URL begins with postgresql://: {EXAMPLE}")
    # By hand, because `urlunsplit` leaves out the slashes of a URL without a host, which is one of a local socket.
    plain = f"postgresql://{parts.netloc}{parts.path}?{urlencode(query, quote_via=quote)}"
    defaults: dict[str, str | int] = {
        "application_name": "taskq",
        "connect_timeout": max(2, round(options.connect_timeout)),
        "tcp_user_timeout": round(options.command_timeout * 1000),
        "target_session_attrs": "read-write",
    }
    try:
        given = conninfo_to_dict(plain)
    except psycopg.Error:
        # libpq's own message may repeat the URL, with the password.
        raise ConfigError(f"the Postgres URL cannot be read: write it like {EXAMPLE}") from None
    return Target(make_conninfo(plain, **{k: v for k, v in defaults.items() if k not in given}), schema, listen == "on")


def _schema(schema: str, namespace: str) -> str:
    name = schema if namespace == "default" else f"{schema}_{namespace}"
    if not _IDENTIFIER.fullmatch(name):
        raise ConfigError(
            f"schema {name!r}: a schema (with `_` and the namespace) is at most 40 lower-case letters, digits and `_`"
        )
    return name
