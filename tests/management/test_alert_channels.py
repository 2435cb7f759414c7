"""Who looks and who tells may be two: whoever has a channel tells what anybody has noticed."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from taskq import App
from taskq.management import Management
from taskq.management.alert_mail import MailFailed
from taskq.management.alert_telling import _Mailer
from taskq.management.alerts import KIND
from tests.hooks import HookServer
from tests.management.alarms import AT_ONCE, hook, lives, mail, options, untold, watch_of
from tests.management.conftest import ADMIN
from tests.management.mails import MailServer


async def test_what_one_notices_who_has_no_channel_another_tells(hooked: App, hooks: HookServer) -> None:
    _, teller = watch_of(hooked, hook(hooks))
    await teller.tick()
    silent, mute = watch_of(hooked, options(no_worker=AT_ONCE))
    await silent.tick()
    await mute.tick()
    assert len(await untold(hooked)) == 1, "who cannot tell it leaves it to be told"
    teller._look_at = 0.0
    await teller.tick()
    assert [json.loads(request.body)["type"] for request in hooks.received] == ["alert.raised"]
    assert await untold(hooked) == []
    await lives(hooked, queues=("mail",))
    await silent.tick()
    teller._look_at = 0.0
    await teller.tick()
    assert [json.loads(request.body)["type"] for request in hooks.received] == ["alert.raised", "alert.cleared"]
    await silent.tick()
    assert len(await Management(hooked, ADMIN).alerts.history()) == 1
    assert (await (await hooked.backend()).documents.list(KIND)).documents == []


async def test_who_can_tell_and_starts_anew_finds_what_was_noticed_meanwhile(hooked: App, hooks: HookServer) -> None:
    _, before = watch_of(hooked, hook(hooks))
    await before.tick()
    await before.farewell()
    silent, _ = watch_of(hooked, options(no_worker=AT_ONCE))
    await silent.tick()
    _, after = watch_of(hooked, hook(hooks))
    await after.tick()
    assert [json.loads(request.body)["type"] for request in hooks.received] == ["alert.raised"]


async def test_each_channel_is_told_by_whoever_has_it(hooked: App, hooks: HookServer, mails: MailServer) -> None:
    watch, by_hook = watch_of(hooked, hook(hooks))
    _, by_mail = watch_of(hooked, mail(mails))
    await by_mail.tick()
    await watch.tick()
    await by_hook.tick()
    assert len(hooks.received) == 1
    assert len(await untold(hooked)) == 1
    by_mail._look_at = 0.0
    await by_mail.tick()
    assert len(mails.received) == 1
    assert await untold(hooked) == []


async def test_of_two_who_have_a_channel_one_tells(hooked: App, hooks: HookServer) -> None:
    (watch, first), (_, second) = watch_of(hooked, hook(hooks)), watch_of(hooked, hook(hooks))
    await second.tick()
    await watch.tick()
    for _ in range(2):
        await first.tick()
        second._look_at = 0.0
        await second.tick()
    assert (first.tells, second.tells) == ((), ("webhook",))
    assert len(hooks.received) == 1
    await second.farewell()
    await lives(hooked, queues=("mail",))
    await watch.tick()
    first._look_at = 0.0
    await first.tick()
    assert len(hooks.received) == 2


async def test_where_nobody_can_tell_nothing_is_left_to_be_told(hooked: App) -> None:
    watch, teller = watch_of(hooked, options(no_worker=AT_ONCE))
    await watch.tick()
    await teller.tick()
    assert await untold(hooked) == []


async def test_a_channel_that_is_no_more_is_waited_for_a_day(
    hooked: App, hooks: HookServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = watch_of(hooked, hook(hooks))
    await first.tick()
    await first.farewell()
    second, teller = watch_of(hooked, options(no_worker=AT_ONCE))
    await second.tick()
    await teller.tick()
    assert len(await untold(hooked)) == 1
    monkeypatch.setattr("taskq.management.alert_telling.GIVEN_UP", timedelta(0))
    await teller.tick()
    assert await untold(hooked) == []
    assert "nobody could be told by webhook for a day" in caplog.text


async def test_a_mail_needs_no_thread_of_user_tasks(hooked: App, mails: MailServer) -> None:
    stuck, loop = threading.Event(), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, stuck.wait)
    watch, teller = watch_of(hooked, mail(mails))
    await watch.tick()
    try:
        async with asyncio.timeout(20):
            await teller.tick()
    finally:
        stuck.set()
    assert len(mails.received) == 1


async def test_a_mail_that_comes_to_no_end_is_given_up_and_no_other_is_begun(
    app: App, mails: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, begun = threading.Event(), threading.Semaphore(0)

    def hangs(*_: object) -> None:
        begun.release()
        stuck.wait()

    monkeypatch.setattr("taskq.management.alert_mail.send", hangs)
    monkeypatch.setattr("taskq.management.alert_telling.MAIL_PATIENCE", 0.05)
    options = mail(mails).email
    assert options is not None
    mailer = _Mailer(options)
    with pytest.raises(TimeoutError):
        await mailer.tell([])
    monkeypatch.setattr("taskq.management.alert_telling.MAIL_PATIENCE", 30.0)
    assert begun.acquire(timeout=20)
    with pytest.raises(MailFailed, match=r"127\.0\.0\.1 has not taken the last mail yet"):
        await mailer.tell([])
    assert not begun.acquire(blocking=False)
    stuck.set()
