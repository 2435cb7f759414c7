"""Names of which each is given once, as those of the tasks of a workflow are."""

from __future__ import annotations

from collections.abc import Iterable


class Names:
    """Names that are taken; "fetch/page" is a name within "fetch".

    However many have the same usual name, the next one is found in one look.

    >>> names = Names()
    >>> names.take(names.fresh("page"))
    >>> names.fresh("page")
    'page-2'
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._outer: dict[str, int] = {}
        """Names that have others within them, and how many."""
        self._numbers: dict[tuple[str, bool], int] = {}
        """Where to look on for a fresh name: all before it are taken."""

    def __len__(self) -> int:
        return len(self._taken)

    def is_taken(self, name: str, *, is_outer: bool = False) -> bool:
        """Whether a name was given to something else.

        Arguments:
            is_outer: whether it is to have others within it, which those of another must not mix with.
        """
        return name in self._taken or (is_outer and name in self._outer)

    def fresh(self, usual: str, *, is_outer: bool = False) -> str:
        """The usual name, with a number where it is taken: "page", "page-2", "page-3"."""
        number = self._numbers.get((usual, is_outer), 1)
        while self.is_taken(name := usual if number == 1 else f"{usual}-{number}", is_outer=is_outer):
            number += 1
        self._numbers[usual, is_outer] = number
        return name

    def take(self, *names: str) -> None:
        """Note that these are given."""
        new = set(names) - self._taken
        self._taken |= new
        for outer in _around(new):
            self._outer[outer] = self._outer.get(outer, 0) + 1

    def give_back(self, names: Iterable[str]) -> None:
        """Note that these are free again: who asks anew is given the same."""
        known = self._taken.intersection(names)
        self._taken -= known
        for outer in _around(known):
            self._outer[outer] -= 1
            if not self._outer[outer]:
                del self._outer[outer]
        self._numbers.clear()


def _around(names: Iterable[str]) -> Iterable[str]:
    """Of "a/b/c" these: "a/b" and "a"."""
    for name in names:
        while (slash := name.rfind("/")) >= 0:
            name = name[:slash]
            yield name
