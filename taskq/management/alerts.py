"""Alerts as the store keeps them: one document for a rule and a subject, written by who has read its newest version.

What is to be told is written in the same step as what it tells of, so that whoever dies between the two has left word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from taskq.documents import Shelf
from taskq.domain.alerts import Bounds, Reading, Rule
from taskq.ids import new_id
from taskq.ports import Backend

KIND = "alert"
"""Of the documents, and the name of the journal of those that are over."""
JOURNAL = "alerts"
KEPT = 1000
"""Alerts that are over and still known."""
MOST_UNTOLD = 20
"""Notices of one rule and subject that wait to be told; of more, the oldest go."""
LONGEST_ID = 200
PAGE = 100
CHANNEL = "alert.channel"
"""Of the documents that say by which channels somebody can be told."""
CHANNEL_KEPT = timedelta(days=1)
"""How long a channel is counted on of which nothing was heard since."""
CHANNEL_SAID = timedelta(minutes=10)
"""How old the note of a channel must be before it is written anew."""


class Change(StrEnum):
    """What is told of an alert."""

    RAISED = "raised"
    CLEARED = "cleared"
    REMINDED = "reminded"
    """It goes on, and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody has seen it; told as an event alone."""


class Alert(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something that somebody should look at."""

    id: str
    """A new one each time that it is raised."""
    rule: str
    subject: str
    """A queue, a schedule, a task, a worker's id, or "store"."""
    value: float
    """As it was read last, once a minute at the most; in the unit of its rule."""
    bound: float
    text: str
    """The same for people."""
    since: datetime
    """When the value went over the bound."""
    raised_at: datetime
    """By the store's clock; of a store that is away, by that of the process that has noticed."""
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    note: str = ""
    about: dict[str, str | float] = {}
    """What else is known of the subject, by which whoever looks next finds it again."""

    @property
    def is_active(self) -> bool:
        """Whether it goes on."""
        return self.cleared_at is None


