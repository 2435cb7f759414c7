"""What the end of a parent means, and the order of a graph."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.state import TaskState
from taskq.domain.workflow import Edge, OnParentFailure, Step, after_parent, find_loop, in_order, parent_ended

GRAPHS = st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefghxy"), max_size=4))


@pytest.mark.parametrize("policy", OnParentFailure)
@pytest.mark.parametrize("state", [None, *(state for state in TaskState if state.is_final)])
def test_what_the_end_of_a_parent_does(policy: OnParentFailure, state: TaskState | None) -> None:
    steps = {OnParentFailure.CANCEL: Step.CANCEL, OnParentFailure.FAIL: Step.FAIL, OnParentFailure.RUN: Step.MET}
    assert after_parent(policy, state) is (Step.MET if state is TaskState.COMPLETED else steps[policy])


def test_an_edge_cancels_where_nothing_else_is_said() -> None:
    assert Edge("5b").on_failure is OnParentFailure.CANCEL


def test_what_is_said_of_a_parent() -> None:
    assert parent_ended("5b", TaskState.EXPIRED) == "task 5b, for which it waited, ended as expired"
    assert parent_ended("5b", None) == "task 5b, for which it waited, is no longer known"


@pytest.mark.parametrize(
    ("graph", "loop"),
    [
        ({}, []),
        ({"a": []}, []),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["a"]}, ["a", "b", "a"]),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, []),
        ({"start": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"]),
        ({"a": ["elsewhere"]}, []),
        ({"a": ["b", "c"], "b": [], "c": ["a"]}, ["a", "c", "a"]),
        ({"done": [], "a": ["done", "a"]}, ["a", "a"]),
    ],
)
def test_loops(graph: dict[str, list[str]], loop: list[str]) -> None:
    assert find_loop(graph) == loop


def test_a_long_chain_is_no_recursion() -> None:
    graph = {str(number): [str(number + 1)] for number in range(20_000)}
    assert find_loop(graph) == []
    assert in_order(graph)[0] == "19999"
    graph["20000"] = ["0"]
    assert len(find_loop(graph)) == 20_002


@given(GRAPHS)
def test_either_there_is_a_loop_or_an_order(graph: dict[str, list[str]]) -> None:
    loop, order = find_loop(graph), in_order(graph)
    if loop:
        assert loop[0] == loop[-1]
        assert all(second in graph[first] for first, second in pairwise(loop))
        assert set(order) < set(graph)
    else:
        assert sorted(order) == sorted(graph)
        places = {name: place for place, name in enumerate(order)}
        assert all(places[one] < places[name] for name, of in graph.items() for one in of if one in graph)


@given(GRAPHS)
def test_what_is_in_order_stays_as_it_is(graph: dict[str, list[str]]) -> None:
    ordered = {name: graph[name] for name in in_order(graph)}
    if len(ordered) == len(graph):
        assert in_order(ordered) == list(ordered)
