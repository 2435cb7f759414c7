"""When a claim looks from the start of its lanes, and when from where the last one ended."""

from __future__ import annotations

from taskq_postgres.cursors import Cursors


def test_a_full_claim_is_followed_by_one_that_looks_further_on() -> None:
    cursors = Cursors()
    first = cursors.begin(["a", "b"])
    assert (first.after, first.is_sweep) == ([0] * 8, True)
    assert not cursors.end(first, [("a", 1, 7), ("a", 1, 5), ("b", 3, 9)], is_full=True)
    second = cursors.begin(["b", "a"])
    assert (second.after, second.is_sweep) == ([0, 0, 0, 9, 0, 7, 0, 0], False)


def test_a_short_claim_is_followed_by_a_sweep_which_is_certain() -> None:
    cursors = Cursors()
    cursors.end(cursors.begin(["a"]), [("a", 1, 7)], is_full=True)
    assert not cursors.end(cursors.begin(["a"]), [], is_full=False)
    sweep = cursors.begin(["a"])
    assert sweep.is_sweep
    assert cursors.end(sweep, [], is_full=False)


def test_a_slow_sweep_is_followed_by_a_pause() -> None:
    cursors = Cursors()
    slow = cursors.begin(["a"])
    cursors.end(slow._replace(began=slow.began - 10), [], is_full=False)
    assert not cursors.begin(["a"]).is_sweep
    cursors.look_back()
    assert cursors.begin(["a"]).is_sweep
