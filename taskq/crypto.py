"""Encryption of payloads and results with AES-256-GCM, under keys that the application is given.

What is encrypted is a JSON object still, so that every store and every tool can hold it:
`{"$enc":"<key id>","data":"<base64>"}`, the data being a byte that says its form, a check value of the key, the nonce,
the ciphertext and its tag. docs/encryption.md says how it is used, docs/decisions/0050-encryption.md why it is so.
"""

from __future__ import annotations

import os
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from taskq.errors import ConfigError, CorruptRecord, KeyMissing, Tampered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
CHECK_BYTES = 8
TAG_BYTES = 16
DIGEST_BYTES = 16
_FORM = b"\x01"
_MARK = b'{"$enc":'
_ESCAPE = b'{"$enc":null,"data":%b}'
_PREFIX = "TASKQ_CRYPTO__"
# Short of the 43 characters of a key in base64, which must not be taken for its own id and be shown.
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_NEW_KEY = 'python -c "import base64, os; print(base64.b64encode(os.urandom(32)).decode())"'


class Crypto:
    """The keys of an application, and whether all of its tasks are encrypted.

    Arguments:
        keys: key id → the 32 bytes of a key, or their base64; what was encrypted with any of them can be read.
        active: the id of the key that is encrypted with; None: the only one.
        encrypt_all: encrypt every task that does not say `encrypt=False`.
        digest_key: 32 bytes or their base64, for the digests that tell whether an idempotency key came with the same
            arguments; None: derived from the key whose id is first in the order of text.

    Attributes:
        active: as above.
        encrypt_all: as above.
        key_ids: of all keys.

    Raises:
        ConfigError: a key cannot be one, there is none, or `cryptography` is not installed. It shows no key.

    >>> Crypto({"2026-11": os.urandom(32), "2026-10": os.urandom(32)}, active="2026-11")
    Crypto(keys=2026-10, 2026-11, active='2026-11', encrypt_all=False)
    >>> Crypto({"2026-11": "c2VjcmV0"})
    Traceback (most recent call last):
        ...
    taskq.errors.ConfigError: crypto: the key '2026-11' must be 32 bytes or their base64, and has 6 bytes: make one ...
    """

    def __init__(
        self,
        keys: Mapping[str, bytes | str],
        active: str | None = None,
        *,
        encrypt_all: bool = False,
        digest_key: bytes | str | None = None,
    ) -> None:
        from importlib.util import find_spec  # `import taskq` does without it

        if find_spec("cryptography") is None:
            raise ConfigError('encryption needs a package that is not installed: pip install "pytaskq[crypto]"')
        self._keys = _checked_keys(keys)
        self.key_ids = tuple(sorted(self._keys))
        self.active = _checked_active(self.key_ids, active)
        if not isinstance(encrypt_all, bool):
            raise ConfigError("crypto: encrypt_all must be True or False")
        self.encrypt_all = encrypt_all
        lasting = self._keys[self.key_ids[0]] if digest_key is None else _Key("digest key", digest_key)
        self._digest_key = lasting.derived(b"taskq digest")

    def __repr__(self) -> str:
        return f"Crypto(keys={', '.join(self.key_ids)}, active={self.active!r}, encrypt_all={self.encrypt_all})"

    def wants(self, *said: bool | None) -> bool:
        """Whether to encrypt: as the first says that says anything, else as `encrypt_all` does.

        >>> Crypto({"k": bytes(32)}, encrypt_all=True).wants(None, False)
        False
        """
        return next((choice for choice in said if choice is not None), self.encrypt_all)

    def encrypt(self, data: bytes, about: bytes) -> bytes:
        """Encrypt with the active key.

        Arguments:
            data: anything.
            about: what this is, which must be said again to decrypt it (see `about_payload`, `about_result`).

        Returns:
            A JSON object.

        >>> crypto = Crypto({"k": bytes(32)})
        >>> crypto.decrypt(crypto.encrypt(b"secret", b"here"), b"here")
        b'secret'
        """
        key, nonce = self._keys[self.active], os.urandom(NONCE_BYTES)
        sealed = b"%b%b%b%b" % (_FORM, key.check, nonce, key.cipher.encrypt(nonce, data, about))
        return b'{"$enc":"%b","data":"%b"}' % (self.active.encode(), b2a_base64(sealed, newline=False))

    def decrypt(self, data: bytes, about: bytes) -> bytes:
        """Decrypt what `encrypt` gave, with whichever key it was encrypted.

        Arguments:
            data: the JSON object.
            about: as it was said to `encrypt`.

        Raises:
            KeyMissing: there is no key of that id here, or it is another one.
            Tampered: it was changed since, or encrypted about something else.
            CorruptRecord: it is nothing that `encrypt` gave.

        >>> crypto = Crypto({"k": bytes(32)})
        >>> crypto.decrypt(crypto.encrypt(b"secret", b"here"), b"there")
        Traceback (most recent call last):
            ...
        taskq.errors.Tampered: what was encrypted with the key 'k' was changed since, or belongs to another task
        """
        from cryptography.exceptions import InvalidTag

        key_id, sealed = _read(data)
        self._check_key(key_id, sealed)
        start = len(_FORM) + CHECK_BYTES
        nonce, text = sealed[start : start + NONCE_BYTES], sealed[start + NONCE_BYTES :]
        try:
            return self._keys[key_id].cipher.decrypt(nonce, text, about)
        except InvalidTag:
            raise Tampered(
                f"what was encrypted with the key {key_id!r} was changed since, or belongs to another task"
            ) from None

    def check(self, data: bytes) -> None:
        """Look whether the key is here that something was encrypted with.

        Raises:
            KeyMissing, CorruptRecord: see `decrypt`.

        >>> crypto = Crypto({"k": bytes(32)})
        >>> Crypto({"k": b"another".ljust(32)}).check(crypto.encrypt(b"secret", b"here"))
        Traceback (most recent call last):
            ...
        taskq.errors.KeyMissing: the key 'k' here is another one than this was encrypted with: ...
        """
        self._check_key(*_read(data))

    def digest(self, id: str, payload: bytes) -> str:
        """A digest of the plain payload of a task, which says nothing of it to those without the key.

        >>> Crypto({"k": bytes(32)}).digest("5b", b"{}") == Crypto({"k": bytes(32)}).digest("5c", b"{}")
        False
        """
        from hashlib import blake2b

        # With the id, so that the same payload of two tasks has two digests.
        return blake2b(b"%b\0%b" % (id.encode(), payload), key=self._digest_key, digest_size=DIGEST_BYTES).hexdigest()

    def _check_key(self, key_id: str, sealed: bytes) -> None:
        key = self._keys.get(key_id)
        if key is None:
            raise KeyMissing(key_id)
        # GCM cannot tell a wrong key from a changed text; a deployment can have the one, and an attack is the other.
        if sealed[len(_FORM) :][:CHECK_BYTES] != key.check:
            raise KeyMissing(key_id, is_another=True)


