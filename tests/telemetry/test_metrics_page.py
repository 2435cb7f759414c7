"""docs/metrics.md names every metric that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from taskq.telemetry.prometheus import COUNTERS, GAUGES, HISTOGRAMS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_names_every_metric() -> None:
    cells = re.findall(r"^\| (`taskq_[^|]*)\|", PAGE.read_text(), re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"taskq_\w+", cell)}
    made = {f"{counter.name}_total" for counter in COUNTERS} | {each.name for each in (*GAUGES, *HISTOGRAMS)}
    assert named == made
