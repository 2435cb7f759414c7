"""What the configuration says of queues, told to the store, where people may have changed them meanwhile.

What was said last is kept beside them, for each file by itself, and three are compared: what was said last, what is
said now, and what holds. What the file says anew is set; what it has said before is left as it is, so that what
somebody has changed since stays; what it says no longer goes back to its default, unless somebody has changed it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from taskq.documents import Shelf
from taskq.domain.limits import Rate
from taskq.errors import BackendUnavailable, InvalidOption
from taskq.ports import Backend, Document, QueueSettings
from taskq.queue_settings import DEFAULT, queue_config
from taskq.queues import Queues

KIND = "declared"
MOST_RACES = 20
logger = logging.getLogger("taskq.configuration")

Said = Mapping[str, Mapping[str, Any]]
"""By queue, its settings as Queues.configure takes them."""


class _Kept(msgspec.Struct):
    """What was said last."""

    who: str
    queues: dict[str, dict[str, Any]]


_SHELF = Shelf(KIND, _Kept, "note of what was said of queues")


async def declare(backend: Backend, said: Said, who: str, *, withdraws: bool = True) -> None:
    """Tell the store what is said of queues now.

    Arguments:
        backend: the store, opened.
        said: of each queue.
        who: says it: the path of a file, or that it is the environment. Two that differ do not know of each other.
        withdraws: whether what is said no longer goes back to its default.

    Raises:
        BackendUnavailable: others write the same all the time.
        Unreadable: what was said last cannot be read.
    """
    for _ in range(MOST_RACES):
        document = await backend.documents.get(KIND, _id(who))
        before = _before(document)
        said = said if withdraws else {queue: {**before.get(queue, {}), **said[queue]} for queue in said}
        if document is None and not said:
            return
        queues = sorted({*before, *said} if withdraws else said)
        told = {queue: await _tell(backend, queue, before.get(queue, {}), said.get(queue, {})) for queue in queues}
        after = {queue: settings for queue, settings in told.items() if settings or queue in said}
        after = after if withdraws else {**before, **after}
        # Afterwards, so that whoever dies in between says it once more.
        if before == after or await _keep(backend, document, who, after):
            return
    raise BackendUnavailable("what the configuration says of queues could not be kept: others write it all the time")


async def _tell(backend: Backend, queue: str, before: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bring one queue to what is said of it now; returns what was told: as before, where it cannot be set."""
    try:
        await _settle(backend, queue, before, said)
    except InvalidOption as error:  # it does not go together with what somebody has set
        logger.error("queue %s cannot be set as the configuration says: %s", queue, error)
        return before
    return said


async def _settle(backend: Backend, queue: str, before: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Bring the settings of one queue to what is said now."""
    holds = await backend.queues.settings(queue)
    changes: dict[str, Any] = {}
    for name in sorted({*before, *said}):
        is_as_before = name in before and _is(holds, name, before[name])
        if name in said and name in before and before[name] == said[name]:
            if not is_as_before:
                logger.info("queue %s: %s was changed since, and stays; the configuration says %s",
                            queue, name, said[name])  # fmt: skip
        elif name in said:
            changes[name] = said[name]
        elif is_as_before:
            changes[name] = DEFAULT
        else:
            logger.info("queue %s: %s is said no longer, but was changed since, and stays", queue, name)
    if changes:
        await Queues(backend).aconfigure(queue, **changes)
        told = ", ".join(f"{name}={value}" for name, value in changes.items())
        logger.info("queue %s is set as the configuration says: %s", queue, told)


def _is(holds: QueueSettings, name: str, value: Any) -> bool:
    """Whether a setting holds that was said."""
    try:
        wanted = getattr(queue_config(**{name: value}), name)
    except InvalidOption:  # another release knew it
        return False
    now = getattr(holds, name)
    if isinstance(now, Rate) and isinstance(wanted, Rate):
        return now._replace(key=wanted.key) == wanted
    return bool(now == wanted)


def _id(who: str) -> str:
    return f"queues:{blake2b(who.encode(), digest_size=16).hexdigest()}"


def _before(document: Document | None) -> dict[str, dict[str, Any]]:
    return {} if document is None else _SHELF.read(document).queues


async def _keep(backend: Backend, document: Document | None, who: str, said: Said) -> bool:
    kept = _Kept(who, {queue: dict(settings) for queue, settings in said.items()})
    return await _SHELF.put(backend.documents, _id(who), kept, 0 if document is None else document.version)
