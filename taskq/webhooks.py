"""Webhooks, signed as Standard Webhooks 1.0.0 says (standardwebhooks.com): any of its libraries can verify them.

The signature is an HMAC-SHA256, under each secret in turn, of the id, the time and the body, joined by dots:
`webhook-signature: v1,<base64> v1,<base64>`. The id stays the same when a call is repeated: the far side tells by it
that it has seen one.
"""

from __future__ import annotations

import hmac
import os
import time
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable, Mapping
from typing import Any

from taskq.errors import ConfigError, TaskqError
from taskq.outbound.addresses import Address, Network, Networks
from taskq.outbound.urls import ANY_PORT, PORTS

TOLERANCE = 300.0
"""Seconds that the clocks of sender and receiver may differ, and that a call may take."""
_PREFIX = "TASKQ_WEBHOOKS__"
_MARK = "whsec_"
_LEAST, _MOST = 24, 64
MOST_SECRETS = 8
_NEW_SECRET = "python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""


class BadSignature(TaskqError):
    """A call that was not signed with any of the secrets, or not lately."""


class Webhooks:
    """How an application calls webhooks.

    Arguments:
        secrets: each "whsec_" and the base64 of 24 to 64 random bytes. All sign: to change one, give the new one first,
            tell the receivers, then take the old one away.
        allow: networks that may be called although they are not on the public internet, as "10.1.0.0/16" or as an
            ip_network or ip_address.
        ports: that may be called.

    Raises:
        ConfigError: a secret cannot be one, there is none, or a network or a port is none. It shows no secret.

    >>> Webhooks([f"whsec_{b64encode(bytes(24)).decode()}"])
    Webhooks(secrets=1)
    """

    def __init__(
        self,
        secrets: Iterable[str],
        *,
        allow: Iterable[str | Network | Address] = (),
        ports: Iterable[int] = tuple(PORTS.values()),
    ) -> None:
        self._secrets = _checked_secrets(secrets)
        networks: object = allow
        if isinstance(networks, str) or not isinstance(networks, Iterable):
            raise ConfigError(f"webhooks: allow must be a list of networks, not {allow!r}")
        self.allowed = Networks(networks)
        self.ports = _checked_ports(ports)

    def __repr__(self) -> str:
        return f"Webhooks(secrets={len(self._secrets)})"

    def headers(self, id: str, body: bytes, now: float | None = None) -> dict[str, str]:
        """The headers of a call.

        Arguments:
            id: of what is told; the same when it is told again.
            body: as it is sent.
            now: seconds since 1970; None: by the clock of this process.
        """
        moment = str(int(time.time() if now is None else now))
        signatures = [f"v1,{_signature(secret, id, moment, body)}" for secret in self._secrets]
        return {"webhook-id": id, "webhook-timestamp": moment, "webhook-signature": " ".join(signatures)}


