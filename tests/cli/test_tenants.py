"""`taskq tenants …`."""

from __future__ import annotations

import json

import pytest

from tests.cli.support import taskq


def test_what_is_set_is_shown_and_taken_back(kept: str) -> None:
    assert taskq("tenants", "list", "--backend", kept).output == ""
    told = taskq("tenants", "set", "acme", "running=5", "rate=10/s", "--backend", kept)
    assert (told.exit_code, told.output) == (0, "acme: running 5, rate 10/s\n")
    listed = taskq("tenants", "list", "--backend", kept).output.splitlines()
    assert listed[1].split() == ["acme", "0", "-", "0", "-", "5", "10/s", "1.0"]
    shown = json.loads(taskq("tenants", "show", "acme", "--json", "--backend", kept).output)
    assert (shown["quota"]["running"], shown["quota"]["rate"]["per_second"], shown["unfinished"]) == (5, 10.0, 0)
    lines = taskq("tenants", "show", "acme", "--backend", kept).output.splitlines()
    assert "running       at most 5 at once" in lines
    told = taskq("tenants", "set", "acme", "running=default", "rate=default", "--json", "--backend", kept)
    assert json.loads(told.output)["quota"]["running"] is None
    assert taskq("tenants", "list", "--backend", kept).output == ""


def test_tenants_are_listed_in_pages(kept: str) -> None:
    for name in ("a", "b", "c"):
        taskq("tenants", "set", name, "unfinished=9", "--backend", kept)
    page = json.loads(taskq("tenants", "list", "--limit", "2", "--json", "--backend", kept).output)
    assert [tenant["name"] for tenant in page["tenants"]] == ["a", "b"]
    rest = taskq("tenants", "list", "--cursor", page["next_cursor"], "--json", "--backend", kept)
    assert [tenant["name"] for tenant in json.loads(rest.output)["tenants"]] == ["c"]
    assert "there are more: --cursor b" in taskq("tenants", "list", "--limit", "2", "--backend", kept).output


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["runing=3"], "did you mean 'running'?"),
        (["running"], "'running' is not of the form KEY=VALUE"),
        (["running=0"], "running must be a whole number from 1"),
        (["rate=fast", "weight=-1"], "weight must be over 0"),
    ],
)
def test_a_mistake_is_one_line(kept: str, settings: list[str], said: str) -> None:
    result = taskq("tenants", "set", "acme", *settings, "--backend", kept)
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.count("\n") == 1


def test_a_name_that_cannot_be_one_is_refused(kept: str) -> None:
    result = taskq("tenants", "show", "a b", "--backend", kept)
    assert (result.exit_code, "tenant 'a b'" in result.output) == (2, True)