class _Key:
    """A key, which shows itself to nobody."""

    __slots__ = ("_cipher", "_secret", "check")

    def __init__(self, what: str, value: object) -> None:
        self._secret = _secret(what, value)
        self._cipher: AESGCM | None = None
        self.check = self.derived(b"taskq check")[:CHECK_BYTES]

    def __repr__(self) -> str:
        return "<key>"

    def derived(self, purpose: bytes) -> bytes:
        """Another key, from which nobody comes back to this one."""
        from hashlib import blake2b  # loads OpenSSL, which `import taskq` does without

        return blake2b(purpose, key=self._secret, digest_size=KEY_BYTES).digest()

    @property
    def cipher(self) -> AESGCM:
        """AES-GCM with this key."""
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # loaded by those who encrypt

            self._cipher = AESGCM(self._secret)
        return self._cipher


def crypto_from_environment(environment: Mapping[str, str] = os.environ) -> Crypto | None:
    """The keys of TASKQ_CRYPTO__KEYS__<id> (base64), with TASKQ_CRYPTO__ACTIVE, __ENCRYPT_ALL and __DIGEST_KEY.

    Arguments:
        environment: where to look.

    Returns:
        None where nothing of it is said.

    Raises:
        ConfigError: see Crypto; or one of the variables is unknown.

    >>> crypto_from_environment({"TASKQ_CRYPTO__KEYS__k1": 43 * "A" + "="})
    Crypto(keys=k1, active='k1', encrypt_all=False)
    >>> crypto_from_environment({}) is None
    True
    """
    said = {name.removeprefix(_PREFIX): value for name, value in environment.items() if name.startswith(_PREFIX)}
    if not said:
        return None
    keys = {name.removeprefix("KEYS__"): said.pop(name) for name in tuple(said) if name.startswith("KEYS__")}
    active, digest_key = said.pop("ACTIVE", None), said.pop("DIGEST_KEY", None)
    encrypt_all = {"": False, "0": False, "false": False, "1": True, "true": True}.get(
        said.pop("ENCRYPT_ALL", "").strip().lower()
    )
    if encrypt_all is None:
        raise ConfigError(f"{_PREFIX}ENCRYPT_ALL must be true or false")
    if said:
        known = f"{_PREFIX}KEYS__<id>, ACTIVE, ENCRYPT_ALL and DIGEST_KEY"
        raise ConfigError(f"{', '.join(sorted(_PREFIX + name for name in said))}: there are only {known}")
    return Crypto(keys, active or None, encrypt_all=encrypt_all, digest_key=digest_key or None)


def about_payload(id: str, name: str) -> bytes:
    """What is said when a payload is encrypted: whose it is, so that it can be moved to no other task.

    >>> about_payload("5b0c", "mail.send")
    b'payload\\x005b0c\\x00mail.send'
    """
    return f"payload\0{id}\0{name}".encode()


def about_result(id: str, name: str, fence: int) -> bytes:
    """What is said when a result is encrypted: that of this run, and neither a payload nor the result of another run.

    >>> about_result("5b0c", "mail.send", 3)
    b'result\\x005b0c\\x00mail.send\\x003'
    """
    return f"result\0{id}\0{name}\0{fence}".encode()


