"""Who fails at what others do well: the rule at its edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.outliers import Figures, Outlier, Tally, outlier, suspicious

figures = st.integers(0, 200).flatmap(lambda runs: st.tuples(st.just(runs), st.integers(0, runs)))
workers = st.dictionaries(st.sampled_from("abc"), figures)


@pytest.mark.parametrize(
    ("own", "others", "stands_out"),
    [
        ((20, 10), (20, 2), True),
        ((20, 20), (20, 0), True),
        ((20, 10), (20, 0), True),
        ((19, 19), (20, 0), False),
        ((20, 20), (19, 0), False),
        ((20, 9), (20, 0), False),
        ((100, 80), (100, 20), True),
        ((100, 79), (100, 20), False),
        ((100, 84), (100, 21), False),
    ],
    ids=[
        *("all at the limit", "everything", "others never", "few own runs", "few other runs", "less than half"),
        *("four times", "less than four times", "others do badly too"),
    ],
)
def test_the_rule(own: tuple[int, int], others: tuple[int, int], stands_out: bool) -> None:
    expected = Outlier("mail", Tally(*own), Tally(*others)) if stands_out else None
    assert outlier({"mail": own}, [{"mail": others}]) == expected


def test_the_only_worker_is_compared_with_nobody() -> None:
    assert outlier({"mail": (1000, 1000)}, []) is None
    assert outlier({"mail": (1000, 1000)}, [{}, {"read": (1000, 0)}]) is None


def test_the_others_count_together() -> None:
    found = outlier({"mail": (20, 20)}, [{"mail": (10, 1)}, {"mail": (10, 2), "read": (5, 5)}])
    assert found == Outlier("mail", Tally(20, 20), Tally(20, 3))


def test_a_name_is_compared_by_itself() -> None:
    # More than half of all runs failed here and few elsewhere, but of each name as many as elsewhere.
    own, other = {"bad": (80, 72), "good": (20, 0)}, {"bad": (20, 18), "good": (200, 0)}
    assert outlier(own, [other]) is None


def test_the_worst_name_is_the_reason() -> None:
    own = {"a": (20, 12), "b": (20, 19), "c": (50, 30)}
    found = outlier(own, [dict.fromkeys(own, (100, 0))])
    assert found is not None
    assert found.name == "b"


@given(workers, st.lists(workers, max_size=4))
def test_of_those_who_stand_out_others_do_well(own: Figures, others: list[Figures]) -> None:
    found = outlier(own, others)
    if found is not None:
        assert found.name in suspicious(own)
        assert found.own.share >= max(0.5, 4 * found.others.share)
        assert sum(each.get(found.name, (0, 0))[0] for each in others) == found.others.runs >= 20
