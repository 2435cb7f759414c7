"""Profiles: bounded however many stacks there are, and written as flame graph tools read them."""

from __future__ import annotations

import json

from taskq.domain.profile import (
    DEEPEST,
    LEFT_OUT,
    OTHERS,
    Profile,
    Stack,
    Stacks,
    collapsed,
    cut,
    speedscope,
    without_rarest,
)

SHOP = Profile(2.0, 200, (Stack(("pool", "grind (shop.py:7)"), 100, 0.95), Stack(("main", "wait (shop.py:1)"), 200)))


def test_what_costs_the_most_comes_first() -> None:
    stacks = Stacks()
    for frames, cpu in ((("idle",), 0.0), (("busy",), 0.01), (("idle",), 0.0)):
        stacks.add(frames, cpu)
    assert [stack.frames for stack in stacks.all()] == [("busy",), ("idle",)]


def test_however_many_stacks_there_are_it_stays_small_and_loses_no_sample() -> None:
    stacks = Stacks(most=10)
    for number in range(1000):
        stacks.add((f"thread {number}",), 0.001)
    found = stacks.all()
    assert len(found) == 11
    assert sum(stack.samples for stack in found) == 1000
    assert {stack.frames: stack.samples for stack in found}[OTHERS,] == 990


def test_a_deep_stack_keeps_both_ends() -> None:
    deep = tuple(f"f{number}" for number in range(DEEPEST + 1))
    assert cut(deep[:DEEPEST]) == deep[:DEEPEST]
    assert (cut(deep)[0], cut(deep)[-1], len(cut(deep)), cut(deep).count(LEFT_OUT)) == ("f0", f"f{DEEPEST}", DEEPEST, 1)


def test_stacks_are_lines_with_milliseconds() -> None:
    assert collapsed(SHOP) == "pool;grind (shop.py:7) 950\n"
    assert collapsed(SHOP, "wall") == "main;wait (shop.py:1) 2000\npool;grind (shop.py:7) 1000\n"


def test_a_host_that_does_not_tell_costs_is_weighed_by_wall() -> None:
    profile = SHOP._replace(knows_cpu=False)
    assert collapsed(profile, "cpu") == collapsed(SHOP, "wall")
    assert len(json.loads(speedscope(profile, "w1", "cpu"))["profiles"]) == 1


def test_speedscope_shows_first_what_was_asked_for() -> None:
    shown = json.loads(speedscope(SHOP, "w1", "wall"))
    assert [each["name"] for each in shown["profiles"]] == ["w1 (wall)", "w1 (cpu)"]
    wall, cpu = shown["profiles"]
    assert (wall["type"], wall["unit"], wall["startValue"], wall["endValue"]) == ("sampled", "milliseconds", 0, 3000.0)
    names = [frame["name"] for frame in shown["shared"]["frames"]]
    assert [[names[place] for place in sample] for sample in cpu["samples"]] == [["pool", "grind (shop.py:7)"]]
    assert cpu["weights"] == [950.0]


def test_nothing_is_counted_together_where_nothing_is_left() -> None:
    assert without_rarest(SHOP, 2) == SHOP
    assert without_rarest(SHOP, 0).stacks == (Stack((OTHERS,), 300, 0.95),)


def test_a_profile_without_a_sample_is_empty() -> None:
    assert collapsed(Profile(0.0, 0, ()), "wall") == ""
