"""The programs that stand in the pages of the docs run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (
    *("dead-letters", "encryption", "payload-versions", "pressure", "queues", "workflows"),
    *("timeouts", "middleware", "result-cache", "schedules", "management", "telemetry", "keys", "configuration"),
    *("doctor", "metrics", "alerts", "autoscale", "profiles", "tenants"),
    *(
        "retries",
        "priorities",
        "limits",
        "unique",
        "breakers",
        "back-pressure",
        "batches",
        "progress",
        "webhooks",
        "testing",
    ),
)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs() -> Iterator[Any]:
    """Every block of Python in the pages, with the name of its page and its first line."""
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text()
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start(1)) + 1
            yield pytest.param(page, line, block[1], id=f"{page}:{line}")


@pytest.mark.parametrize(("page", "line", "program"), list(programs()))
def test_a_program_in_the_docs_runs(page: str, line: int, program: str) -> None:
    # Empty lines before it, so that a traceback names the line of the page.
    code = compile("\n" * (line - 1) + program, f"docs/{page}.md", "exec")
    exec(code, {"__name__": "__docs__"})  # noqa: S102


def test_every_page_has_a_program() -> None:
    assert {program.values[0] for program in programs()} == set(PAGES)
