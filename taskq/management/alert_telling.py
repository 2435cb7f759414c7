"""Tells people of alerts: by webhook and by e-mail, off the way of who looks, and again where it was in vain."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import uuid4

import msgspec

from taskq.alert_rules import EMAIL, WEBHOOK, AlertOptions, EmailOptions, WebhookOptions
from taskq.app import App
from taskq.errors import ConfigError, InvalidOption, TaskqError
from taskq.management.alerts import CHANNEL_SAID, AlertBook, Kept, Key, Notice, plain, without_notice
from taskq.outbound.urls import read_url
from taskq.ports import Backend
from taskq.runtime.aside import aside
from taskq.runtime.duty import Duty
from taskq.runtime.service import said
from taskq.store_clock import store_now

EVERY = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds after which a channel is tried again: they double each time."""
AT_ONCE = 20
"""Notices that one try of a channel tells."""
LOOK_EVERY = 5.0
"""Seconds between two looks at what others have noticed."""
HELD = 15.0
"""Seconds for which the duty to tell by a channel is kept without being asked for again."""
MAIL_PATIENCE = 30.0
"""Seconds that a mail may take; its thread goes on, and until it ends no other mail is tried."""
MOST_WAITING = 500
MOST_CHANNELS = 2
GIVEN_UP = timedelta(days=1)
"""How old a notice may be before nobody wants to be told of it any more."""
logger = logging.getLogger("taskq.alerts")


class _Waiting(NamedTuple):
    """A notice that is to be told."""

    notice: Notice
    is_kept: bool
    """Whether the store has it, and is to know that it was told."""


Tell = Callable[[Sequence[Notice]], Awaitable[Sequence[Notice]]]
"""Tells some notices; returns those that were taken, and raises where none was."""


