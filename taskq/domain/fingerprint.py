"""A short name for "the same failure", alike on every host, in every release of Python and for whatever data."""

from __future__ import annotations

import re

LOOKED_AT = 2000
"""Characters of a message that count at the most."""
KEPT = 500
"""Those of what is left of them."""
_IDENTIFIER = re.compile(r"[\w.:-]{0,40}")
_QUOTED = re.compile(r"""(?<!\w)(?:'([^']*)'|"([^"]*)")(?!\w)""")
_VARYING = re.compile(
    r"""
      (?<![\w.:/])/(?:[\w.@+~-]+/)+[\w.@+~-]*                              # a path of POSIX, not that of a URL
    | (?<!\w)[a-zA-Z]:\\[^\s'"]*                                           # one of Windows
    | (?<![0-9a-zA-Z])(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|0[xX][0-9a-fA-F]+)(?![0-9a-zA-Z])
    | (?<![0-9a-zA-Z])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{7,}(?![0-9a-zA-Z])     # a hash, and not a word
    | \d+(?:[.,_]\d+)*(?:[eE][+-]?\d+)?
    """,
    re.VERBOSE,
)


def fingerprint(type: str, message: str, places: tuple[str, ...] = ()) -> str:
    """A short name for a failure: its type, its message without what varies, and where it comes from.

    Arguments:
        type: the exception's class.
        message: its text.
        places: of the innermost frames (see `place`).

    >>> fingerprint("KeyError", "user 17", ("a.py:f",)) == fingerprint("KeyError", "user 4711", ("a.py:f",))
    True
    >>> fingerprint("KeyError", "'name'") == fingerprint("KeyError", "'email'")
    False
    """
    from hashlib import blake2b  # loads OpenSSL, which is a tenth of the time that `import taskq` takes

    named = "\0".join((type, normal(message), *places))
    return blake2b(named.encode("utf-8", "replace"), digest_size=8).hexdigest()


def normal(message: str) -> str:
    """A message without what varies from one time to the next.

    Numbers, ids, hashes, addresses in memory and paths become "#". Of what stands in quotes a short identifier is kept,
    for it is likely to be of the program (the key of a KeyError, an attribute), and other text is not, for it is
    likely to be data.

    >>> normal("task 0198f3b2-7c1d-7e7a-9f6e-2b1a6f0c8d01 at <Job object at 0x7f2a4c>: '/tmp/a.csv' after 1.5 s")
    "task # at <Job object at #>: '#' after # s"
    >>> normal("'user_17' has no attribute 'nmae'"), normal("no such person: 'Ada Lovelace'")
    ("'user_#' has no attribute 'nmae'", "no such person: '#'")
    """
    text = " ".join(message[:LOOKED_AT].split())
    return _VARYING.sub("#", _QUOTED.sub(_unquoted, text))[:KEPT]


def place(file: str, function: str) -> str:
    """Where a frame is: the last two parts of its file's path, which hosts agree on, and the function; no line.

    >>> place("/srv/venv/lib/python3.12/site-packages/requests/adapters.py", "send")
    'requests/adapters.py:send'
    """
    return f"{'/'.join(file.replace(chr(92), '/').split('/')[-2:])}:{function}"


def _unquoted(match: re.Match[str]) -> str:
    text = match[0][1:-1]
    return match[0] if _IDENTIFIER.fullmatch(text) else f"{match[0][0]}#{match[0][-1]}"
