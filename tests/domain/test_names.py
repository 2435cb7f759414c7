"""Names of which each is given once."""

from __future__ import annotations

from taskq.domain.names import Names


class Counting(Names):
    looks = 0

    def is_taken(self, name: str, *, is_outer: bool = False) -> bool:
        self.looks += 1
        return super().is_taken(name, is_outer=is_outer)


def given(names: Names, usual: str, *, is_outer: bool = False) -> str:
    name = names.fresh(usual, is_outer=is_outer)
    names.take(f"{name}/first" if is_outer else name)
    return name


def test_the_next_of_many_with_one_usual_name_is_found_in_a_look_or_two() -> None:
    names = Counting()
    for number in range(1, 1000):
        assert given(names, "page") == ("page" if number == 1 else f"page-{number}")
        assert given(names, "sub", is_outer=True) == ("sub" if number == 1 else f"sub-{number}")
    assert names.looks <= 2 * 2 * 1000


def test_a_name_that_is_looked_for_and_not_taken_is_found_again() -> None:
    names = Names()
    assert [names.fresh("page"), names.fresh("page")] == ["page", "page"]


def test_a_number_that_somebody_has_chosen_is_left_out() -> None:
    names = Names()
    names.take("page", "page-3")
    assert len(names) == 2
    assert [given(names, "page"), given(names, "page"), given(names, "page-2")] == ["page-2", "page-4", "page-2-2"]


def test_what_has_others_within_it_has_a_name_of_its_own_at_each_level() -> None:
    names = Names()
    names.take("sub/deeper/last")
    assert names.fresh("sub", is_outer=True) == "sub-2"
    assert names.fresh("sub/deeper", is_outer=True) == "sub/deeper-2"
    assert names.fresh("sub") == "sub"


def test_what_is_given_back_comes_next() -> None:
    names = Names()
    names.take("page", "page-2", "sub/first", "sub/last")
    names.take("page-3", "page-3")
    assert names.fresh("page") == "page-4"
    names.give_back(["page-2", "page-3", "sub/first", "unknown"])
    assert [given(names, "page"), given(names, "page"), names.fresh("page")] == ["page-2", "page-3", "page-4"]
    assert names.fresh("sub", is_outer=True) == "sub-2"
    names.give_back(["sub/last"])
    assert names.fresh("sub", is_outer=True) == "sub"