class _Channel:
    """One way to tell people, with its pauses.

    Arguments:
        name: as in the options.
        tell: by this way.
        duty: one process at a time tells by it.
    """

    def __init__(self, name: str, tell: Tell, duty: Duty) -> None:
        self.name = name
        self.tell = tell
        self.duty = duty
        self.failures = 0
        self.try_at = 0.0

    def failed(self, now: float) -> float:
        """It was in vain: the seconds to wait."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self.failures)
        self.failures = min(self.failures + 1, 20)
        self.try_at = now + pause
        return pause


class AlertTeller:
    """Tells what is to be told, at least once, whoever has noticed it.

    Arguments:
        app: whose store remembers what is still to be told.
        options: where to.
        now: the seconds of a clock that never goes back.
        holder: random for each start of a process; None: one is drawn.

    Raises:
        ConfigError: a webhook is wanted, and there is no secret to sign with, or its port is not one of those allowed.
    """

    def __init__(
        self,
        app: App,
        options: AlertOptions,
        now: Callable[[], float] = time.monotonic,
        holder: str | None = None,
    ) -> None:
        self._app = app
        self._now = now
        self._waiting: dict[str, _Waiting] = {}
        self._told: dict[tuple[str, str], None] = {}
        """Notices and channels of which it is known here that they were told, whatever the store has been told."""
        self._offered_at = -LOOK_EVERY
        self._look_at = self._announce_at = 0.0
        ways: dict[str, Tell] = {}
        if options.webhook is not None:
            ways[WEBHOOK] = _Poster(app, options.webhook).tell
        if options.email is not None:
            ways[EMAIL] = _Mailer(options.email).tell
        me = holder or uuid4().hex
        self._channels = [
            _Channel(name, tell, Duty(f"alerts.{name}", me, HELD, app.backend)) for name, tell in ways.items()
        ]

    @property
    def tells(self) -> tuple[str, ...]:
        """The channels by which it is our duty to tell."""
        return tuple(channel.name for channel in self._channels if channel.duty.is_held)

    def offer(self, rows: Sequence[Kept]) -> None:
        """What the store has that is to be told, all of it."""
        self._offered_at = self._now()
        self._take_up(rows)

    def _take_up(self, rows: Sequence[Kept]) -> None:
        kept = {notice.id: _Waiting(notice, True) for row in rows for notice in row.untold}
        mine = {id: one for id, one in self._waiting.items() if not one.is_kept}
        self._waiting = dict(list({**mine, **kept}.items())[:MOST_WAITING])

    def tell_without_store(self, notice: Notice) -> None:
        """Tell something that the store cannot keep now; it is lost where this process ends before it was told."""
        self._waiting[notice.id] = _Waiting(notice, False)

    async def tick(self) -> float:
        """Tell what waits; returns the seconds to the next time."""
        if self._channels and self._now() >= self._look_at:
            self._look_at = self._now() + LOOK_EVERY
            await self._look()
        for channel in self._channels:
            due = [one for one in self._waiting.values() if self._is_due(one, channel)]
            if channel.duty.is_held and due and self._now() >= channel.try_at:
                await self._tell(channel, sorted(due, key=lambda one: (one.notice.at, one.notice.id))[:AT_ONCE])
        await self._forget_told()
        return EVERY

    async def farewell(self) -> None:
        """Leave what is to be told to others, at once."""
        for channel in self._channels:
            await channel.duty.leave()

    async def _look(self) -> None:
        """Take the duties, and what others have noticed; a store that is away holds up nothing that is to be told."""
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._take_duties(await self._app.backend())
        except (TaskqError, TimeoutError) as error:
            logger.debug("what is to be told of alerts could not be looked at: %s", said(error))

    async def _take_duties(self, backend: Backend) -> None:
        book = AlertBook(backend)
        for channel in self._channels:
            await channel.duty.take()
        if self._now() >= self._announce_at:
            now = await store_now(backend)
            for channel in self._channels:
                await book.announce(channel.name, now)
            self._announce_at = self._now() + CHANNEL_SAID.total_seconds()
        if self.tells and self._now() - self._offered_at >= LOOK_EVERY:
            self._take_up([row.kept for row in (await book.rows()).values() if row.kept.untold])

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
            if notice.id in taken:
                self._told[notice.id, channel.name] = None

    async def _forget_told(self) -> None:
        """Have the store know what was told, and what nobody could be told for a day, by whichever process."""
        for id, (notice, is_kept) in list(self._waiting.items()):
            if datetime.now(UTC) - notice.at > GIVEN_UP:
                for name in notice.channels:
                    self._give_up(notice, name)
            done = [name for name in notice.channels if (id, name) in self._told]
            if is_kept and done:
                await self._mark((notice.alert.rule, notice.alert.subject), id, done)
            if len(done) == len(notice.channels):
                self._waiting.pop(id, None)
        while len(self._told) > MOST_WAITING * MOST_CHANNELS:
            del self._told[next(iter(self._told))]

    def _give_up(self, notice: Notice, channel: str) -> None:
        if (notice.id, channel) not in self._told:
            self._told[notice.id, channel] = None
            logger.error("alert %s: nobody could be told by %s for a day", notice.alert.id, channel)

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
    """Sends several notices in one mail, from a thread of its own, one mail at a time."""

    def __init__(self, options: EmailOptions) -> None:
        self._options = options
        self._sending = threading.Lock()

    async def tell(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Send them; returns all of them."""
        async with asyncio.timeout(MAIL_PATIENCE):  # a server may answer each step in time, and never come to the end
            await aside("taskq-mail", partial(self._send, notices))
        return notices

    def _send(self, notices: Sequence[Notice]) -> None:
        from taskq.management.alert_mail import MailFailed, send  # few use it, and `smtplib` takes its time to load

        if not self._sending.acquire(blocking=False):  # whoever waited for it was cancelled
            raise MailFailed(f"{self._options.host} has not taken the last mail yet")
        try:
            send(self._options, notices)
        finally:
            self._sending.release()


def said_of(notice: Notice) -> dict[str, object]:
    """What a webhook is told."""
    return {"type": f"alert.{notice.change}", "timestamp": notice.at.isoformat(), "data": plain(notice.alert)}
