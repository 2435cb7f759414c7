"""Task ids: a UUIDv7 for an ordinary task, a UUIDv8 for one whose id is derived from a name (RFC 9562).

The last byte says in which shard of its store the task lives.
"""

from __future__ import annotations

import os
import re
import time
from typing import TypeGuard

_ID = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def is_id(value: object) -> TypeGuard[str]:
    """Whether something is an id in its canonical text form.

    >>> is_id("01980000-0000-7000-8000-000000000000"), is_id("")
    (True, False)
    """
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def new_id(shard: int = 0) -> str:
    """A fresh id: 48 bits of milliseconds, 66 random bits, and the shard.

    >>> id = new_id(shard=3)
    >>> len(id), id[14], id[-2:]
    (36, '7', '03')
    """
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    noise = os.urandom(9).hex()
    variant = "89ab"[int(noise[3], 16) & 3]
    return f"{stamp[:8]}-{stamp[8:]}-7{noise[:3]}-{variant}{noise[4:7]}-{noise[7:17]}{shard:02x}"


def shard_in(id: str) -> int:
    """The shard that an id names.

    >>> shard_in(new_id(shard=3))
    3
    """
    return int(id[-2:], 16)


def derived_id(shard: int, *names: str) -> str:
    """The id that these names always give: for idempotency keys and for the fires of a schedule.

    >>> derived_id(0, "default", "acme", "mail.send", "o-17")
    'f3b271dd-9563-83ff-b594-511e92f25800'
    """
    from hashlib import blake2b  # loads OpenSSL, which is a tenth of the time that `import taskq` takes

    text = "\0".join(names).encode("utf-8", "surrogatepass")
    name = blake2b(text, digest_size=16).hexdigest()
    variant = "89ab"[int(name[16], 16) & 3]
    return f"{name[:8]}-{name[8:12]}-8{name[13:16]}-{variant}{name[17:20]}-{name[20:30]}{shard:02x}"


def digest(payload: bytes) -> str:
    """A digest of a payload, to tell whether an idempotency key came with the same one.

    >>> digest(b"{}") == digest(b"{}"), len(digest(b""))
    (True, 32)
    """
    from hashlib import blake2b  # as above

    return blake2b(payload, digest_size=16).hexdigest()
