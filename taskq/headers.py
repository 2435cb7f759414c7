"""What travels with a task beside its arguments, and only the workers and the operators read.

Headers and arguments are both JSON; what they may not hold is said here.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from taskq.errors import CorruptRecord

MAX_DEPTH = 64
"""Brackets within brackets that JSON may have here: any process can read that, whatever its own stack."""
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE = bytes.maketrans(b"{}", b"[]")


class Headers(msgspec.Struct, omit_defaults=True, frozen=True):
    """Said at the call; what is not said is the task's own."""

    metadata: dict[str, Any] = {}
    retry: dict[str, Any] | None = None
    """A retry policy as plain data (taskq.domain.retry.from_dict)."""
    timeout: float | None = None
    trace: dict[str, str] = {}
    """What a tracing middleware carries from the enqueue to the run."""
    retention: float | None = None
    """Seconds, said only where the result is kept apart from the task's record, which has it otherwise."""
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Of the arguments (taskq.versions)."""
    encrypted: bool = False
    """Whether the payload is (taskq.crypto): this says it, and not how the payload looks."""
    soft_timeout: float | None = None
    flow: str = ""
    """The workflow or batch of which it is a member."""
    node: str = ""
    """Its name in a workflow."""
    parents: list[str] | None = None
    """The names of the tasks for which it has waited, [] where they have none; None: it has waited for nobody."""
    inputs: list[str] = []
    """Parameters whose place in the payload says which results they are made of (taskq.inputs)."""
    place: int | None = None
    """Where it stands among the tasks with which its workflow was enqueued; None: it was added later."""
    delay: float | None = None
    eta: float | None = None
    """Of a task of a workflow, for when that is run again."""
    correlation: str = ""
    """What it shares with all that was done for the same reason; "": it is the reason of others itself."""


EMPTY = Headers()
_decoder = msgspec.json.Decoder(Headers)


def encode_headers(headers: Headers) -> bytes:
    """The headers as JSON, b"" where nothing is said.

    Raises:
        TypeError, ValueError, RecursionError: the metadata holds what is no JSON.
    """
    if headers == EMPTY:
        return b""
    data = msgspec.json.encode(headers)
    check_depth(data)
    if b"null" in data and holds_not_finite(msgspec.to_builtins(headers)):
        raise ValueError("NaN and infinity are no JSON")
    return data


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


def check_depth(data: bytes) -> None:
    """Refuse JSON that is nested too deep.

    Raises:
        RecursionError: there are more than MAX_DEPTH brackets within brackets.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    outside_of_strings = b"".join(data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    brackets = outside_of_strings.translate(_ALIKE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    raise RecursionError(f"nested deeper than {MAX_DEPTH} levels")


def holds_not_finite(data: object) -> bool:
    """Whether NaN or infinity is anywhere in lists and dicts of plain data; JSON writes null for them."""
    waiting: list[object] = [data]
    while waiting:
        match waiting.pop():
            case float() as number if not math.isfinite(number):
                return True
            case dict() as items:
                waiting.extend(items.values())
            case list() | tuple() as items:
                waiting.extend(items)
            case _:
                pass
    return False
