"""A message as text, for stores that keep one for later."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from taskq.domain.limits import pack_limits, unpack_limits
from taskq.domain.message import Message
from taskq.domain.unique import UniqueKey, Until
from taskq.domain.workflow import Edge, OnParentFailure

_DEFAULTS = Message("", "")._asdict()


def pack_message(message: Message) -> str:
    """A message as a JSON object; what is as usual is left out.

    >>> pack_message(Message("5b", "mail.send", b"{}", queue="mail"))
    '{"id":"5b","name":"mail.send","body":"e30=","queue":"mail"}'
    """
    fields = {key: value for key, value in message._asdict().items() if value != _DEFAULTS[key]}
    fields["body"] = b64encode(message.body).decode()
    if message.limits:
        fields["limits"] = pack_limits(message.limits)
    return json.dumps(fields, separators=(",", ":"))


def unpack_message(text: str | bytes) -> Message:
    """Read what `pack_message` wrote; a field of a later release is left out.

    >>> unpack_message(pack_message(Message("5b", "mail.send", b"{}", unique=UniqueKey("k", ttl=5.0)))).unique
    UniqueKey(key='k', until=<Until.DONE: 'done'>, ttl=5.0)
    """
    given: dict[str, Any] = json.loads(text)
    fields = {key: value for key, value in given.items() if key in _DEFAULTS}
    fields["body"] = b64decode(fields["body"])
    if "unique" in fields:
        key, until, ttl = fields["unique"]
        fields["unique"] = UniqueKey(key, Until(until), ttl)
    if "limits" in fields:
        fields["limits"] = unpack_limits(fields["limits"])
    if "parents" in fields:
        fields["parents"] = tuple(Edge(id, OnParentFailure(policy)) for id, policy in fields["parents"])
    fields["tags"] = tuple(fields.get("tags", ()))
    return Message(**fields)
