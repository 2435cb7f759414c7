"""Fail where too little is covered: statements and branches each for themselves, and all of what must be exact.

`python -m tests.coverage_gate COVERAGE_JSON`, a report of `coverage json` with branches.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WHOLE = {"statements": 90.0, "branches": 85.0}
EXACT = ("taskq/domain/", "taskq/ports/")
KEYS = {"statements": ("covered_lines", "num_statements"), "branches": ("covered_branches", "num_branches")}


def shortfalls(report: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each figure of a coverage report that is too low, an empty list where all is well."""
    files: Mapping[str, Any] = report["files"]
    sentences = [
        f"{what}: {percent:.1f} % covered, {WHOLE[what]:g} % needed"
        for what, percent in percentages(report["totals"]).items()
        if percent < WHOLE[what]
    ]
    for package in EXACT:
        inside = {path: file for path, file in files.items() if path.startswith(package)}
        if not inside:
            sentences.append(f"{package}: no file of it was measured")
        sentences += [f"{path}: {missing}" for path, file in inside.items() if (missing := _missing(file))]
    return sentences


def percentages(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the covered share of statements and of branches, in percent; 100 where there are none."""
    return {
        what: 100.0 * summary[covered] / summary[total] if summary[total] else 100.0
        for what, (covered, total) in KEYS.items()
    }


def _missing(file: Mapping[str, Any]) -> str:
    lines = ", ".join(str(line) for line in file["missing_lines"])
    branches = ", ".join(f"{start}→{end}" for start, end in file["missing_branches"])
    return "; ".join(
        f"{what} {where} not covered" for what, where in (("lines", lines), ("branches", branches)) if where
    )


def main(path: str) -> int:
    """Print the verdict on the report at `path` and return the exit status."""
    report = json.loads(Path(path).read_text())
    found = shortfalls(report)
    whole = ", ".join(f"{percent:.1f} % of {what}" for what, percent in percentages(report["totals"]).items())
    print(f"covered: {whole}", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
