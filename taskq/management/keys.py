"""Keys of the API: made for somebody with their roles, shown once, kept as a digest, revoked.

A key is `tq_<id>_<secret>`: an id to know it by, which is no secret, and 256 random bits. Why so: docs/decisions/0084.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
from msgspec.structs import replace

from taskq.app import App
from taskq.config import check_identifier, is_label, shown
from taskq.documents import Shelf, Unreadable
from taskq.errors import InvalidOption, NotApplied, TaskqError
from taskq.management.access import Actor, Permission, Role
from taskq.management.desk import Desk
from taskq.ports import Backend

KIND = "key"
"""Of the documents in which keys are kept."""
LONGEST_NAME = 100
MOST = 10_000
"""Keys of a store, those that hold no longer among them."""
RETENTION = timedelta(days=90)
"""How long a key is kept that was revoked, or has expired, so that it can be told who had it."""
USE_IS_NOTED_AFTER = timedelta(hours=1)
"""How old the note of a key's last use must be before it is written anew."""
USES_ARE_WRITTEN_EVERY = 60.0
"""Seconds."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 8
_SECRET_BYTES = 32
_KEY = re.compile(r"tq_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")
_REFERENCE = re.compile(r"(?:tq_)?([a-z2-7]{8})(?:_[A-Za-z0-9_-]*)?")
_NO_DIGEST = "0" * 64
"""What the secret of a key that is not there is compared with."""


class KeyNotFound(TaskqError):
    """There is no key of that id."""


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a key, but not the key."""

    id: str
    name: str
    """For people: who has it, or for what."""
    roles: tuple[str, ...]
    created_at: datetime
    created_by: str
    tenant: str = ""
    """The only one whose tasks it sees and touches; "" for all."""
    payloads: bool | None = None
    """Whether it may see arguments and results; None: as its roles say."""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None
    """When it was last used, to the hour."""

    @property
    def prefix(self) -> str:
        """How the key begins: enough to know it by.

        >>> Key("k3yk3yk3", "ci", ("submitter",), datetime.now(UTC), "ann").prefix
        'tq_k3yk3yk3'
        """
        return f"tq_{self.id}"

    def state(self, now: datetime) -> str:
        """Whether it holds: "valid", "expired" or "revoked"."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "valid"

    def actor(self) -> Actor:
        """Who asks with it. A role that a later release has given it and this one does not know counts for nothing."""
        roles = [role for role in self.roles if role in tuple(Role)]
        return Actor(f"{self.name} (key {self.id})", roles, self.tenant, payloads=self.payloads)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the only time that it is there to be read."""

    key: Key
    text: str = field(repr=False)
    """The key itself."""


class _Kept(msgspec.Struct, frozen=True):
    """A key as it is stored."""

    key: Key
    digest: str
    """SHA-256 of the secret part."""


_SHELF = Shelf(KIND, _Kept, "key")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KeyDesk(Desk):
    """The keys of a store, for who may configure it."""

    async def create(
        self,
        name: str,
        roles: Iterable[Role | str],
        *,
        tenant: str = "",
        payloads: bool | None = None,
        expires: datetime | timedelta | None = None,
    ) -> NewKey:
        """Make a key.

        Arguments:
            name: for people: who has it, or for what; at most 100 printable characters.
            roles: what it may do, at least one.
            tenant: the only one whose tasks it sees and touches; "" for all.
            payloads: whether it may see arguments and results; None: as its roles say.
            expires: when, or in how long, it ends by itself; None: it does not.

        Returns:
            The key, which nobody can read again.

        Raises:
            InvalidOption: an argument cannot be what it is.
            Forbidden: it may not be made by whoever asks, or would see what they may not.
            NotApplied: there are MOST keys already.

        >>> import asyncio
        >>> from taskq import App
        >>> from taskq.management import Actor, Management
        >>> async def example() -> str:
        ...     app = App("memory://")
        ...     made = await Management(app, Actor("ann", ["admin"])).keys.create("ci", ["submitter"])
        ...     actor = await Keys(app).verify(made.text)
        ...     return actor.name.replace(made.key.id, "…")
        >>> asyncio.run(example())
        'ci (key …)'
        """
        now = _utc_now()
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        key = Key(
            id="".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH)),
            name=_checked_name(name),
            roles=_checked_roles(roles),
            created_at=now,
            created_by=self.actor.name,
            tenant=check_identifier("tenant", tenant) if tenant else "",
            payloads=payloads,
            expires_at=_checked_end(expires, now),
        )
        self.actor.require(Permission.CONFIGURE)
        if key.actor().may(Permission.READ_PAYLOADS):
            self.actor.require(Permission.READ_PAYLOADS)
        await self._make_room(now)
        plain = {"name": key.name, "roles": list(key.roles), "tenant": key.tenant, "payloads": payloads}
        after = {**plain, "expires_at": None if key.expires_at is None else str(key.expires_at)}
        async with self.act(Permission.CONFIGURE, "key.create", {"key": key.id}, after=after) as backend:
            if not await _SHELF.put(backend.documents, key.id, _Kept(key, _digest(secret))):
                raise NotApplied(f"another key has the id {key.id} by chance: make it anew")
        return NewKey(key, f"{key.prefix}_{secret}")

    async def list(self) -> Sequence[Key]:
        """All keys, the newest first; those that hold no longer are kept for 90 days."""
        backend = await self.look(Permission.CONFIGURE)
        keys = [entry.value.key for entry in await _SHELF.all(backend.documents)]
        return sorted(keys, key=lambda key: (key.created_at, key.id), reverse=True)

    async def revoke(self, key: str) -> Key:
        """Have a key hold no longer, from now on; one that was revoked before stays as it is.

        Arguments:
            key: its id, its prefix, or the key itself.

        Raises:
            KeyNotFound: there is none.
        """
        id = _id_in(key)
        backend = await self.look(Permission.CONFIGURE)
        found = (await _read(backend, id)).key
        if found.revoked_at is not None:
            return found
        async with self.act(Permission.CONFIGURE, "key.revoke", {"key": id}, before={"name": found.name}):
            now = _utc_now()
            return await _write(backend, id, lambda key: replace(key, revoked_at=key.revoked_at or now))

    async def _make_room(self, now: datetime) -> None:
        """Forget keys that hold no longer since long ago.

        Raises:
            NotApplied: there are too many all the same.
        """
        backend, count = await self.app.backend(), 0
        for entry in await _SHELF.all(backend.documents):
            key = entry.value.key
            ends = [end for end in (key.revoked_at, key.expires_at) if end is not None]
            if ends and min(ends) < now - RETENTION:
                await backend.documents.delete(KIND, key.id, entry.version)
            else:
                count += 1
        if count >= MOST:
            raise NotApplied(f"there are {count:,} keys already, and at most {MOST:,} are kept: revoke some and wait")


