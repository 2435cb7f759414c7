"""Profiles of workers as the store keeps them: what was asked for, what became of it, and what was seen."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from taskq.documents import Entry, Shelf, unreadable
from taskq.domain.profile import Profile, Stack, without_rarest
from taskq.ports import DOCUMENT_LIMIT, Documents

KIND, DATA = "profile", "profile.data"
"""Of the documents that say of a profile how it stands, and of those that hold what was seen."""
MOST_SECONDS = 60
"""For how long a worker is looked at, at the most."""
MOST_KEPT = 20
"""Profiles that a store keeps: the newest."""
KEPT = timedelta(days=1)
"""How long it keeps them."""
_MOST_READ = 64 * 1024 * 1024
"""Bytes that a profile may have when it is unpacked."""


class ProfileState(StrEnum):
    """Where a profile is."""

    ASKED = "asked for"
    """The worker hears of it with its next heartbeat."""
    RUNNING = "being taken"
    DONE = "done"
    REFUSED = "refused"
    LOST = "lost"
    """Its worker has gone before it was done."""


class ProfileInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a profile without what was seen."""

    id: str
    worker: str
    """The random id of one start."""
    name: str
    """The stable name of the worker."""
    actor: str
    """Who asked for it."""
    seconds: float
    """For how long the worker was to be looked at."""
    asked_at: datetime
    """By the clock of the process that asked."""
    state: ProfileState = ProfileState.ASKED
    reason: str = ""
    """Why it was refused, is shorter than it was to be, or is lost."""
    took: float = 0.0
    """For how many seconds the worker was looked at."""
    samples: int = 0
    """How often."""

    @property
    def is_open(self) -> bool:
        """Whether something is still to come of it."""
        return self.state in (ProfileState.ASKED, ProfileState.RUNNING)


_INFOS = Shelf(KIND, ProfileInfo, "profile")


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    """A profile as it is stored: each frame once."""

    seconds: float
    samples: int
    knows_cpu: bool
    frames: list[str]
    stacks: list[tuple[list[int], int, float]]


async def get(documents: Documents, id: str) -> ProfileInfo | None:
    """How a profile stands; None where there is none of that id, or it is not kept any more.

    Raises:
        Unreadable: it cannot be read.
    """
    found = await _INFOS.get(documents, id)
    return None if found is None else found.value


async def write(documents: Documents, info: ProfileInfo) -> None:
    """Keep a new one."""
    await _INFOS.put(documents, info.id, info)


async def change(documents: Documents, id: str, how: Callable[[ProfileInfo], ProfileInfo]) -> ProfileInfo | None:
    """Change how a profile stands, whoever else does so at the same time; None where it is not kept any more.

    Raises:
        Unreadable: it cannot be read.
    """
    return await _INFOS.change(documents, id, how)


async def save(documents: Documents, id: str, profile: Profile, reason: str = "") -> None:
    """Keep what was seen, and say that it is done.

    Arguments:
        reason: why it is shorter than it was to be.
    """
    await documents.put(DATA, id, pack(profile))
    done = {"state": ProfileState.DONE, "reason": reason, "took": profile.seconds, "samples": profile.samples}
    if await change(documents, id, lambda info: replace(info, **done)) is None:
        await documents.delete(DATA, id, 1)


async def load(documents: Documents, id: str) -> Profile | None:
    """What was seen; None where it is not there, or not any more.

    Raises:
        Unreadable: it cannot be read.
    """
    found = await documents.get(DATA, id)
    if found is None:
        return None
    try:
        return unpack(found.data)
    except (msgspec.MsgspecError, zlib.error, IndexError, UnicodeDecodeError) as error:
        raise unreadable("profile", id, error) from None


async def newest(documents: Documents) -> Sequence[ProfileInfo]:
    """All that are kept and can be read, the newest first."""
    return [entry.value for entry in await _all(documents)]


async def tidy(documents: Documents, now: datetime | None = None) -> None:
    """Forget what is too old, and what is too much.

    Arguments:
        now: by the clock of this process; None: what it says.
    """
    oldest = (now or datetime.now(UTC)) - KEPT
    for place, entry in enumerate(await _all(documents)):
        if place >= MOST_KEPT or entry.value.asked_at < oldest:
            data = await documents.get(DATA, entry.id)
            if data is not None:
                await documents.delete(DATA, entry.id, data.version)
            await documents.delete(KIND, entry.id, entry.version)


async def _all(documents: Documents) -> list[Entry[ProfileInfo]]:
    return sorted(await _INFOS.all(documents), key=lambda entry: (entry.value.asked_at, entry.id), reverse=True)


def pack(profile: Profile, limit: int = DOCUMENT_LIMIT) -> bytes:
    """A profile as bytes, the rarest of its stacks counted together where it would be over the limit otherwise.

    >>> unpack(pack(Profile(1.0, 9, (Stack(("main", "a"), 9, 0.5),)))).stacks
    (Stack(frames=('main', 'a'), samples=9, cpu=0.5),)
    """
    while len(data := zlib.compress(msgspec.json.encode(_packed(profile)), 6)) > limit:
        profile = without_rarest(profile, len(profile.stacks) // 2)
    return data


def unpack(data: bytes) -> Profile:
    """Read what `pack` wrote."""
    packed = msgspec.json.decode(zlib.decompressobj().decompress(data, _MOST_READ), type=_Packed)
    frames = packed.frames
    stacks = (Stack(tuple(frames[place] for place in places), samples, cpu) for places, samples, cpu in packed.stacks)
    return Profile(packed.seconds, packed.samples, tuple(stacks), packed.knows_cpu)


def _packed(profile: Profile) -> _Packed:
    places: dict[str, int] = {}
    stacks = [
        ([places.setdefault(frame, len(places)) for frame in stack.frames], stack.samples, round(stack.cpu, 6))
        for stack in profile.stacks
    ]
    return _Packed(profile.seconds, profile.samples, profile.knows_cpu, list(places), stacks)
