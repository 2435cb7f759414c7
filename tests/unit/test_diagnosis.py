"""What is said of damage: each kind has words, and its line in the page for operators."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq.ports import Damage, FindingStatus
from taskq.ports.diagnosis import SAMPLE, damaged

PAGE = (Path(__file__).parents[2] / "docs/doctor.md").read_text()


@pytest.mark.parametrize("kind", Damage)
def test_each_kind_says_how_bad_it_is_and_what_to_do(kind: Damage) -> None:
    finding = damaged(kind, {f"{n:02}" for n in range(1200)})
    assert finding.status is not FindingStatus.OK
    assert finding.detail.startswith("1,200 ")
    assert (finding.number, len(finding.sample)) == (1200, SAMPLE)
    assert finding.is_repairable == ("--repair" in finding.advice)
    assert f"| `{kind}` |" in PAGE