class Keys:
    """The keys of a store, for a server that is asked with them.

    Arguments:
        app: whose store it is.
        now: the clock by which keys expire.
    """

    def __init__(self, app: App, now: Callable[[], datetime] = _utc_now) -> None:
        self._app = app
        self._now = now
        self._used: dict[str, datetime] = {}
        """Keys whose use is to be noted: id → when it was."""

    async def verify(self, text: str) -> Actor | None:
        """Who asks with a key, None where it is none, or holds no longer. What was wrong with it is told to nobody.

        The secret is compared in constant time; its id is no secret.

        Raises:
            BackendUnavailable: the store cannot be reached.
        """
        parts = _KEY.fullmatch(text)
        if parts is None:
            return None
        id, secret = parts.groups()
        kept = await _kept(await self._app.backend(), id)
        is_right = hmac.compare_digest(_digest(secret), _NO_DIGEST if kept is None else kept.digest)
        now = self._now()
        if kept is None or not is_right or kept.key.state(now) != "valid":
            return None
        if _is_stale(kept.key, now):
            self._used[id] = now
        return kept.key.actor()

    async def tick(self) -> float:
        """Write which keys were used, each at most once an hour; returns the seconds until the next time.

        Raises:
            TaskqError: the store cannot be reached; the uses are written next time.
        """
        backend = await self._app.backend()
        for id, used_at in list(self._used.items()):
            with contextlib.suppress(KeyNotFound, Unreadable):  # it was forgotten meanwhile, or is damaged
                await _note_use(backend, id, used_at)
            del self._used[id]
        return USES_ARE_WRITTEN_EVERY


# ---------------------------------------------------------------- documents


async def _read(backend: Backend, id: str) -> _Kept:
    found = await _kept(backend, id)
    if found is None:
        raise KeyNotFound(f"there is no key {id}; `taskq keys list` shows those that there are")
    return found


async def _kept(backend: Backend, id: str) -> _Kept | None:
    """A key, None where it is not there, or cannot be read: then it opens nothing."""
    found = await backend.documents.get(KIND, id)
    return None if found is None else _SHELF.known(found)


async def _write(backend: Backend, id: str, change: Callable[[Key], Key]) -> Key:
    """Change a key, whoever else does so at the same time."""
    changed = await _SHELF.change(backend.documents, id, lambda kept: replace(kept, key=change(kept.key)))
    return (await _read(backend, id)).key if changed is None else changed.key


async def _note_use(backend: Backend, id: str, used_at: datetime) -> None:
    """Note when a key was used, unless another server has done so within the hour."""
    if _is_stale((await _read(backend, id)).key, used_at):
        await _write(backend, id, lambda key: replace(key, used_at=used_at))


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _is_stale(key: Key, now: datetime) -> bool:
    return key.used_at is None or now - key.used_at >= USE_IS_NOTED_AFTER


# ---------------------------------------------------------------- what is given


def _id_in(text: str) -> str:
    """The id in what names a key. What is none may be a secret all the same, and is not repeated."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise KeyNotFound("that names no key: give its id, as `taskq keys list` shows it")
    return found[1]


def _checked_name(name: object) -> str:
    if not (is_label(name) and len(name) <= LONGEST_NAME):
        raise InvalidOption(f"the name of a key must have 1 to {LONGEST_NAME} printable characters, not {shown(name)}")
    return name


def _checked_roles(roles: Iterable[Role | str]) -> tuple[str, ...]:
    given = [roles] if isinstance(roles, str) else list(roles)
    for role in given:
        if role not in tuple(Role):
            raise InvalidOption(f"a role must be one of {', '.join(Role)}, not {shown(role)}")
    if not given:
        raise InvalidOption(f"a key needs a role at least: {', '.join(Role)}")
    return tuple(str(role) for role in Role if role in given)


def _checked_end(expires: datetime | timedelta | None, now: datetime) -> datetime | None:
    if expires is None:
        return None
    try:
        end = now + expires if isinstance(expires, timedelta) else expires.astimezone(UTC)
    except (OverflowError, ValueError):  # before the first day that there is, or after the last
        raise InvalidOption(f"a key cannot expire at {shown(expires)}: there is no such day") from None
    if end <= now:
        raise InvalidOption(f"a key must expire later than now, not at {end.isoformat(timespec='seconds')}")
    return end
