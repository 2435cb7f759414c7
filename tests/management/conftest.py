"""An application on each store, and somebody who may do everything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskq import App
from taskq.management import Actor, Management, Role

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
