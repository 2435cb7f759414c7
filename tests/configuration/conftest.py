"""A folder with a configuration file in it, and stores to tell of queues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from taskq.backends import create_backend
from taskq.configuration import Configuration, WrongConfiguration, load
from taskq.ports import Backend, BackendOptions

Read = Callable[..., Configuration]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a configuration in a folder of its own: of the text of a file, of variables, of arguments."""

    def read(text: str | None = None, name: str = "taskq.yaml", **said: Any) -> Configuration:
        if text is not None:
            (tmp_path / name).write_text(text)
        variables: Mapping[str, str] = said.pop("environment", {})
        return load(environment=variables, folder=tmp_path, **said)

    return read


@pytest.fixture
def wrong(read: Read) -> Callable[..., list[str]]:
    """The lines that say what is wrong."""

    def wrong(text: str | None = None, **said: Any) -> list[str]:
        with pytest.raises(WrongConfiguration) as refusal:
            read(text, **said)
        return list(refusal.value.lines)

    return wrong


@pytest.fixture(params=["memory", "redis", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind."""
    url: str = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def backend(store_url: str) -> AsyncIterator[Backend]:
    """An open, empty store of each kind."""
    async with create_backend(store_url, BackendOptions()) as backend:
        yield backend
