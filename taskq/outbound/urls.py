"""URLs that users name: read strictly, so that nobody who reads one after us reads another."""

from __future__ import annotations

import re
from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import urlsplit

from taskq.errors import InvalidOption

LONGEST = 2048
PORTS = {"http": 80, "https": 443}
ANY_PORT = range(1, 65536)
"""Where what is allowed is not known yet."""
# RFC 3986, less what only confuses: no user, no fragment, nothing that is not ASCII.
_WRITTEN = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")


class Target(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    """A name, or an address without brackets; in lower case."""
    port: int
    path: str
    """With the query, which may hold a secret: it is not shown."""

    def __repr__(self) -> str:
        return f"Target({self.scheme}://{self.host}:{self.port})"

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host, where it is an address."""
        try:
            return IPv6Address(self.host) if ":" in self.host else IPv4Address(self.host)
        except ValueError:
            return None


def read_url(option: str, url: object, ports: Container[int] = frozenset(PORTS.values())) -> Target:
    """Read a URL that a request is to go to.

    Arguments:
        option: what the URL was given as, for the messages.
        url: http or https, at most 2,048 characters, ASCII; a host with other letters is written in punycode.
        ports: those that are allowed.

    Raises:
        InvalidOption: it is none, or asks for what is not allowed; the message does not show it, for it may hold a
            secret.

    >>> read_url("on_complete_url", "https://example.com/done?key=1")
    Target(https://example.com:443)
    >>> read_url("on_complete_url", "http://a:b@example.com/")
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: on_complete_url must have no user and no password
    """
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST or not _WRITTEN.fullmatch(url):
        raise InvalidOption(
            f"{option} must be the text of a URL such as https://example.com/done: ASCII, at most {LONGEST:,} "
            "characters, no space, no fragment"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidOption(f"{option}: its host or its port cannot be read") from None
    if parts.scheme not in PORTS or not url.lower().startswith(f"{parts.scheme}://"):
        raise InvalidOption(f"{option} must begin with https:// or http://")
    if "%" in parts.netloc:
        raise InvalidOption(f"{option}: its host must be written as it is, without % and without a zone")
    if "@" in parts.netloc:
        raise InvalidOption(f"{option} must have no user and no password")
    port = PORTS[parts.scheme] if port is None else port
    if port not in ports:
        raise InvalidOption(f"{option}: port {port} is not one of those that are allowed")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(parts.scheme, (parts.hostname or "").lower(), port, path)
    if target.address is None and not _is_name(target.host):
        raise InvalidOption(
            f"{option}: its host must be a name or an address, as example.com, 203.0.113.7 or [2001:db8::7]"
        )
    return target


def _is_name(host: str) -> bool:
    """Whether a host is a name: one that ends in a number is read as an address by some, 0x7f.1 and 2130706433 too."""
    if len(host) > 253 or not _NAME.fullmatch(host):
        return False
    last = host.rstrip(".").rpartition(".")[2]
    return not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)