class Notice(msgspec.Struct, frozen=True):
    """A change that is to be told."""

    id: str
    """The same each time that it is told: who is told twice knows by it."""
    change: Change
    at: datetime
    alert: Alert
    """As it was then."""
    channels: tuple[str, ...] = ()
    """Those by which it is still to be told."""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a document holds."""

    alert: Alert
    untold: tuple[Notice, ...] = ()
    written_at: datetime | None = None
    reminded_at: datetime | None = None


class Row(NamedTuple):
    """A document as it was read."""

    kept: Kept
    version: int


_SHELF = Shelf(KIND, Kept, "alert")
_CHANNELS = Shelf(CHANNEL, datetime, "channel of alerts")
Key = tuple[str, str]
"""A rule and a subject."""


def notice_of(change: Change, alert: Alert, at: datetime, channels: Sequence[str]) -> Notice:
    """What is to be told of a change."""
    number = f".{int(at.timestamp())}" if change is Change.REMINDED else ""
    return Notice(f"{alert.id}.{change}{number}", change, at, alert, tuple(channels))


def raised(rule: Rule, subject: str, reading: Reading, bounds: Bounds, since: datetime, now: datetime) -> Alert:
    """A new alert."""
    return Alert(
        id=new_id(),
        rule=str(rule),
        subject=subject,
        value=reading.value,
        bound=bounds.above,
        text=reading.text,
        since=since,
        raised_at=now,
        about=dict(reading.about),
    )


class AlertBook:
    """The alerts of a store.

    Arguments:
        backend: where they are.
    """

    def __init__(self, backend: Backend) -> None:
        self._documents = backend.documents
        self._journal = backend.journal

    async def rows(self) -> dict[Key, Row]:
        """All that are active, or of which something is still to be told or to be put aside."""
        found = (Row(entry.value, entry.version) for entry in await _SHELF.all(self._documents))
        return {(row.kept.alert.rule, row.kept.alert.subject): row for row in found}

    async def get(self, key: Key) -> Row | None:
        """One of them."""
        found = await _SHELF.get(self._documents, document_id(*key))
        return None if found is None else Row(found.value, found.version)

    async def put(self, kept: Kept, version: int) -> bool:
        """Write one; False, and nothing was changed, where somebody else was first."""
        kept = replace(kept, untold=kept.untold[-MOST_UNTOLD:])
        return await _SHELF.put(self._documents, document_id(kept.alert.rule, kept.alert.subject), kept, version)

    async def change(self, key: Key, change: Callable[[Kept], Kept | None]) -> Kept | None:
        """Change one, whoever else does so at the same time.

        Arguments:
            change: gives what it is to be, or None where nothing is to be changed.

        Returns:
            What it is now; None where it is not there, or was not changed.
        """
        return await _SHELF.change(self._documents, document_id(*key), change)

    async def announce(self, channel: str, now: datetime) -> None:
        """Let those who look know of a channel by which this process can tell.

        Arguments:
            now: by the store's clock.
        """
        found = await self._documents.get(CHANNEL, channel)
        said = None if found is None else _CHANNELS.known(found)
        if said is None or now - said >= CHANNEL_SAID:
            await _CHANNELS.put(self._documents, channel, now, 0 if found is None else found.version)

    async def channels(self, now: datetime) -> set[str]:
        """The channels by which somebody can tell, or could within the last day: whoever restarts is waited for."""
        return {one.id for one in await _CHANNELS.all(self._documents) if now - one.value < CHANNEL_KEPT}

    async def put_aside(self, row: Row) -> None:
        """Keep an alert that is over, and of which all is told, among those of the past."""
        alert = row.kept.alert
        await self.note(alert)
        await self._documents.delete(KIND, document_id(alert.rule, alert.subject), row.version)

    async def note(self, alert: Alert) -> None:
        """Write an alert into the past; who writes one twice, having died before its document went, shows it once."""
        data = msgspec.json.encode(alert)
        while not await self._journal.append(JOURNAL, await self._journal.newest(JOURNAL) + 1, data):
            pass
        if (newest := await self._journal.newest(JOURNAL)) % PAGE == 0:
            await self._journal.trim(JOURNAL, newest - KEPT)

    async def past(self, limit: int = KEPT) -> list[Alert]:
        """The alerts that were put aside, the newest first."""
        newest = await self._journal.newest(JOURNAL)
        found: dict[str, Alert] = {}
        after = max(0, newest - min(limit, KEPT))
        while entries := await self._journal.read(JOURNAL, after, PAGE):
            after = entries[-1].number
            for entry in entries:
                if (alert := _read_alert(entry.data)) is not None:
                    found[alert.id] = alert
        return list(found.values())[::-1]


def with_notice(kept: Kept, change: Change, at: datetime, channels: Iterable[str]) -> Kept:
    """What is kept, and that a change of it is to be told."""
    channels = tuple(channels)
    if not channels:
        return kept
    return replace(kept, untold=(*kept.untold, notice_of(change, kept.alert, at, channels)))


def without_notice(kept: Kept, id: str, channel: str) -> Kept:
    """What is kept once a notice was told by a channel."""
    left = [
        replace(notice, channels=tuple(one for one in notice.channels if one != channel)) if notice.id == id else notice
        for notice in kept.untold
    ]
    return replace(kept, untold=tuple(notice for notice in left if notice.channels))


def document_id(rule: str, subject: str) -> str:
    """The id of the document of a rule and a subject.

    >>> document_id("oldest_age", "mail")
    'oldest_age mail'
    """
    id = f"{rule} {subject}"
    return id if len(id) <= LONGEST_ID else f"{rule} {sha256(subject.encode('utf-8', 'replace')).hexdigest()}"


def plain(alert: Alert) -> Mapping[str, object]:
    """An alert as JSON data, with all that it may have."""
    told: dict[str, object] = {name: getattr(alert, name) for name in alert.__struct_fields__}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}


def is_older(instant: datetime | None, now: datetime, seconds: float) -> bool:
    """Whether an instant was so many seconds ago."""
    return instant is not None and now - instant >= timedelta(seconds=seconds)


def _read_alert(data: bytes) -> Alert | None:
    try:
        return msgspec.json.decode(data, type=Alert)
    except msgspec.MsgspecError:
        return None
