"""What the gates of limits promise, whatever comes and whenever."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.limits import (
    CUT_EVERY,
    LEAST_SHARE,
    RECOVERY,
    Breaker,
    Bucket,
    Circuit,
    Rate,
    Slots,
    ended,
    pack_limits,
    put_back,
    refilled,
    seconds_to_full,
    seconds_to_probe,
    seconds_to_token,
    started,
    throttled,
    unpack_limits,
    whole_tokens,
    without_tokens,
)

STEPS = st.lists(st.floats(0.0, 5.0), min_size=1, max_size=60)
RATES = st.builds(Rate, st.just("k"), st.floats(0.01, 200.0), st.floats(1.0, 50.0), st.booleans())
CIRCUIT = Circuit("k", failure_rate=0.5, window=60.0, least=4, cooldown=30.0, probes=2)
SLACK = 0.01
"""Of a token: what rounding may have given."""


def _starts(rate: Rate, instants: list[float]) -> list[tuple[float, int]]:
    """Take all there is at each instant: the instants, and how many starts each saw."""
    bucket, taken = None, []
    for now in instants:
        bucket = refilled(bucket, rate, now)
        count = whole_tokens(bucket)
        bucket = without_tokens(bucket, count)
        taken.append((now, count))
    return taken


@given(RATES, STEPS)
def test_no_window_sees_more_starts_than_the_rate_and_the_burst_allow(rate: Rate, steps: list[float]) -> None:
    taken = _starts(rate, list(accumulate(steps)))
    for first, (begin, _) in enumerate(taken):
        seen = 0
        for now, count in taken[first:]:
            seen += count
            assert seen <= rate.burst + (now - begin) * rate.per_second + SLACK


@given(RATES, st.floats(-1.0, 50.0), st.floats(LEAST_SHARE, 1.0))
def test_a_token_is_there_when_it_was_foretold_and_not_before(rate: Rate, tokens: float, share: float) -> None:
    bucket = Bucket(min(tokens, rate.burst), 0.0, share if rate.adaptive else 1.0)
    wait = seconds_to_token(bucket, rate)
    assert (wait == 0.0) == (whole_tokens(bucket) > 0)
    assert whole_tokens(refilled(bucket, rate, wait)) > 0
    if (too_early := wait - SLACK / (rate.per_second * bucket.share)) > 0.0:
        assert whole_tokens(refilled(bucket, rate, too_early)) == 0


@given(RATES, st.floats(-1.0, 50.0), st.floats(LEAST_SHARE, 1.0))
def test_a_bucket_that_may_be_forgotten_says_what_none_says(rate: Rate, tokens: float, share: float) -> None:
    bucket = Bucket(min(tokens, rate.burst), 0.0, share if rate.adaptive else 1.0)
    now = seconds_to_full(bucket, rate)
    kept = refilled(bucket, rate, now)
    assert (whole_tokens(kept), kept.share) == (whole_tokens(refilled(None, rate, now)), 1.0)


def test_a_clock_that_steps_back_takes_no_token_and_gives_none() -> None:
    rate = Rate("k", 10.0, 10.0)
    bucket = without_tokens(refilled(None, rate, 100.0), 4)
    assert refilled(bucket, rate, 40.0).tokens == 6.0


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=80))
def test_an_adaptive_rate_halves_once_a_second_at_most_and_never_ends(steps: list[float]) -> None:
    rate = Rate("k", 100.0, 10.0, adaptive=True)
    bucket, now, cuts = refilled(None, rate, 0.0), 0.0, [-CUT_EVERY]
    for step in steps:
        now += step
        before = refilled(bucket, rate, now)
        bucket = throttled(before, rate, now)
        if bucket != before:
            assert (bucket.share, bucket.tokens) == (max(LEAST_SHARE, before.share / 2), 0.0)
            assert now - cuts[-1] >= CUT_EVERY
            cuts.append(now)
        assert bucket.share >= LEAST_SHARE
    assert refilled(bucket, rate, now + RECOVERY).share == 1.0


def test_a_rate_that_is_not_adaptive_is_never_cut() -> None:
    bucket = Bucket(3.0, 0.0)
    assert throttled(bucket, Rate("k", 1.0, 5.0), 1.0) is bucket


EVENTS = st.lists(st.tuples(st.sampled_from(["start", "fail", "pass", "put back"]), st.floats(0.0, 20.0)), max_size=80)


@given(EVENTS)
def test_an_open_breaker_lets_only_its_probes_through_and_none_before_it_has_cooled(
    events: list[tuple[str, float]],
) -> None:
    breaker: Breaker | None = None
    now, running = 1_000.0, list[float]()
    for event, step in events:
        now += step
        if event == "start":
            if seconds_to_probe(breaker, CIRCUIT, now) == 0.0:
                assert breaker is None or breaker.opened_at is None or now >= breaker.opened_at + CIRCUIT.cooldown
                breaker = started(breaker, CIRCUIT, now)
                running.append(now)
        elif running:
            began = running.pop(0)
            if event == "put back":
                breaker = put_back(breaker)
            else:
                breaker = ended(breaker, CIRCUIT, failed=event == "fail", started_at=began, now=now)
        if breaker is not None and breaker.opened_at is not None:
            assert 0 <= breaker.passed <= breaker.probing <= CIRCUIT.probes
            assert breaker.passed < CIRCUIT.probes


def _opened(at: float) -> Breaker:
    breaker: Breaker | None = None
    for _ in range(CIRCUIT.least):
        breaker = ended(breaker, CIRCUIT, failed=True, started_at=at, now=at)
    assert breaker is not None
    assert breaker.opened_at == at
    return breaker


def test_it_opens_at_its_share_of_failures_and_not_below() -> None:
    breaker = Breaker()
    for number in range(9):
        breaker = ended(breaker, CIRCUIT, failed=number % 3 == 2, started_at=0.0, now=float(number))
        assert breaker.opened_at is None
    for number in range(9, 12):
        breaker = ended(breaker, CIRCUIT, failed=True, started_at=0.0, now=float(number))
    assert (breaker.runs, breaker.failures, breaker.opened_at) == (12, 6, 11.0)


def test_runs_of_a_window_that_is_over_do_not_count() -> None:
    breaker = None
    for number in range(3):
        breaker = ended(breaker, CIRCUIT, failed=True, started_at=0.0, now=float(number))
    breaker = ended(breaker, CIRCUIT, failed=True, started_at=61.0, now=61.0)
    assert (breaker.runs, breaker.opened_at) == (1, None)


def test_all_probes_must_pass_and_one_that_fails_opens_it_anew() -> None:
    breaker = _opened(100.0)
    assert seconds_to_probe(breaker, CIRCUIT, 129.0) == 1.0
    for _ in range(CIRCUIT.probes):
        assert seconds_to_probe(breaker, CIRCUIT, 130.0) == 0.0
        probed = started(breaker, CIRCUIT, 130.0)
        assert probed is not None
        breaker = probed
    assert seconds_to_probe(breaker, CIRCUIT, 131.0) == 29.0
    half = ended(breaker, CIRCUIT, failed=False, started_at=130.0, now=131.0)
    assert half.opened_at == 100.0
    assert ended(half, CIRCUIT, failed=False, started_at=130.0, now=132.0).opened_at is None
    assert ended(half, CIRCUIT, failed=True, started_at=130.0, now=132.0).opened_at == 132.0


def test_runs_from_before_it_opened_decide_nothing() -> None:
    breaker = started(_opened(100.0), CIRCUIT, 130.0)
    assert breaker is not None
    assert ended(breaker, CIRCUIT, failed=False, started_at=99.0, now=131.0) == breaker
    assert ended(breaker, CIRCUIT, failed=True, started_at=99.0, now=131.0) == breaker


KEYS = st.text(max_size=8)
LIMITS = st.lists(
    st.one_of(
        RATES.map(lambda rate: rate._replace(key="é\n")), st.builds(Slots, KEYS, st.integers(1, 9)), st.just(CIRCUIT)
    )
)


@given(LIMITS)
def test_limits_travel_as_text(limits: list[Rate | Slots | Circuit]) -> None:
    assert unpack_limits(pack_limits(tuple(limits))) == tuple(limits)
