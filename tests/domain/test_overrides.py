"""What an override says to which gate, and to what kind of limit."""

from __future__ import annotations

import pytest

from taskq.domain.limits import Circuit, Limit, Rate, Slots
from taskq.domain.overrides import Override, applied, heeded, is_over, names_of, read, write

RATE, SLOTS, CIRCUIT = Rate("k", 1.0, 2.0, True), Slots("k", 5), Circuit("k", 0.5, 60.0, 4, 30.0, 1)


@pytest.mark.parametrize(
    ("limit", "override", "holds"),
    [
        (RATE, None, RATE),
        (RATE, Override("r:k", per_second=9.0, burst=3.0), Rate("k", 9.0, 3.0, True)),
        (RATE, Override("r:k", per_second=9.0), RATE),
        (RATE, Override("r:k", burst=9.0), RATE),
        (RATE, Override("r:k", limit=1), RATE),
        (SLOTS, Override("c:k", limit=0), Slots("k", 0)),
        (SLOTS, Override("c:k", per_second=1.0, burst=1.0), SLOTS),
        (CIRCUIT, Override("b:k", is_open=True), CIRCUIT),
        (CIRCUIT, Override("b:k", limit=1), CIRCUIT),
    ],
)
def test_only_figures_of_its_kind_hold(limit: Limit, override: Override | None, holds: Limit) -> None:
    assert applied(limit, override) == holds


def test_one_of_its_own_goes_before_that_of_all_keys() -> None:
    held = {name: Override(name, limit=1) for name in ("c:k:*", "c:k:5f")}
    assert heeded("c:k:5f", held) == held["c:k:5f"]
    assert heeded("c:k:6a", held) == held["c:k:*"]
    assert heeded("c:k", held) is None
    assert heeded("c:k:latest:5f", held) is None


def test_the_rate_of_a_queue_heeds_nothing() -> None:
    assert names_of("r:queue:mail") == ()
    assert heeded("r:queue:mail", {"r:queue:mail": Override("r:queue:mail", per_second=1.0, burst=1.0)}) is None


def test_it_ends_at_its_instant_or_never() -> None:
    assert not is_over(Override("c:k", limit=1), 1e18)
    assert [is_over(Override("c:k", limit=1, until=10.0), now) for now in (9.9, 10.0)] == [False, True]


@pytest.mark.parametrize(
    "override",
    [
        Override("c:k", limit=0, until=5.5, reason="größer"),
        Override("b:k", is_open=False),
        Override("r:k", per_second=0.5, burst=1.0),
    ],
)
def test_what_is_written_is_read(override: Override) -> None:
    assert read(override.gate, write(override)) == override
