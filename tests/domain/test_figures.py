"""Figures: what adds up, what stands in place, and that there are never more series than there may be."""

from __future__ import annotations

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.figures import (
    GROUP,
    MOST_SERIES,
    QUEUE,
    RUN,
    Figures,
    Frame,
    add,
    chosen,
    desired_workers,
    rest_of,
    series,
    summed,
    total,
)

names = st.sampled_from(["a", "b", "c"])
figures = st.builds(
    Figures,
    st.dictionaries(names, st.integers(0, 9), max_size=3),
    st.dictionaries(names, st.dictionaries(st.integers(-9, 9), st.integers(1, 9), max_size=3), max_size=2),
)


@given(st.lists(figures, max_size=5))
def test_figures_add_up_in_any_order(several: list[Figures]) -> None:
    forward, backward = total(several), total(reversed(several))
    assert forward.counts == backward.counts
    assert forward.sketches == backward.sketches
    assert sum(forward.counts.values()) == sum(sum(each.counts.values()) for each in several)


def test_adding_leaves_what_is_added_as_it_was() -> None:
    added = Figures({"n": 1}, {"d": {0: 1}}, {"l": 1})
    whole = Figures()
    whole.add(added)
    whole.add(added)
    assert added == Figures({"n": 1}, {"d": {0: 1}}, {"l": 1})
    assert whole == Figures({"n": 2}, {"d": {0: 2}}, {"l": 1})


def test_a_later_level_stands_in_place_and_one_of_the_same_moment_is_added() -> None:
    later, beside = Figures(levels={"l": 5}), Figures(levels={"l": 5})
    later.add(Figures(levels={"l": 2}))
    beside.add(Figures(levels={"l": 2}), is_later=False)
    assert later.levels == {"l": 2}
    assert beside.levels == {"l": 7}


def many(number: int, first: int = 0) -> Frame:
    return {
        series(RUN, f"task{n}", "mail"): Figures({"completed": 1}, levels={"l": 1})
        for n in range(first, first + number)
    }


def test_beyond_the_most_series_of_a_kind_the_rest_is_one() -> None:
    frame: Frame = {}
    add(frame, many(MOST_SERIES + 20))
    assert len(frame) == MOST_SERIES + 1
    assert frame["run other other"] == Figures({"completed": 20}, levels={"l": 20})


def test_what_is_known_goes_on_where_there_is_no_room_for_more() -> None:
    frame: Frame = {}
    add(frame, many(MOST_SERIES))
    add(frame, many(MOST_SERIES + 5))
    add(frame, many(5, first=MOST_SERIES))
    assert frame["run task0 mail"].counts == {"completed": 2}
    assert frame["run other other"] == Figures({"completed": 10}, levels={"l": 5})
    assert len(frame) == MOST_SERIES + 1


def test_the_kinds_do_not_take_room_from_each_other() -> None:
    frame: Frame = {}
    add(frame, many(MOST_SERIES))
    add(frame, {"queue mail": Figures({"arrived": 1}), "process": Figures()})
    assert {"queue mail", "process"} <= set(frame)


def test_what_a_rest_is_called() -> None:
    assert rest_of("run mail.send mail") == rest_of("run x y") == "run other other"
    assert rest_of("tenant acme") == "tenant other"


def test_choosing_series() -> None:
    frame = {"run a mail": Figures({"n": 1}), "run a web": Figures({"n": 2}), "queue mail": Figures({"n": 4})}
    assert total(chosen(frame, RUN)).counts == {"n": 3}
    assert total(chosen(frame, RUN, "a")).counts == {"n": 3}
    assert total(chosen(frame, RUN, None, "web")).counts == {"n": 2}
    assert total(chosen(frame, RUN, "b")) == Figures()


def test_a_sum_is_what_adding_makes_and_changes_neither() -> None:
    for before, more in [
        (many(MOST_SERIES), many(MOST_SERIES + 5)),
        ({**many(MOST_SERIES), "run other other": Figures({"completed": 7})}, many(5, first=MOST_SERIES)),
        ({}, many(3)),
        (many(3), {}),
    ]:
        added, was = deepcopy(before), (deepcopy(before), deepcopy(more))
        add(added, more)
        assert summed(before, more) == added
        assert (before, more) == was
    kept = many(3)
    after = summed(kept, {"run task1 mail": Figures({"completed": 1})})
    assert [name for name in kept if after[name] is not kept[name]] == ["run task1 mail"]


def test_a_group_comes_before_a_queue_of_its_name() -> None:
    frame = {
        series(QUEUE, "office"): Figures(levels={"desired": 2}),
        series(GROUP, "office"): Figures(levels={"desired": 4}),
        series(QUEUE, "mail"): Figures(levels={"desired": 3}),
        series(QUEUE, "idle"): Figures(levels={"dead": 1}),
    }
    found = [desired_workers(frame, name) for name in ("office", "mail", "idle", "nobody")]
    assert found == [4, 3, None, None]
