"""The project's own source, parsed, for the rules of this folder."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("taskq", "taskq_redis", "taskq_postgres", "taskq_memory")
ALL_CODE = (*PACKAGES, "tests", "examples", "benchmarks", "noxfile.py")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@cache
def sources(*tops: str) -> dict[str, str]:
    """Return the text of every Python file under `tops`, by its path from the root of the project."""
    files = [file for top in tops for file in sorted(_python_files(ROOT / top))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Yield every class and function under `tree` with its qualified name, the outer before the inner."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            yield prefix + node.name, node
            yield from definitions(node, f"{prefix}{node.name}.")
        else:
            yield from definitions(node, prefix)


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Return what each name that `tree` imports stands for: `sleep` for `time.sleep`, `np` for `numpy`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: _target(alias) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def full_name(node: ast.expr, names: dict[str, str]) -> str:
    """Return the dotted name that `node` refers to, `""` where it is no plain name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (owner := full_name(node.value, names)):
        return f"{owner}.{node.attr}"
    return ""


def unexplained(offences: Iterable[str], exceptions: dict[str, str]) -> list[str]:
    """Return the offences that no exception names, and the exceptions that have no offence or no reason.

    Args:
        offences: each begins with the name that an exception would have, then a colon and a space.
        exceptions: reasons by name.
    """
    named = [(offence.split(": ")[0], offence) for offence in offences]
    needed = {name for name, _ in named}
    return [
        *(offence for name, offence in named if name not in exceptions),
        *(f"{name}: its exception is no longer needed, remove it" for name in exceptions if name not in needed),
        *(f"{name}: its exception needs a reason" for name, reason in exceptions.items() if not reason.strip()),
    ]


def _target(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.split(".")[0]


def _python_files(top: Path) -> Iterator[Path]:
    return iter([top]) if top.is_file() else top.rglob("*.py")
