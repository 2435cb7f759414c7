"""What travels with a task beside its arguments, and only the workers and the operators read."""

from __future__ import annotations

from typing import Any

import msgspec

from taskq.errors import CorruptRecord


class Headers(msgspec.Struct, omit_defaults=True, frozen=True):
    """Said at the call; what is not said is the task's own."""

    metadata: dict[str, Any] = {}
    retry: dict[str, Any] | None = None
    """A retry policy as plain data (taskq.domain.retry.from_dict)."""
    timeout: float | None = None
    trace: dict[str, str] = {}
    """What a tracing middleware carries from the enqueue to the run."""


EMPTY = Headers()
_decoder = msgspec.json.Decoder(Headers)


def encode_headers(headers: Headers) -> bytes:
    """The headers as JSON, b"" where nothing is said."""
    return b"" if headers == EMPTY else msgspec.json.encode(headers)


def decode_headers(data: bytes) -> Headers:
    """Read what `encode_headers` wrote; a field of a later release is left out.

    Raises:
        CorruptRecord: it is no such JSON.
    """
    if not data:
        return EMPTY
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"the headers of the task cannot be read: {error}") from None
