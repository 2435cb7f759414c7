"""Profiles of workers: asked for, waited for, and read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from taskq import profiles
from taskq.config import is_number, shown
from taskq.domain.profile import Profile
from taskq.errors import InvalidOption, NotApplied, TaskqError
from taskq.ids import new_id
from taskq.ports import Backend, WorkerInfo
from taskq.profiles import MOST_SECONDS, ProfileInfo, ProfileState

LOOK_EVERY = 0.25
"""Seconds between two looks at a profile that is waited for."""
LOOK_AT_WORKERS = 2.0
"""Seconds between two looks whether its worker lives."""
PATIENCE = timedelta(seconds=120)
"""How long, beside the time that it takes, a worker that lives may need to hear of a profile and to bring it."""


class ProfileNotFound(TaskqError):
    """There is no profile of that id."""


class ProfileFailed(TaskqError):
    """A profile that was asked for has not come."""


def check_seconds(seconds: object) -> float:
    """Return for how long to look at a worker, if it can be that.

    Raises:
        InvalidOption: it cannot.

    >>> check_seconds(10)
    10.0
    """
    if not (is_number(seconds) and 0.1 <= seconds <= MOST_SECONDS):
        raise InvalidOption(f"seconds must be from 0.1 to {MOST_SECONDS}, not {shown(seconds)}")
    return float(seconds)


async def asked(backend: Backend, worker: WorkerInfo, actor: str, seconds: float) -> ProfileInfo:
    """A new profile, of which the worker does not know yet.

    Raises:
        NotApplied: the worker takes none, or takes another one.
    """
    if not worker.profiling:
        raise NotApplied(
            f"worker {worker.name} ({worker.id}) takes no profiles: start it with `taskq worker --enable-profiling`"
        )
    now = datetime.now(UTC)
    await profiles.tidy(backend.documents, now)
    for other in await profiles.newest(backend.documents):
        if other.worker == worker.id and other.is_open and now < _end_of(other):
            raise NotApplied(f"a profile of worker {worker.name} ({worker.id}) is being taken: {other.id}")
    return ProfileInfo(new_id(), worker.id, worker.name, actor, seconds, now)


async def waited_for(backend: Backend, id: str) -> ProfileInfo:
    """A profile when it is done.

    Raises:
        ProfileNotFound: there is none of that id.
        ProfileFailed: it was refused, its worker has gone, or does not answer.
    """
    loop = asyncio.get_running_loop()
    look_at = loop.time() + LOOK_AT_WORKERS
    while True:
        info = await found(backend, id)
        if not info.is_open:
            break
        if loop.time() >= look_at:
            look_at = loop.time() + LOOK_AT_WORKERS
            await _note_loss(backend, info)
        await asyncio.sleep(LOOK_EVERY)
    if info.state is not ProfileState.DONE:
        raise ProfileFailed(f"worker {info.name} ({info.worker}) has brought no profile: {info.reason}")
    return info


async def found(backend: Backend, id: str) -> ProfileInfo:
    """How a profile stands.

    Raises:
        ProfileNotFound: there is none of that id.
    """
    info = await profiles.get(backend.documents, id)
    if info is None:
        raise ProfileNotFound(f"there is no profile {id}: the newest 20 are kept, for a day")
    return info


async def read(backend: Backend, id: str) -> Profile:
    """What was seen.

    Raises:
        ProfileNotFound: there is none of that id.
        NotApplied: it is not done.
    """
    info = await found(backend, id)
    profile = await profiles.load(backend.documents, id)
    if info.state is not ProfileState.DONE or profile is None:
        raise NotApplied(f"the profile {id} is {info.state}{': ' if info.reason else ''}{info.reason}")
    return profile


async def listed(backend: Backend) -> Sequence[ProfileInfo]:
    """All that are kept, the newest first."""
    await profiles.tidy(backend.documents)
    return await profiles.newest(backend.documents)


async def _note_loss(backend: Backend, info: ProfileInfo) -> None:
    """Give a profile up that nobody will bring any more."""
    reason = ""
    if all(worker.id != info.worker for worker in await backend.registry.workers()):
        reason = "it has gone"
    elif datetime.now(UTC) >= _end_of(info):
        reason = "it lives, and has not answered in time; its log may say why"
    if not reason:
        return

    def lost(now: ProfileInfo) -> ProfileInfo:
        return replace(now, state=ProfileState.LOST, reason=reason) if now.is_open else now

    await profiles.change(backend.documents, info.id, lost)


def _end_of(info: ProfileInfo) -> datetime:
    return info.asked_at + timedelta(seconds=info.seconds) + PATIENCE
