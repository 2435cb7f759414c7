"""An application of each test's own, whose clock is turned by hand."""

from __future__ import annotations

import pytest

from taskq import App, Task
from taskq.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """The time of the store."""
    return VirtualClock()


@pytest.fixture
def app(clock: VirtualClock) -> App:
    """An application on a memory of its own."""
    return App("memory://", clock=clock)


@pytest.fixture
def load(app: App) -> Task[..., None]:
    """A task to fill batches with."""

    @app.task(name="load")
    def load(row: int = 0) -> None: ...

    return load


@pytest.fixture
def done(app: App) -> Task[..., None]:
    """A callback."""

    @app.task(name="done", queue="callbacks")
    def done(what: str = "", *, times: int = 1) -> None: ...

    return done
