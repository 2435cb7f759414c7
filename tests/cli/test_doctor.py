"""`taskq doctor`: what it prints, what it asks, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from taskq import App
from tests.cli.support import taskq

FIELDS = {"check", "status", "detail", "advice", "number", "sample", "is_repairable"}


@pytest.fixture
def outside(redis_url: str) -> Iterator[redis.Redis]:
    """The server of the store, seen by another client."""
    with redis.Redis(port=urlsplit(redis_url).port or 6379, decode_responses=True) as client:
        yield client


@pytest.fixture
def damaged(redis_url: str, outside: redis.Redis) -> str:
    """The id of a task that would never run."""
    app = App(redis_url)
    handle = app.enqueue("mail.send", {})
    app.close()
    outside.delete("taskq:{default:0}:lane:7:default:1:")
    return handle.id


def states(redis_url: str) -> dict[str, str]:
    return {one["check"]: one["status"] for one in json.loads(taskq("doctor", "--backend", redis_url, "--json").stdout)}


def test_each_finding_says_what_to_do(redis_url: str, damaged: str) -> None:
    result = taskq("doctor", "--backend", redis_url)
    assert result.exit_code == 1
    first, such, do, *_ = result.stdout.splitlines()
    assert first.startswith("fault    places.missing: 1 waiting tasks are in no place")
    assert such == f"         such as {damaged}"
    assert do == "         do: `taskq doctor --repair` puts them there"


def test_json_is_an_array_of_objects(redis_url: str, damaged: str) -> None:
    found = json.loads(taskq("doctor", "--backend", redis_url, "--json").stdout)
    assert all(set(one) == FIELDS for one in found)
    [fault] = [one for one in found if one["status"] == "fault"]
    assert (fault["check"], fault["number"], fault["sample"]) == ("places.missing", 1, [damaged])
    assert fault["is_repairable"]


def test_a_repair_asks_says_what_it_did_and_looks_again(redis_url: str, damaged: str) -> None:
    refused = taskq("doctor", "--backend", redis_url, "--repair", input="n\n")
    assert refused.exit_code == 1
    assert "such as" in refused.stderr
    assert "repair this?" in refused.stderr
    assert states(redis_url)["places.missing"] == "fault"
    mended = taskq("doctor", "--backend", redis_url, "--repair", input="y\n")
    assert mended.exit_code == 0, mended.output
    assert "taskq: 1 of places.missing were mended" in mended.stderr
    assert "places.missing" not in mended.stdout
    assert "places.missing" not in states(redis_url)
    assert "doctor.repair.done" in taskq("audit", "list", "--backend", redis_url).stdout


def test_a_repair_may_be_told_not_to_ask(redis_url: str, damaged: str) -> None:
    mended = taskq("doctor", "--backend", redis_url, "--repair", "--yes", "--json")
    assert mended.exit_code == 0
    assert {one["status"] for one in json.loads(mended.stdout)} == {"ok", "warning"}
    again = taskq("doctor", "--backend", redis_url, "--repair", "--yes")
    assert (again.exit_code, again.stderr) == (0, "taskq: nothing was found that a repair would mend\n")
    assert taskq("audit", "list", "--backend", redis_url).stdout.count("doctor.repair.done") == 1


def test_yes_without_repair_is_wrong_usage(redis_url: str) -> None:
    result = taskq("doctor", "--backend", redis_url, "--yes")
    assert (result.exit_code, result.stderr) == (2, "taskq: --yes is for --repair: without it nothing is asked\n")


def test_deep_looks_at_all(redis_url: str) -> None:
    assert "looked at all 0 records" in taskq("doctor", "--backend", redis_url, "--deep").stdout
