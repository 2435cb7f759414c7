"""Settings check themselves: every limit, and what its refusal says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from taskq import ConfigError, InvalidOption
from taskq.config import Settings, WorkerOptions, backend_url, check_identifier, cores, resident_mib


@pytest.mark.parametrize("name", ["a", "0", "_", "mail.high", "A-b_c.9", "x" * 200, "__import__", "os.system"])
def test_a_fit_identifier(name: str) -> None:
    assert check_identifier("queue", name) == name


@pytest.mark.parametrize("name", [None, 1, 1.5, True, b"a", ["a"]])
def test_an_identifier_that_is_no_text(name: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^queue must be text, not "):
        check_identifier("queue", name)


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "x" * 201, "a/b", "../x", "a\0b", "a\nb", "a\n", "*", "{x}", "a:b", "😀", "é",
        ".a", "-a", "a b", "${x}",
        "а",
    ],
)  # fmt: skip
def test_an_unfit_identifier(name: Any) -> None:
    with pytest.raises(
        InvalidOption, match=r"^queue ['\"].*: use 1 to 200 of the characters A-Z a-z 0-9 _ \. -$"
    ) as caught:
        check_identifier("queue", name)
    assert len(str(caught.value)) < 200


NO_NUMBERS: list[Any] = ["1", True, None, [], math.nan, math.inf, -math.inf]
NOT_WHOLE: list[Any] = [*NO_NUMBERS, 1.5, 2.0, 10**400]
LIMITS: list[tuple[str, list[Any], list[Any], str]] = [
    ("concurrency", [1, 10_000], [0, -1, 10_001, *NOT_WHOLE], "concurrency must be a whole number from 1 to 10,000"),
    ("threads", [1, 1_000], [0, 1_001, *NOT_WHOLE], "threads must be a whole number from 1 to 1,000"),
    ("processes", [1, 256], [0, 257, *NOT_WHOLE], "processes must be a whole number from 1 to 256"),
    ("name", ["anna", "a b", "é"], ["", "a\nb", "\ud800", "x" * 256, 5, None, b"a"],
     "name must have 1 to 255 printable characters"),
    ("lease", [20.1, 3600], [0, -1, 86_401, 10**400, *NO_NUMBERS],
     "lease must be over 0 and at most 86,400 seconds"),
    ("lease", [], [20, 1], "a lease must be longer than two heartbeats"),
    ("heartbeat", [1, 14.9], [0, -1, 86_401, *NO_NUMBERS], "heartbeat must be over 0 and at most 86,400 seconds"),
    ("heartbeat", [], [15, 60], "a lease must be longer than two heartbeats"),
    ("shutdown_timeout", [0.1, 86_400], [0, -1, 86_401, *NO_NUMBERS],
     "shutdown_timeout must be over 0 and at most 86,400 seconds"),
    ("max_tasks", [None, 1], [0, -1, 1.5, True, "1", math.inf], "max_tasks must be a whole number over 0"),
    ("max_memory", [None, 1], [0, -1, 1.5, True, "1", math.inf], "max_memory must be a whole number over 0"),
    ("max_rss", [None, 1], [0, -1, 1.5, True, "1", math.inf], "max_rss must be a whole number over 0"),
    ("max_loop_lag", [None, 0.1, 86_400], [0, -1, 86_401, True, "1", math.nan, math.inf],
     "max_loop_lag must be over 0 and at most 86,400 seconds"),
    ("max_backend_latency", [None, 0.1, 86_400], [0, -1, 86_401, True, "1", math.nan, math.inf],
     "max_backend_latency must be over 0 and at most 86,400 seconds"),
    ("rate", [None, 1 / 86_400, 50, 1e6], [0, -1, 1e-9, 1e7, True, "50/s", math.nan, math.inf],
     "rate must be from one start in ten years to a million a second"),
    ("compare", [True, False], [None, 0, 1, "yes"], "compare must be True or False"),
    ("poll", [0.05, 60], [0, 0.04, 61, *NO_NUMBERS], "poll must be from 0.05 to 60 seconds"),
    ("queues", [{"a": 1, "b": 1000}], [{}, "a", ["a"], None, 5],
     "queues must be a mapping of at least one queue to its weight"),
    ("queues", [{"a": .1}], [{"a": value} for value in (0, 1001, 10**400, *NO_NUMBERS) if value is not None],
     "the weight of queue a must be over 0 and at most 1,000"),
]  # fmt: skip


@pytest.mark.parametrize(("option", "good", "bad", "rule"), LIMITS)
def test_the_limits_of_a_worker(option: str, good: list[Any], bad: list[Any], rule: str) -> None:
    for value in good:
        assert getattr(WorkerOptions(**{option: value}), option) == value
    for value in bad:
        with pytest.raises(ConfigError, match=f"^{rule}, not "):
            WorkerOptions(**{option: value})


def test_a_worker_serves_queues_that_can_be() -> None:
    with pytest.raises(InvalidOption, match="queue 'a b'"):
        WorkerOptions(queues={"a b": 1})


def test_a_worker_by_default() -> None:
    options = WorkerOptions()
    assert options.queues == {"default": None}
    assert (options.concurrency, options.threads, options.processes) == (100, 4 * cores(), cores())
    assert (options.lease, options.heartbeat, options.shutdown_timeout) == (30.0, 10.0, 30.0)
    assert (options.rate, options.max_rss, options.max_loop_lag, options.max_backend_latency) == (None, None, 1.0, 5.0)
    assert options.compare


def test_a_worker_is_replaced_before_it_would_begin_no_task_any_more() -> None:
    with pytest.raises(ConfigError, match=r"max_memory must be below max_rss \(400 MiB\), .*, not 400"):
        WorkerOptions(max_memory=400, max_rss=400)
    assert WorkerOptions(max_memory=399, max_rss=400).max_memory == 399


@pytest.mark.parametrize("option", ["max_payload", "max_result"])
def test_the_limits_of_an_application(option: str) -> None:
    least: dict[str, Any] = {option: 1}
    assert getattr(Settings(**least), option) == 1
    for value in (0, -1, 1.5, "1", True, None, math.inf):
        given: dict[str, Any] = {option: value}
        with pytest.raises(ConfigError, match=f"^{option} must be a whole number over 0, not "):
            Settings(**given)


def test_the_backend_is_what_was_given_then_the_environment_then_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_BACKEND", raising=False)
    assert backend_url(None) == "memory://"
    monkeypatch.setenv("TASKQ_BACKEND", "redis://there")
    assert backend_url(None) == "redis://there"
    assert backend_url("redis://here") == "redis://here"
    monkeypatch.setenv("TASKQ_BACKEND", "")
    assert backend_url(None) == "memory://"


def test_what_the_machine_says() -> None:
    assert cores() >= 1
    assert resident_mib() > 1
