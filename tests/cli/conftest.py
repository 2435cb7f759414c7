"""A folder with an application in it, and stores to run it on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.support import LIMITED, TASKS, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in a folder with an application, `tasks:app`, whose processes end with the test."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "tasks.py").write_text(TASKS)
    with Shell(folder) as shell:
        yield shell


@pytest.fixture(params=["redis", "postgres"])
def shared_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind that processes can share."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


Write = Callable[[str, str], None]


@pytest.fixture
def write(shell: Shell) -> Write:
    """Write a file into the folder of the shell."""

    def write(name: str, text: str) -> None:
        (shell.folder / name).write_text(text)

    return write


@pytest.fixture
def kept(tmp_path: Path) -> str:
    """The URL of an empty store in a file, which commands in this process share with the test."""
    return f"memory://?snapshot={tmp_path / 'kept'}"


@pytest.fixture
def limited(kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The -A of an application whose tasks have limits, and whose store is `kept`."""
    name = f"limited_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(LIMITED.format(url=kept))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield f"{name}:app"
    sys.modules.pop(name, None)
