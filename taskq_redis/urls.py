"""What the URL of a Redis backend says."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from taskq.errors import ConfigError
from taskq_redis.connection import Address, Login

FORMS = (
    "redis://[user:password@]host:port/db, rediss://…, redis+cluster://host:port[,host:port]?shards=4, "
    "redis+sentinel://host:port[,host:port]/service/db"
)
MOST_SHARDS = 256
_PARAMETERS = frozenset({"shards", "tls", "ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where the store is, and how it is laid out."""

    kind: str
    """"redis", "cluster" or "sentinel"."""
    addresses: tuple[Address, ...]
    login: Login
    shards: int = 1
    service: str = ""
    """The name under which the sentinels know the master."""


def parse(url: str) -> Target:
    """Read a URL.

    Raises:
        ConfigError: it is none of the forms; the message never holds the password.

    >>> parse("redis://:secret@db.internal/2?shards=4")
    Target(kind='redis', addresses=(Address(host='db.internal', port=6379),), login=Login(user='', database=2), \
shards=4, service='')
    >>> parse("redis+sentinel://a:26379,b:26379/mymaster/1").service
    'mymaster'
    """
    parts = urlsplit(url)
    kind = parts.scheme.removeprefix("redis+") if parts.scheme.startswith("redis+") else "redis"
    if parts.scheme not in ("redis", "rediss", "redis+cluster", "redis+sentinel"):
        raise ConfigError(f"{parts.scheme!r} is not the scheme of a Redis URL; write one of {FORMS}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(query) - _PARAMETERS)
    if unknown:
        raise ConfigError(f"the Redis URL has an unknown parameter {unknown[0]!r}; known are {sorted(_PARAMETERS)}")
    service, database = _path(kind, parts)
    user, password, hosts = _authority(parts)
    addresses = tuple(_address(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(","))
    is_tls = parts.scheme == "rediss" or query.get("tls") in ("1", "true", "yes")
    login = Login(user, password, database, _tls(query) if is_tls else None)
    return Target(kind, addresses, login, _shards(query.get("shards", "1")), service)


def _authority(parts: SplitResult) -> tuple[str, str, str]:
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    return unquote(user), unquote(password), hosts or "localhost"


def _path(kind: str, parts: SplitResult) -> tuple[str, int]:
    words = [unquote(word) for word in parts.path.split("/") if word]
    service = ""
    if kind == "sentinel":
        if not words:
            raise ConfigError("the Redis URL names no service of the sentinels: redis+sentinel://host:port/service/db")
        service = words.pop(0)
    database = words.pop(0) if words else "0"
    if words or not database.isdecimal() or (kind == "cluster" and database != "0"):
        # With a slash too few the password is part of the path.
        path = "the path" if "@" in parts.path else f"the path {parts.path!r}"
        raise ConfigError(f"{path} of the Redis URL is not a database number; write one of {FORMS}")
    return service, int(database)


def _address(text: str, default_port: int) -> Address:
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port = text, str(default_port)
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(f"{port!r} in the Redis URL is not a port")
    return Address(host.strip("[]") or "localhost", int(port))


def _shards(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_SHARDS:
        raise ConfigError(f"shards={text} in the Redis URL: it must be from 1 to {MOST_SHARDS}")
    return int(text)


def _tls(query: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
        if "ssl_certfile" in query:
            context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
    except OSError as error:
        raise ConfigError(f"a certificate file of the Redis URL cannot be read: {error}") from None
    if query.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
