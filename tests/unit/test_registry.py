"""The tasks of an application by name: default names, also of scripts; duplicates; the nearest."""

from __future__ import annotations

import functools
import importlib
import os
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
    with pytest.raises(InvalidOption, match="task "):
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


def test_two_functions_of_one_factory() -> None:
    other = App("memory://")

    def make(step: int) -> Any:
        @other.task
        def add(x: int) -> int:
            return x + step

        return add

    make(1)
    message = r"two functions want the task name '.*\.add': .* was made twice.*; give .* @app.task\(name=…\)"
    with pytest.raises(ConfigError, match=message):
        make(2)
    assert len(other.tasks) == 1


def test_two_functions_of_one_name_in_one_module() -> None:
    other = App("memory://")
    other.task(lambda: 1)
    with pytest.raises(ConfigError, match="was made twice"):
        other.task(lambda: 2)


RELOADED = """
from tests.unit.test_registry import reloaded

@reloaded.task
def add(x: int) -> int:
    return x

@reloaded.task(name="twice")
def twice(x: int) -> int:
    return 2 * x
"""
reloaded = App("memory://")


def test_a_module_that_is_loaded_again_replaces_its_tasks_wherever_they_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = RELOADED.replace("tests.unit.test_registry", __name__)
    path = tmp_path / "jobs_to_reload.py"
    path.write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("jobs_to_reload")
    try:
        first = reloaded.tasks.get("jobs_to_reload.add")
        path.write_text(f"# two lines\n# more\n{source}", encoding="utf-8")
        importlib.reload(module)
        assert reloaded.tasks.get("jobs_to_reload.add") is not first
        assert len(reloaded.tasks) == 2
    finally:
        del sys.modules["jobs_to_reload"]


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


AGAIN = """
@app.task
def add(x: int, y: int, z: int) -> int:
    return x + y + z
"""
BY_HAND = """
exec(compile(AGAIN, "<stdin>", "exec"))
"""


def run_python(folder: Path, *arguments: str) -> tuple[str, str]:
    """The output of a script, and the last line of what it complains about."""
    run = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return run.stdout.strip(), run.stderr.strip().rpartition("\n")[2]


def test_a_function_that_is_typed_again_replaces_itself(tmp_path: Path) -> None:
    typed = SCRIPT + AGAIN + "print(add(1, 2, 3), len(app.tasks))"
    assert run_python(tmp_path, "-c", typed) == ("__main__.add\n6 1", "")
    # As by hand after `python -i jobs.py`.
    script = f"AGAIN = {AGAIN!r}\n{SCRIPT}{BY_HAND}print(add(1, 2, 3), len(app.tasks))"
    (tmp_path / "jobs.py").write_text(script, encoding="utf-8")
    assert run_python(tmp_path, "jobs.py") == ("jobs.add\n6 1", "")


def test_two_functions_of_one_name_in_a_script(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(SCRIPT + AGAIN, encoding="utf-8")
    for arguments in (["jobs.py"], ["-m", "jobs"]):
        _, complaint = run_python(tmp_path, *arguments)
        assert "two functions want the task name 'jobs.add'" in complaint


CHILD = """
import importlib
from shop_app import app

def look() -> None:
    importlib.import_module("jobs")
    importlib.import_module("shop.tasks")
    print(sorted(task.name for task in app.tasks), flush=True)
"""
PARENT = """
import multiprocessing
from shop_app import app

@app.task(executor="process")
def add(x: int, y: int) -> int:
    return x + y

if __name__ == "__main__":
    from shop_child import look
    child = multiprocessing.get_context("spawn").Process(target=look)
    child.start()
    child.join()
"""


@pytest.mark.parametrize("arguments", [["jobs.py"], ["-m", "jobs"], ["shop/tasks.py"], ["-m", "shop.tasks"]], ids=str)
def test_a_child_process_that_imports_the_script_again_finds_one_task(package: Path, arguments: list[str]) -> None:
    for name, text in {"shop_app": "from taskq import App\napp = App()", "shop_child": CHILD}.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    for name in ("jobs.py", "shop/tasks.py"):
        (package / name).write_text(PARENT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(package)}
    run = subprocess.run(
        [sys.executable, *arguments], cwd=package, env=environment, capture_output=True, text=True, check=False
    )
    assert (run.stdout.strip(), run.stderr) == ("['jobs.add', 'shop.tasks.add']", "")


def test_a_name_of_our_own_is_not_given_away(app: App) -> None:
    with pytest.raises(ConfigError, match=r"'taskq\.webhook' is a task of taskq's own: give yours another"):
        app.task(name="taskq.webhook")(lambda url, task: None)
    assert len(app.tasks) == 0
    assert app.tasks.get("taskq.webhook").name == "taskq.webhook"
