"""An application in memory for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from taskq import App


@pytest_asyncio.fixture
async def app() -> AsyncIterator[App]:
    """An application in memory."""
    app = App("memory://")
    yield app
    await app.aclose()
