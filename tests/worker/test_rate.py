"""The worker's own rate: claims are measured with a token bucket, and waiting for a token costs nothing."""

from __future__ import annotations

from functools import partial

import pytest

from taskq import App, TaskState
from taskq.runtime import restraint
from taskq.runtime.pace import TOGETHER, Pace
from tests.worker.support import ended, until, work, wrap


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_without_a_rate_everything_is_allowed(hand: Hand) -> None:
    pace = Pace(None, hand.now)
    pace.spend(1_000_000)
    assert pace.allowed() > 1_000_000
    assert pace.pause() == 0


@pytest.mark.parametrize("rate", [0.5, 7.0, 50.0, 1000.0])
def test_over_a_while_it_is_the_rate_that_was_given(hand: Hand, rate: float) -> None:
    pace, claimed, claims, began = Pace(rate, hand.now), 0, 0, hand.seconds
    while hand.seconds < began + 60:
        if (allowed := pace.allowed()) > 0:
            pace.spend(allowed)
            claimed, claims = claimed + allowed, claims + 1
        else:
            hand.seconds += pace.pause()
    burst = max(1.0, rate / 10)
    assert 60 * rate - 1 <= claimed <= 60 * rate + burst + rate * TOGETHER + 1
    assert claims <= 60 / TOGETHER + 2


def test_what_was_claimed_over_it_is_owed(hand: Hand) -> None:
    pace = Pace(10.0, hand.now)
    pace.spend(6)
    assert pace.allowed() == 0
    assert pace.pause() == pytest.approx(0.6)
    hand.seconds += 0.6
    assert pace.allowed() == 1


async def test_a_worker_claims_what_its_rate_allows(app: App, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    class Watched(Pace):
        def pause(self) -> float:
            asked.append(super().pause())
            return asked[-1]

    monkeypatch.setattr(restraint, "Pace", partial(Watched, now=hand.now))
    wrapped, ran = wrap(app), []

    @app.task
    async def noted(number: int) -> None:
        ran.append(number)

    await noted.aenqueue_many([(number,) for number in range(5)])
    async with work(app, rate=20):
        for allowed in (2, 4):
            await until_spent(ran, allowed)
            claims = wrapped.calls["fetch"]
            await until_asked_again(asked)
            assert (len(ran), wrapped.calls["fetch"]) == (allowed, claims), "it waits, and claims nothing"
            hand.seconds += 0.1
        await until_spent(ran, 5)


async def until_spent(ran: list[int], allowed: int) -> None:
    """Wait until as many have run as are allowed."""
    await until(lambda: len(ran) == allowed, "the tokens are spent")


async def until_asked_again(asked: list[float]) -> None:
    """Wait until the worker has paused for a token a few times more."""
    before = len(asked)
    await until(lambda: len(asked) > before + 2, "tokens are waited for")


async def test_a_worker_that_waits_for_a_token_stops_when_told(app: App) -> None:
    @app.task
    async def quick() -> None: ...

    first, second = await quick.aenqueue_many([(), ()])
    async with work(app, rate=1 / 86_400):
        await ended(first)
    assert (await second.ainfo()).state is TaskState.PENDING
