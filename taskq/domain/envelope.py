"""The sealed body of a task: schema version, checksum, headers and payload in one opaque value.

The text form is `1 <crc32> <length of headers>\\n<headers><payload>`, so that an operator can still read it in
the store. The checksum covers the id, the name and the length of the headers too: a flipped bit never runs
another task, or the same one with other arguments.
"""

from __future__ import annotations

from zlib import crc32

from taskq.errors import CorruptRecord

SCHEMA_VERSION = 1
_PREFIX = b"1 "


def seal(id: str, name: str, payload: bytes, headers: bytes = b"") -> bytes:
    """Pack headers and payload (both JSON, or empty) into a body.

    >>> seal("5b0c", "mail.send", b'{"to":"a"}')
    b'1 5388616b 0\\n{"to":"a"}'
    """
    return b"%b%08x %d\n%b%b" % (_PREFIX, _checksum(id, name, headers, payload), len(headers), headers, payload)


def unseal(id: str, name: str, body: bytes) -> tuple[bytes, bytes]:
    """Unpack a body into (payload, headers).

    Raises:
        CorruptRecord: the body is of an unknown version, or it does not match its checksum.

    >>> unseal("5b0c", "mail.send", seal("5b0c", "mail.send", b"{}", b'{"a":1}'))
    (b'{}', b'{"a":1}')
    >>> unseal("5b0c", "mail.sent", seal("5b0c", "mail.send", b"{}"))
    Traceback (most recent call last):
        ...
    taskq.errors.CorruptRecord: the record of task 5b0c does not match its checksum
    """
    head, separator, rest = body.partition(b"\n")
    if not separator or not head.startswith(_PREFIX):
        raise CorruptRecord(f"the record of task {id} has an unknown format (version {head[:8]!r})")
    try:
        checksum, length = head[2:].split(b" ")
        cut, expected = int(length), int(checksum, 16)
    except ValueError:
        raise CorruptRecord(f"the record of task {id} has a damaged head") from None
    headers, payload = rest[:cut], rest[cut:]
    if _checksum(id, name, headers, payload) != expected:
        raise CorruptRecord(f"the record of task {id} does not match its checksum")
    return payload, headers


def _checksum(id: str, name: str, headers: bytes, payload: bytes) -> int:
    return crc32(payload, crc32(headers, crc32(f"{id}\0{name}\0{len(headers)}\0".encode())))
