"""The Python in these pages runs, each block by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("timeouts.md", "middleware.md", "result-cache.md")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(page, block, id=f"{page} {number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall((DOCS / page).read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_it_runs(page: str, block: str) -> None:
    exec(compile(block, page, "exec"), {"__name__": "page"})  # noqa: S102 - it is ours


def test_each_page_has_some() -> None:
    assert {param.values[0] for param in BLOCKS} == set(PAGES)
