"""What the code may not do, where no linter says it: sleep in a test, skip one, run data as code, import at large."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.architecture.exceptions import SLEEPS
from tests.architecture.source import (
    PACKAGES,
    ROOT,
    Function,
    definitions,
    full_name,
    imported_names,
    sources,
    unexplained,
)

SLEEPING = {"time.sleep", "asyncio.sleep"}
UNPICKLING = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}
RUNNING = {"eval", "exec", "builtins.eval", "builtins.exec"}
SKIPPING = {
    *("pytest.skip", "pytest.xfail", "pytest.importorskip"),
    *("pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"),
    *("unittest.skip", "unittest.skipIf", "unittest.skipUnless", "unittest.SkipTest", "unittest.expectedFailure"),
}
HEAVY = {
    "redis",
    "psycopg",
    "pydantic",
    "yaml",
    "click",
    "cryptography",
    "starlette",
    "grpc",
    "multiprocessing.pool",
    "httpcore",
    "email",
}
OF_FEW = {"taskq.webhooks", "taskq.webhook_task", "taskq.pairing", "taskq.outbound"}
"""Modules of ours for what few applications use."""


def test_no_test_sleeps_for_a_fixed_time() -> None:
    offences = [offence for path, text in sources("tests").items() for offence in fixed_sleeps(path, text)]
    complaints = unexplained(offences, SLEEPS)
    assert not complaints, "\n".join(complaints)


def test_no_data_is_run_as_code() -> None:
    complaints = [offence for path, text in sources(*PACKAGES).items() for offence in dangers(path, text)]
    assert not complaints, "\n".join(complaints)


def test_nothing_is_skipped() -> None:
    complaints = [offence for path, text in sources("tests", "taskq").items() for offence in skips(path, text)]
    assert not complaints, "\n".join(complaints)


def test_importing_taskq_loads_nothing_heavy() -> None:
    script = "import sys, taskq; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "taskq" in loaded
    assert (HEAVY | OF_FEW).intersection(loaded) == set()


def fixed_sleeps(path: str, text: str) -> Iterator[str]:
    """Yield `path::function: the call` for each sleep with a positive number written into it."""
    tree = ast.parse(text)
    names = imported_names(tree)
    for owner, call in _calls(tree):
        if full_name(call.func, names) in SLEEPING and any(_is_positive(value) for value in _values(call)):
            yield f"{path}::{owner}: {ast.unparse(call)}"


def dangers(path: str, text: str) -> Iterator[str]:
    """Yield `path: what` for each import of a pickling module and each call of `eval` or `exec`."""
    tree = ast.parse(text)
    names = imported_names(tree)
    yield from (f"{path}: imports {name}" for name in names.values() if name.split(".")[0] in UNPICKLING)
    yield from (f"{path}: {ast.unparse(call)}" for _, call in _calls(tree) if full_name(call.func, names) in RUNNING)


def skips(path: str, text: str) -> Iterator[str]:
    """Yield `path: what` for each use of a marker or function that leaves a test out."""
    tree = ast.parse(text)
    names = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and full_name(node, names) in SKIPPING:
            yield f"{path}: {full_name(node, names)}"


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with the qualified name of the innermost function around it."""
    owners = {inner: name for name, node in definitions(tree) if isinstance(node, Function) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield owners.get(node, ""), node


def _values(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _is_positive(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float) and value.value > 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import time\ndef f(): time.sleep(0.1)", ["a.py::f: time.sleep(0.1)"]),
        ("import asyncio\nclass C:\n  async def f(self): await asyncio.sleep(1)", ["a.py::C.f: asyncio.sleep(1)"]),
        ("from time import sleep as nap\nnap(secs=2)", ["a.py::: nap(secs=2)"]),
        ("import asyncio\nasync def f(): await asyncio.sleep(0)", []),
        ("import time\ndef f(pause): time.sleep(pause)", []),
        ("def f(clock): clock.sleep(5)", []),
    ],
)
def test_the_search_for_sleeps(text: str, found: list[str]) -> None:
    assert list(fixed_sleeps("a.py", text)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pickle", ["a.py: imports pickle"]),
        ("import pickle as p", ["a.py: imports pickle"]),
        ("def f():\n  from pickle import loads", ["a.py: imports pickle.loads"]),
        ("eval('1')", ["a.py: eval('1')"]),
        ("import builtins\nbuiltins.exec(code)", ["a.py: builtins.exec(code)"]),
        ("connection.exec('SELECT 1'); literal_eval(text)", []),
    ],
)
def test_the_search_for_data_run_as_code(text: str, found: list[str]) -> None:
    assert list(dangers("a.py", text)) == found


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("tests/a.py", "import pytest\n@pytest.mark.skip\ndef test(): ...", ["tests/a.py: pytest.mark.skip"]),
        ("tests/a.py", "import pytest\npytestmark = pytest.mark.skipif(x)", ["tests/a.py: pytest.mark.skipif"]),
        ("tests/a.py", "from pytest import mark\n@mark.xfail()\ndef test(): ...", ["tests/a.py: pytest.mark.xfail"]),
        ("tests/a.py", "from pytest import skip\nskip('why')", ["tests/a.py: pytest.skip"]),
        ("tests/a.py", "import pytest\n@pytest.mark.timeout(5)\ndef test(): ...", []),
        ("taskq/testing/a.py", "import pytest\npytest.skip('why')", ["taskq/testing/a.py: pytest.skip"]),
    ],
)
def test_the_search_for_skips(path: str, text: str, found: list[str]) -> None:
    assert list(skips(path, text)) == found