def about_checkpoint(id: str, name: str) -> bytes:
    """What is said when a checkpoint is encrypted: that of this task, of whichever of its runs.

    >>> about_checkpoint("5b0c", "mail.send")
    b'checkpoint\\x005b0c\\x00mail.send'
    """
    return f"checkpoint\0{id}\0{name}".encode()


def decrypt(crypto: Crypto | None, data: bytes, about: bytes) -> bytes:
    """The same as `Crypto.decrypt`, also where there are no keys at all.

    Raises:
        KeyMissing, Tampered, CorruptRecord: see `Crypto.decrypt`.

    >>> decrypt(None, Crypto({"k": bytes(32)}).encrypt(b"secret", b""), b"")
    Traceback (most recent call last):
        ...
    taskq.errors.KeyMissing: there is no key 'k' here: ...
    """
    if crypto is None:
        raise KeyMissing(_read(data)[0])
    return crypto.decrypt(data, about)


def check_key(crypto: Crypto | None, data: bytes) -> None:
    """The same as `Crypto.check`, also where there are no keys at all.

    Raises:
        KeyMissing, CorruptRecord: see `Crypto.check`.

    >>> check_key(Crypto({"k": bytes(32)}), Crypto({"k": bytes(32)}).encrypt(b"secret", b""))
    """
    if crypto is None:
        raise KeyMissing(_read(data)[0])
    crypto.check(data)


def key_of(data: bytes) -> str | None:
    """The id of the key that a result was encrypted with, None where it was not.

    >>> key_of(Crypto({"k": bytes(32)}).encrypt(b"17", b"")), key_of(b"17"), key_of(escaped(b'{"$enc":"k","data":""}'))
    ('k', None, None)
    """
    try:
        return _read(data)[0] if data.startswith(_MARK) else None
    except CorruptRecord:
        return None


def escaped(result: bytes) -> bytes:
    """A plain result as it is stored: one that looks as if it were encrypted is wrapped, so that none is taken for it.

    >>> escaped(b'{"x":1}'), escaped(b'{"$enc":1}')
    (b'{"x":1}', b'{"$enc":null,"data":{"$enc":1}}')
    """
    return _ESCAPE % result if result.startswith(_MARK) else result


def unescaped(data: bytes) -> bytes:
    """The plain result of what `escaped` gave.

    >>> unescaped(b'{"x":1}'), unescaped(escaped(b'{"$enc":1}'))
    (b'{"x":1}', b'{"$enc":1}')
    """
    before, after = _ESCAPE.split(b"%b")
    return data[len(before) : -len(after)] if data.startswith(before) and data.endswith(after) else data


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    key_id: str = msgspec.field(name="$enc")
    data: str


_decoder = msgspec.json.Decoder(_Envelope)


def _read(data: bytes) -> tuple[str, bytes]:
    """The key id, and what is behind the base64.

    Raises:
        CorruptRecord: it is nothing that `Crypto.encrypt` gave.
    """
    try:
        envelope = _decoder.decode(data)
        sealed = a2b_base64(envelope.data, strict_mode=True)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise CorruptRecord("what should be encrypted is no ciphertext of ours") from None
    is_whole = len(sealed) >= len(_FORM) + CHECK_BYTES + NONCE_BYTES + TAG_BYTES
    if not (is_whole and _KEY_ID.fullmatch(envelope.key_id) and sealed.startswith(_FORM)):
        raise CorruptRecord("what should be encrypted is no ciphertext of ours, or of a later release")
    return envelope.key_id, sealed


def _checked_keys(keys: object) -> dict[str, _Key]:
    if not (isinstance(keys, Mapping) and keys):
        raise ConfigError("crypto: keys must be a mapping of at least one key id to a key")
    for key_id in keys:
        # Not shown: who mixes up the two sides would find a key in the log.
        if not (isinstance(key_id, str) and _KEY_ID.fullmatch(key_id)):
            raise ConfigError("crypto: a key id must have 1 to 32 of the characters A-Z a-z 0-9 _ . -")
    return {key_id: _Key(f"key {key_id!r}", value) for key_id, value in keys.items()}


def _checked_active(key_ids: tuple[str, ...], active: object) -> str:
    if active is None and len(key_ids) == 1:
        return key_ids[0]
    if not (isinstance(active, str) and active in key_ids):
        raise ConfigError(f"crypto: active must be the id of one of the keys: {', '.join(key_ids)}")
    return active


def _secret(what: str, value: object) -> bytes:
    if isinstance(value, str):
        try:
            plain = value.strip().rstrip("=").translate(str.maketrans("-_", "+/"))
            value = a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
        except ValueError:
            raise ConfigError(f"crypto: the {what} is no base64: make one by {_NEW_KEY}") from None
    if not isinstance(value, bytes):
        raise ConfigError(f"crypto: the {what} must be {KEY_BYTES} bytes or their base64, not {type(value).__name__}")
    if len(value) != KEY_BYTES:
        rule = f"must be {KEY_BYTES} bytes or their base64, and has {len(value)} bytes: make one by {_NEW_KEY}"
        raise ConfigError(f"crypto: the {what} {rule}")
    return value
