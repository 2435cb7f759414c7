"""The tasks of an application by name: default names, also of scripts; duplicates; the nearest."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taskq import App, ConfigError, InvalidOption, TaskNotRegistered
from taskq.registry import default_name

app = App("memory://")


@app.task
def top(x: int) -> int:
    return x


class Namespace:
    @staticmethod
    def inner() -> None: ...


def test_the_default_name_is_the_importable_one() -> None:
    def local() -> None: ...

    assert top.name == f"{__name__}.top"
    assert default_name(Namespace.inner) == f"{__name__}.Namespace.inner"
    assert default_name(local) == f"{__name__}.test_the_default_name_is_the_importable_one.local"
    assert default_name(lambda: None) == f"{__name__}.test_the_default_name_is_the_importable_one.lambda"


def test_what_has_no_name_must_be_given_one() -> None:
    nameless = functools.partial(top.function, 1)
    with pytest.raises(ConfigError, match=r"has no name of its own: give it one with @app.task\(name=…\)"):
        App("memory://").task(nameless)


def test_a_wrapped_function_has_the_name_of_the_one_inside() -> None:
    @functools.wraps(top.function)
    def outside(*args: Any, **kwargs: Any) -> Any: ...

    assert default_name(outside) == f"{__name__}.top"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a" * 201, "*", "{x}", 3])
def test_a_name_that_cannot_be(name: Any) -> None:
    with pytest.raises(InvalidOption, match="task '"):
        App("memory://").task(name=name or " ")(top.function)


def test_two_functions_of_one_name() -> None:
    other = App("memory://")
    other.task(name="job")(top.function)
    with pytest.raises(
        ConfigError, match=r"two functions want the task name 'job': .*\.top and .*\.Namespace\.inner; "
    ):
        other.task(name="job")(Namespace.inner)
    assert len(other.tasks) == 1


def test_the_same_function_again_replaces_itself_as_after_a_reload() -> None:
    other = App("memory://")
    other.task(top.function)
    again = other.task(top.function)
    assert list(other.tasks) == [again]


def test_the_nearest_name_is_offered() -> None:
    other = App("memory://")
    send = other.task(name="mail.send")(top.function)
    assert other.tasks.get("mail.send") is send
    assert other.tasks.find("mail.sent") is None
    with pytest.raises(TaskNotRegistered, match=r"^no task named 'mail.sent' is registered; did you mean mail.send\?$"):
        other.tasks.get("mail.sent")
    with pytest.raises(TaskNotRegistered, match=r"^no task named 'xyz' is registered$") as caught:
        other.tasks.get("xyz")
    assert caught.value.name == "xyz"


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "__import__", "subprocess.Popen"])
def test_a_name_is_looked_up_and_never_imported(name: str) -> None:
    with pytest.raises(TaskNotRegistered):
        app.tasks.get(name)


SCRIPT = """
from taskq import App
app = App("memory://")

@app.task
def add(x: int, y: int) -> int:
    return x + y

if __name__ == "__main__":
    print(add.name)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a script, and a package with a module, a package inside and a `__main__`."""
    inner = tmp_path / "shop" / "mail"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    for path in (tmp_path / "jobs.py", tmp_path / "shop" / "tasks.py", inner / "out.py", inner / "__main__.py"):
        path.write_text(SCRIPT, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["jobs.py"], "jobs.add"),
        (["./jobs.py"], "jobs.add"),
        (["-m", "jobs"], "jobs.add"),
        (["shop/tasks.py"], "shop.tasks.add"),
        (["-m", "shop.tasks"], "shop.tasks.add"),
        (["shop/mail/out.py"], "shop.mail.out.add"),
        (["-m", "shop.mail.out"], "shop.mail.out.add"),
        (["-m", "shop.mail"], "shop.mail.__main__.add"),
        (["-c", SCRIPT], "__main__.add"),
    ],
    ids=["path", "dotted-path", "module", "path-in-package", "module-in-package", "deep-path", "deep-module", "package",
         "command"],
)  # fmt: skip
def test_the_name_in_a_script_is_the_one_by_which_a_worker_imports_it(
    package: Path, arguments: list[str], name: str
) -> None:
    run = subprocess.run([sys.executable, *arguments], cwd=package, capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == (name, "")
