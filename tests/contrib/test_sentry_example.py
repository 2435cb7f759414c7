"""The example for Sentry, with something in its place that takes notes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from taskq import NoRetry
from tests.worker.support import ended, until, work


class Scope:
    """Notes what it is told; named as Sentry's own."""

    def __init__(self) -> None:
        self.fingerprint: list[str] = []
        self.noted: dict[str, Any] = {}

    def set_tag(self, key: str, value: str) -> None:
        self.noted[key] = value

    set_context = set_extra = set_tag

    def capture_message(self, message: str, level: str) -> None:
        self.noted["message"] = (level, message)


@pytest.fixture
def scopes(monkeypatch: pytest.MonkeyPatch) -> list[Scope]:
    """The scopes that were opened."""
    opened: list[Scope] = []

    @contextmanager
    def new_scope() -> Iterator[Scope]:
        opened.append(Scope())
        yield opened[-1]

    sdk: Any = ModuleType("sentry_sdk")
    sdk.init = lambda **said: None
    sdk.new_scope = new_scope
    monkeypatch.setitem(sys.modules, "sentry_sdk", sdk)
    monkeypatch.delitem(sys.modules, "examples.sentry_middleware", raising=False)
    monkeypatch.delenv("TASKQ_BACKEND", raising=False)
    return opened


async def test_a_failure_is_reported_with_its_fingerprint(scopes: list[Scope]) -> None:
    example: Any = importlib.import_module("examples.sentry_middleware")
    async with work(example.app):
        record = await ended(await example.divide.options(retry=NoRetry(), tenant="acme").aenqueue(1, 0))
        await until(lambda: scopes, "it was reported")
    await example.app.aclose()
    [scope] = scopes
    assert record.failure is not None
    assert scope.fingerprint == ["divide", record.failure.fingerprint]
    assert scope.noted["message"] == ("error", "ZeroDivisionError: float division by zero")
    assert scope.noted["task"] == {"id": record.id, "attempt": 1, "tenant": "acme", "worker": record.worker}
