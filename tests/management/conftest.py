"""An application on each store, somebody who may do everything, and the keys of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from taskq import App
from taskq.config import Settings
from taskq.management import Actor, Management, Role
from taskq.management.keys import KIND
from taskq.ports import Document
from tests.hooks import HookServer, webhooks_to
from tests.management.mails import MailServer, mail_server

ADMIN = Actor("ann", [Role.ADMIN], request_id="r1")


@pytest.fixture(params=["memory", "redis", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty store of each kind."""
    return "memory://" if request.param == "memory" else str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def app(url: str) -> AsyncIterator[App]:
    """An application on it."""
    async with App(url) as app:
        yield app


@pytest.fixture
def management(app: App) -> Management:
    """The Management for somebody who may do everything."""
    return Management(app, ADMIN)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **spans: float) -> None:
        """Let time pass."""
        self.now += timedelta(**spans)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


async def documents(app: App) -> list[Document]:
    """The keys as they are stored."""
    return list((await (await app.backend()).documents.list(KIND)).documents)


@pytest.fixture
async def mails() -> AsyncIterator[MailServer]:
    """A server that takes mails."""
    async with mail_server() as server:
        yield server


@pytest_asyncio.fixture
async def hooked(url: str, hooks: HookServer) -> AsyncIterator[App]:
    """An application on a store of each kind, which may call the server, with a task that nobody runs."""
    async with App(url, settings=Settings(webhooks=webhooks_to(hooks))) as app:
        await app.aenqueue("mail.send", {}, queue="mail")
        yield app
