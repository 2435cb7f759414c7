"""What can be set for a queue, and what is said of everything else."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import Exponential, Fixed, InvalidOption, RateLimit
from taskq.domain.limits import Rate
from taskq.ports import QueueConfig
from taskq.queue_settings import queue_config


def test_what_is_given_is_checked_and_kept() -> None:
    config = queue_config(
        max_finished=1, max_size=2, warn_at=1, workers=3, weight=2, timeout=30, soft_timeout=29.5, expires=60
    )
    assert config == QueueConfig(
        max_finished=1, max_size=2, warn_at=1.0, workers=3, weight=2.0, timeout=30.0, soft_timeout=29.5, expires=60.0
    )
    assert queue_config() == queue_config(workers=None) == QueueConfig()


@pytest.mark.parametrize("rate", ["120/m", 2, 2.0, RateLimit("2/s")])
def test_rates(rate: Any) -> None:
    assert queue_config(rate=rate).rate == Rate("", 2.0, 1.0)


def test_a_rate_may_have_a_burst() -> None:
    assert queue_config(rate=RateLimit("2/s", burst=50)).rate == Rate("", 2.0, 50.0)


def test_retry_policies() -> None:
    assert queue_config(retry={"strategy": "fixed", "delay": 5}).retry == {"strategy": "fixed", "delay": 5}
    told = queue_config(retry=Fixed(5)).retry
    assert isinstance(told, dict)
    assert (told["strategy"], told["delay"]) == ("fixed", 5)


def test_every_setting_can_be_taken_back() -> None:
    given = dict.fromkeys(QueueConfig.__slots__, "default")
    assert queue_config(**given) == QueueConfig(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_size": 0}, "max_size must be a whole number from 1 to 1,000,000,000, not 0"),
        ({"max_size": 1.5}, "max_size must be a whole number"),
        ({"max_size": True}, "max_size must be a whole number"),
        ({"max_finished": -1}, "max_finished must be a whole number"),
        ({"workers": "5"}, "workers must be a whole number from 1 to 1,000,000, not '5'"),
        ({"workers": "defualt"}, r"not 'defualt' \(did you mean 'default'\?\)"),
        ({"warn_at": 0}, "warn_at must be over 0 and at most 1, not 0"),
        ({"warn_at": 1.1}, "warn_at must be over 0 and at most 1, not 1.1"),
        ({"warn_at": float("nan")}, "warn_at must be over 0"),
        ({"weight": 1001}, "weight must be over 0 and at most 1,000, not 1001"),
        ({"timeout": 0}, "timeout must be over 0"),
        ({"expires": float("inf")}, "expires must be over 0 and at most ten years"),
        ({"rate": "fast"}, 'a rate must be like "100/m"'),
        ({"rate": 0}, "a rate must be from"),
        ({"rate": [1]}, 'a rate must be like "100/m"'),
        ({"rate": RateLimit("1/s", key="to")}, "rate is one for all of its tasks"),
        ({"rate": RateLimit("1/s", adaptive=True)}, "without key, name and adaptive"),
        ({"retry": "fixed"}, "retry must be a built-in policy, or plain data such as"),
        ({"retry": Exponential}, "retry must be a built-in policy"),
        ({"retry": {"strategy": "fxed"}}, "retry strategy 'fxed' is not one of exponential, fixed"),
        ({"retry": {"strategy": "fixed", "dleay": 5}}, "dleay"),
        ({"retry": {"max_retries": -1}}, "max_retries must be from 0 to 1000"),
        ({"max_sise": 1}, r"there is no setting 'max_sise', did you mean 'max_size'\?"),
        ({"zzz": 1}, "there is no setting 'zzz', they are max_finished, max_size"),
        ({"zzz": "default"}, "there is no setting 'zzz'"),
    ],
)
def test_what_cannot_be_set(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        queue_config(**given)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(InvalidOption) as caught:
        queue_config(max_sise=1, workers=0, rate="fast", timeout=30)
    text = str(caught.value)
    assert [name in text for name in ("max_sise", "workers", "rate", "timeout")] == [True, True, True, False]
