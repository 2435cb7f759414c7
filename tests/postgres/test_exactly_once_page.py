"""The programs of docs/exactly-once.md do what the page says, on a database of their own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taskq import App
from tests.postgres.effects import impatient

PAGE = Path(__file__).parents[2] / "docs" / "exactly-once.md"
SHOP = "localhost/shop"


@pytest.fixture
def program(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """Imports a program of the page, its database being the test's."""

    def imported(number: int) -> Any:
        text = PAGE.read_text().split("```python\n")[number].partition("```")[0]
        assert SHOP in text
        for scheme in ("postgresql://", "postgresql+psycopg://"):
            text = text.replace(f"{scheme}{SHOP}", postgres_url.replace("postgresql://", scheme))
        (tmp_path / f"exactly_once_{number}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(f"exactly_once_{number}")

    return imported


async def test_a_charge_and_its_completion(app: App, postgres_url: str, program: Callable[[int], Any]) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create table account as select 7 as id, 500 as balance")
    page = program(1)
    async with page.app, impatient(page.app):
        assert await (await page.charge.aenqueue(7, 120)).aresult(30) == 380
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select id, balance from account").fetchall() == [(7, 380)]


async def test_a_charge_in_a_session_of_ones_own(app: App, postgres_url: str, program: Callable[[int], Any]) -> None:
    page = program(2)
    page.Base.metadata.create_all(page.engine)
    async with page.app, impatient(page.app):
        await (await page.charge.aenqueue(7)).aresult(30)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select account from charge").fetchall() == [(7,)]
    page.engine.dispose()
