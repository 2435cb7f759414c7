"""Tells people of alerts: by webhook and by e-mail, off the way of who looks, and again where it was in vain."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from taskq.alert_rules import EMAIL, WEBHOOK, AlertOptions, EmailOptions, WebhookOptions
from taskq.app import App
from taskq.errors import ConfigError, InvalidOption, TaskqError
from taskq.management.alerts import AlertBook, Kept, Key, Notice, plain, without_notice
from taskq.outbound.urls import read_url
from taskq.runtime.service import said

EVERY = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds after which a channel is tried again: they double each time."""
AT_ONCE = 20
"""Notices that one try of a channel tells."""
MOST_WAITING = 500
GIVEN_UP = timedelta(days=1)
"""How old a notice may be before nobody wants to be told of it any more."""
logger = logging.getLogger("taskq.alerts")


class _Waiting(NamedTuple):
    """A notice that is to be told."""

    notice: Notice
    is_kept: bool
    """Whether the store has it, and is to know that it was told."""


class _Channel:
    """One way to tell people, with its pauses.

    Arguments:
        name: as in the options.
        tell: tells some notices; returns those that were taken, and raises where none was.
    """

    def __init__(self, name: str, tell: Callable[[Sequence[Notice]], Awaitable[Sequence[Notice]]]) -> None:
        self.name = name
        self.tell = tell
        self.failures = 0
        self.try_at = 0.0

    def failed(self, now: float) -> float:
        """It was in vain: the seconds to wait."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.failures)
        self.failures = min(self.failures + 1, 20)
        self.try_at = now + pause
        return pause


class AlertTeller:
    """Tells what it is given, at least once.

    Arguments:
        app: whose store remembers what is still to be told.
        options: where to.
        now: the seconds of a clock that never goes back.

    Raises:
        ConfigError: a webhook is wanted, and there is no secret to sign with, or its port is not one of those allowed.
    """

    def __init__(self, app: App, options: AlertOptions, now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._now = now
        self._waiting: dict[str, _Waiting] = {}
        self._told: dict[tuple[str, str], None] = {}
        """Notices and channels of which it is known here that they were told, whatever the store has been told."""
        self._channels: list[_Channel] = []
        if options.webhook is not None:
            self._channels.append(_Channel(WEBHOOK, _Poster(app, options.webhook).tell))
        if options.email is not None:
            self._channels.append(_Channel(EMAIL, _Mailer(options.email).tell))

    def offer(self, rows: Sequence[Kept]) -> None:
        """What the store has that is to be told, all of it."""
        kept = {notice.id: _Waiting(notice, True) for row in rows for notice in row.untold}
        mine = {id: one for id, one in self._waiting.items() if not one.is_kept}
        self._waiting = dict(list({**mine, **kept}.items())[:MOST_WAITING])

    def tell_without_store(self, notice: Notice) -> None:
        """Tell something that the store cannot keep now; it is lost where this process ends before it was told."""
        self._waiting[notice.id] = _Waiting(notice, False)

    async def tick(self) -> float:
        """Tell what waits; returns the seconds to the next time."""
        for channel in self._channels:
            due = [one for one in self._waiting.values() if self._is_due(one, channel)]
            if due and self._now() >= channel.try_at:
                await self._tell(channel, sorted(due, key=lambda one: (one.notice.at, one.notice.id))[:AT_ONCE])
        await self._forget_told()
        return EVERY

    def _is_due(self, waiting: _Waiting, channel: _Channel) -> bool:
        notice = waiting.notice
        return channel.name in notice.channels and (notice.id, channel.name) not in self._told

    async def _tell(self, channel: _Channel, due: Sequence[_Waiting]) -> None:
        notices = [one.notice for one in due]
        told: Sequence[Notice] = []
        try:
            told = await channel.tell(notices)
        except Exception as error:  # noqa: BLE001 - whatever a channel raises, the others go on, and so does this one
            pause = channel.failed(self._now())
            logger.warning("alerts cannot be told by %s, next try in %.0f s: %s", channel.name, pause, said(error))
        else:
            if len(told) == len(notices):
                channel.failures = 0
            else:
                channel.failed(self._now())
        taken = {notice.id for notice in told}
        for notice in notices:
            is_late = datetime.now(UTC) - notice.at > GIVEN_UP
            if notice.id in taken or is_late:
                self._told[notice.id, channel.name] = None
                if notice.id not in taken:
                    logger.error("alert %s: nobody could be told by %s for a day", notice.alert.id, channel.name)

    async def _forget_told(self) -> None:
        """Have the store know what was told; of what has no channel here nobody is ever told, and that is known too."""
        names = {channel.name for channel in self._channels}
        for id, (notice, is_kept) in list(self._waiting.items()):
            done = [name for name in notice.channels if name not in names or (id, name) in self._told]
            if is_kept and done:
                await self._mark((notice.alert.rule, notice.alert.subject), id, done)
            if len(done) == len(notice.channels):
                self._waiting.pop(id, None)
        while len(self._told) > MOST_WAITING * len(self._channels):
            del self._told[next(iter(self._told))]

    async def _mark(self, key: Key, id: str, channels: Sequence[str]) -> None:
        def marked(kept: Kept) -> Kept | None:
            changed = kept
            for channel in channels:
                changed = without_notice(changed, id, channel)
            return None if changed == kept else changed

        try:
            await AlertBook(await self._app.backend()).change(key, marked)
        except TaskqError as error:  # it is marked with the next tick, or told once more by another process
            logger.debug("what was told of an alert could not be marked: %s", said(error))


class _Poster:
    """Posts each notice to a webhook, signed as those of tasks are."""

    def __init__(self, app: App, options: WebhookOptions) -> None:
        from taskq.webhooks import webhooks_from_environment  # few use it

        webhooks = app.settings.webhooks or app.assumed.webhooks() or webhooks_from_environment()
        if webhooks is None:
            raise ConfigError("alerts.webhook: there is no secret to sign with: set TASKQ_WEBHOOKS__SECRETS")
        try:
            self._target = read_url("alerts.webhook.url", options.url, webhooks.ports)
        except InvalidOption as error:
            raise ConfigError(str(error)) from None
        self._webhooks = webhooks
        self._headers = options.headers

    async def tell(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Post them, one after the other; returns those that were taken."""
        told, failure = [], None
        for notice in notices:
            try:
                await self._post(notice)
            except TaskqError as error:
                failure = error
            else:
                told.append(notice)
        if failure is not None and not told:
            raise failure
        return told

    async def _post(self, notice: Notice) -> None:
        try:
            from taskq.outbound.client import RequestFailed, post
        except ModuleNotFoundError as error:
            need = 'webhooks need a package that is not installed: pip install "pytaskq[webhooks]"'
            raise ConfigError(need) from error
        body = msgspec.json.encode(said_of(notice))
        headers = {"content-type": "application/json", "user-agent": "taskq", **self._headers}
        headers |= self._webhooks.headers(notice.id, body)
        answer = await post(self._target, body, headers, self._webhooks.allowed)
        if not 200 <= answer.status < 300:
            raise RequestFailed(f"{self._target.host} has answered {answer.status}")


class _Mailer:
    """Sends several notices in one mail, from a thread."""

    def __init__(self, options: EmailOptions) -> None:
        self._options = options

    async def tell(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Send them; returns all of them."""
        from taskq.management.alert_mail import send  # few use it, and `smtplib` takes its time to load

        await asyncio.to_thread(send, self._options, notices)
        return notices


def said_of(notice: Notice) -> dict[str, object]:
    """What a webhook is told."""
    return {"type": f"alert.{notice.change}", "timestamp": notice.at.isoformat(), "data": plain(notice.alert)}
