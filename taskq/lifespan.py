"""The life of a worker: what an application opens before its first task, and closes after its last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from inspect import iscoroutine
from typing import Any

from taskq.app import App, Lifespan
from taskq.config import shown
from taskq.errors import BackendUnavailable, ConfigError, OutcomeUnknown
from taskq.frames import summary


@asynccontextmanager
async def life_of(app: App) -> AsyncIterator[Any]:
    """Enter what `App(lifespan=…)` was given, and yield its state, None where nothing was given.

    >>> import asyncio
    >>> from contextlib import asynccontextmanager
    >>> @asynccontextmanager
    ... async def lifespan(app):
    ...     yield {"limit": 3}
    >>> async def example():
    ...     async with life_of(App("memory://", lifespan=lifespan)) as state:
    ...         return state
    >>> asyncio.run(example())
    {'limit': 3}

    Raises:
        ConfigError: it raises before it yields; the message says what, and where.
    """
    if app.lifespan is None:
        yield None
        return
    async with AsyncExitStack() as stack:
        yield await _begin(stack, app, app.lifespan)


async def _begin(stack: AsyncExitStack, app: App, lifespan: Lifespan) -> Any:
    try:
        manager: object = lifespan(app)
        if isinstance(manager, AbstractAsyncContextManager):
            return await stack.enter_async_context(manager)
    except (BackendUnavailable, OutcomeUnknown):
        raise  # no mistake: a store that is away will be back
    except Exception as error:
        raise ConfigError(f"the lifespan raised {summary(error)}") from error
    if iscoroutine(manager):
        manager.close()
    name = getattr(lifespan, "__qualname__", shown(lifespan))
    raise ConfigError(f"lifespan={name} gives no async context manager: put @contextlib.asynccontextmanager over it")
