"""Which secrets anybody could guess."""

from __future__ import annotations

import re

LEAST_BYTES = 32
"""Bytes of a secret that signs with HMAC-SHA256: no fewer than its digest has (RFC 7518, section 3.2)."""
LEAST_DISTINCT = 8
"""Different characters that a random secret of that length has, in hexadecimal too."""
_LEAST_LEFT = 16
_KNOWN = (
    *("changeme", "change", "secret", "password", "passwort", "taskq", "insecure", "example", "default", "letmein"),
    *("your", "jwt", "key", "token", "signing", "development", "test", "admin", "256", "512", "bit", "please", "this"),
    *("qwertyuiop", "qwerty", "1234567890", "0123456789", "123456789", "abcdefghijklmnopqrstuvwxyz", "abcdef"),
)
_WORDS = re.compile("|".join(sorted(_KNOWN, key=len, reverse=True)) + r"|[^a-z0-9]")
NEW_SECRET = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'


def weakness(secret: str) -> str | None:
    """What is wrong with a secret that signs tokens; None: nothing that can be seen. It shows nothing of the secret.

    >>> weakness("secret")
    'must have at least 32 bytes, not 6'
    >>> weakness("changeme" * 8)
    'is made of words that anybody would try'
    >>> weakness("abz" * 20), weakness("pQ7w9sX2mK4vT8yB1nR5cJ3hL6gF0dZA")
    ('has only 3 different characters', None)
    """
    length = len(secret.encode("utf-8", "replace"))
    if length < LEAST_BYTES:
        return f"must have at least {LEAST_BYTES} bytes, not {length}"
    if len(_WORDS.sub("", secret.lower())) < _LEAST_LEFT:
        return "is made of words that anybody would try"
    if (distinct := len(set(secret))) < LEAST_DISTINCT:
        return f"has only {distinct} different characters"
    if _period(secret) < LEAST_BYTES // 2:
        return "says the same again and again"
    return None


def _period(text: str) -> int:
    """The length of the shortest text that, said again and again, gives this one."""
    return (text + text).find(text, 1)