def verify(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, now: float | None = None) -> str:
    """Check a call that was received.

    Arguments:
        secrets: any of which may have signed it.
        headers: of the request, with names in whatever case.
        body: as it came, before anybody has parsed it.
        now: seconds since 1970; None: by the clock of this process.

    Returns:
        The id: a call whose id was seen before is one that was repeated, as its first answer may have been lost.

    Raises:
        BadSignature: none of the secrets has signed it, or the time of it is more than five minutes away.
        ConfigError: a secret cannot be one.
        TypeError: the body is no bytes: it was decoded, or parsed, already.

    >>> secret = f"whsec_{b64encode(bytes(24)).decode()}"
    >>> verify([secret], Webhooks([secret]).headers("msg_1", b"{}"), b"{}")
    'msg_1'
    """
    keys = _checked_secrets(secrets)
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"the body must be bytes, as it came, not {type(body).__name__}")
    told: Iterable[tuple[Any, Any]] = headers.items()
    lower = {name.lower(): value for name, value in told if isinstance(name, str) and isinstance(value, str)}
    id, moment, given = (lower.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not moment.isascii() or not moment.isdigit() or len(moment) > 12:
        raise BadSignature("the call has no webhook-timestamp")
    if abs((time.time() if now is None else now) - int(moment)) > TOLERANCE:
        raise BadSignature("the call is not of now: its webhook-timestamp is more than five minutes away")
    right = [f"v1,{_signature(key, id, moment, body)}".encode() for key in keys]
    # Each with each, and none is left out: the time it takes tells nothing of what was right.
    matches = [
        hmac.compare_digest(one, other.encode("utf-8", "replace")) for one in right for other in given.split(" ")[:16]
    ]
    if not any(matches):
        raise BadSignature("the call was signed with none of the secrets")
    return id


def webhooks_from_environment(environment: Mapping[str, str] = os.environ) -> Webhooks | None:
    """What TASKQ_WEBHOOKS__SECRETS, __ALLOW and __PORTS say, each a list with commas.

    Returns:
        None where no secret is said: who only enqueues needs none.

    Raises:
        ConfigError: see Webhooks; or one of the variables is unknown.

    >>> webhooks_from_environment({}) is None
    True
    """
    said = {name.removeprefix(_PREFIX): value for name, value in environment.items() if name.startswith(_PREFIX)}
    if not said:
        return None
    lists = {name: [part.strip() for part in said.pop(name, "").split(",") if part.strip()] for name in _VARIABLES}
    if said:
        unknown = ", ".join(sorted(_PREFIX + name for name in said))
        raise ConfigError(f"{unknown}: there are only {', '.join(_PREFIX + name for name in _VARIABLES)}")
    try:
        ports = [int(port) for port in lists["PORTS"]] or list(PORTS.values())
    except ValueError:
        raise ConfigError(f"{_PREFIX}PORTS must be numbers with commas between them") from None
    if not lists["SECRETS"]:
        return None
    return Webhooks(lists["SECRETS"], allow=lists["ALLOW"], ports=ports)


_VARIABLES = ("SECRETS", "ALLOW", "PORTS")


def _signature(secret: bytes, id: str, moment: str, body: bytes) -> str:
    return b64encode(
        hmac.digest(secret, b"%b.%b.%b" % (id.encode("utf-8", "replace"), moment.encode(), body), "sha256")
    ).decode()


def _checked_secrets(secrets: object) -> tuple[bytes, ...]:
    given = list(secrets) if isinstance(secrets, Iterable) and not isinstance(secrets, str | bytes) else [secrets]
    if not given:
        raise ConfigError(f"webhooks: there is no secret to sign with: make one by {_NEW_SECRET}")
    if len(given) > MOST_SECRETS:
        raise ConfigError(f"webhooks: there may be {MOST_SECRETS} secrets at once, not {len(given)}")
    return tuple(_checked_secret(number, secret) for number, secret in enumerate(given, 1))


def _checked_secret(number: int, secret: object) -> bytes:
    what = f"webhooks: secret {number}"
    if not isinstance(secret, str) or not secret.startswith(_MARK):
        raise ConfigError(f"{what} must be text that begins with {_MARK}: make one by {_NEW_SECRET}")
    try:
        key = b64decode(secret.removeprefix(_MARK), validate=True)
    except (Error, ValueError):
        raise ConfigError(f"{what} is no base64 after {_MARK}: make one by {_NEW_SECRET}") from None
    if not _LEAST <= len(key) <= _MOST:
        raise ConfigError(f"{what} must have {_LEAST} to {_MOST} bytes, not {len(key)}: make one by {_NEW_SECRET}")
    return key


def _checked_ports(ports: object) -> frozenset[int]:
    given: list[Any] = list(ports) if isinstance(ports, Iterable) and not isinstance(ports, str) else [ports]
    if not given:
        raise ConfigError("webhooks: there must be a port that may be called")
    for port in given:
        if not isinstance(port, int) or isinstance(port, bool) or port not in ANY_PORT:
            raise ConfigError(f"webhooks: a port must be a whole number from 1 to 65,535, not {port!r}")
    return frozenset(given)
