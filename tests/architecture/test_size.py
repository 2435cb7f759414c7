"""No file, function, class or port grows beyond what a reader can take in."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.exceptions import SIZE
from tests.architecture.source import ALL_CODE, PACKAGES, Definition, Function, definitions, sources, unexplained

FILE_LINES = 400
FUNCTION_LINES = 50
PUBLIC_METHODS = 15
PORT_METHODS = 9
PORTS = "taskq/ports/"


def test_nothing_is_too_large() -> None:
    offences = [offence for path, text in sources(*ALL_CODE).items() for offence in too_large(path, text)]
    complaints = unexplained(offences, SIZE)
    assert not complaints, "\n".join(complaints)


def too_large(path: str, text: str) -> Iterator[str]:
    """Yield `name: what it has, what it may have` for everything in one file that is over its limit."""
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, over {FILE_LINES}"
    for name, node in definitions(ast.parse(text)):
        size, unit, limit = _measure(path, node)
        if size > limit:
            yield f"{path}::{name}: {size} {unit}, over {limit}"


def _measure(path: str, node: Definition) -> tuple[int, str, int]:
    if isinstance(node, Function):
        return _lines_of_code(node), "lines", FUNCTION_LINES
    methods = [child for child in node.body if isinstance(child, Function) and not child.name.startswith("_")]
    # An overload, or a property's setter, is not one more name to know.
    public = len({method.name for method in methods})
    if path.startswith(PORTS) and _is_protocol(node):
        # A port's properties are the ports that it bundles and what it declares of itself, not work for an adapter.
        return public - sum(_is_property(method) for method in methods), "methods of a port", PORT_METHODS
    # A test class has as many methods as there are cases; nobody has to learn them to use it.
    limit = PUBLIC_METHODS if path.split("/")[0] in PACKAGES else public
    return public, "public methods", limit


def _lines_of_code(function: Function) -> int:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def _is_property(method: Function) -> bool:
    return any(ast.unparse(decorator) == "property" for decorator in method.decorator_list)


def _is_protocol(node: ast.ClassDef) -> bool:
    bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
    return any(ast.unparse(base).split(".")[-1] == "Protocol" for base in bases)


def _class(methods: int, base: str = "") -> str:
    return f"class Large{base}:\n" + "".join(f"    def method_{number}(self): ...\n" for number in range(methods))


def _function(lines: int, docstring: str = "") -> str:
    return f"def large():\n{docstring}" + "    pass\n" * (lines - 1)


DOCSTRING = '    """First.\n\n    Third.\n    """\n'


@pytest.mark.parametrize(
    ("path", "text", "offence"),
    [
        ("taskq/a.py", "#\n" * 400, None),
        ("taskq/a.py", "#\n" * 401, "taskq/a.py: 401 lines, over 400"),
        ("tests/a.py", "#\n" * 401, "tests/a.py: 401 lines, over 400"),
        ("taskq/a.py", _function(50), None),
        ("taskq/a.py", _function(51), "taskq/a.py::large: 51 lines, over 50"),
        ("taskq/a.py", _function(50, DOCSTRING), None),
        ("taskq/a.py", _function(51, DOCSTRING), "taskq/a.py::large: 51 lines, over 50"),
        ("taskq/a.py", f"if True:\n  async {_function(51)}", "taskq/a.py::large: 51 lines, over 50"),
        ("taskq/a.py", _class(15), None),
        ("taskq/a.py", _class(16), "taskq/a.py::Large: 16 public methods, over 15"),
        ("taskq/a.py", _class(15) + "    def _private(self): ...\n", None),
        ("tests/a.py", _class(16), None),
        ("taskq/ports/a.py", _class(9, "(Protocol)"), None),
        ("taskq/ports/a.py", _class(10, "(Protocol)"), "taskq/ports/a.py::Large: 10 methods of a port, over 9"),
        ("taskq/ports/a.py", _class(10, "(Protocol[T])"), "taskq/ports/a.py::Large: 10 methods of a port, over 9"),
        ("taskq/ports/a.py", _class(9, "(Protocol)") + "    @property\n    def state(self): ...\n", None),
        ("taskq/ports/a.py", _class(10), None),
    ],
)  # fmt: skip
def test_the_measure(path: str, text: str, offence: str | None) -> None:
    assert list(too_large(path, text)) == ([] if offence is None else [offence])


@pytest.mark.parametrize(
    ("exceptions", "complaints"),
    [
        ({}, ["taskq/a.py: 401 lines"]),
        ({"taskq/a.py": "a table"}, []),
        ({"taskq/a.py": " "}, ["taskq/a.py: its exception needs a reason"]),
        (
            {"taskq/a.py": "a table", "taskq/b.py": "small by now"},
            ["taskq/b.py: its exception is no longer needed, remove it"],
        ),
    ],
)
def test_an_exception_has_a_reason_and_an_offence(exceptions: dict[str, str], complaints: list[str]) -> None:
    assert unexplained(["taskq/a.py: 401 lines"], exceptions) == complaints
