"""The examples in the docstrings of the pure parts run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import taskq.domain
import taskq.ports

MODULES = [
    module.name
    for package in (taskq.domain, taskq.ports)
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
] + ["taskq.errors", "taskq.testing.clock"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
