"""The language in which tasks are asked for."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.query import LONGEST, Operator, Query, QueryError, Term, parse
from taskq.domain.state import FINAL, TaskState

S = TaskState


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("   ", []),
        ("task:mail.*", [Term("task", ("mail.*",))]),
        ("name:a  type:b", [Term("task", ("a",)), Term("task", ("b",))]),
        ("state:dead,FAILED", [Term("state", ("dead", "failed"))]),
        ("-queue:mail", [Term("queue", ("mail",), is_negated=True)]),
        ("created:>2h", [Term("created", ("2h",), Operator.ABOVE)]),
        ("ended:<=2030-01-02T03:04Z", [Term("ended", ("2030-01-02T03:04Z",), Operator.AT_MOST)]),
        ("wait:>=30s run:<5m", [Term("wait", ("30s",), Operator.AT_LEAST), Term("run", ("5m",), Operator.BELOW)]),
        ("attempt:3 attempt:>1", [Term("attempt", ("3",)), Term("attempt", ("1",), Operator.ABOVE)]),
        (
            "priority:high,0 priority:>=normal",
            [Term("priority", ("2", "0")), Term("priority", ("1",), Operator.AT_LEAST)],
        ),
        ("meta.user.plan:pro,free", [Term("meta", ("pro", "free"), path="user.plan")]),
        ("timeout", [Term("", ("timeout",))]),
        ('"two words" "state:dead"', [Term("", ("two words",)), Term("", ("state:dead",))]),
        (r'error:"say \"no\"","a,b"', [Term("error", ('say "no"', "a,b"))]),
        ("tag:order:17", [Term("tag", ("order:17",))]),
        ("batch:1,2 tags:x", [Term("workflow", ("1", "2")), Term("tag", ("x",))]),
    ],
)
def test_what_a_query_says(text: str, terms: list[Term]) -> None:
    assert parse(text) == Query(tuple(terms))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat:dead", "there is no field 'stat'; did you mean state?"),
        ("xyzzy:1", "there is no field 'xyzzy'; they are id, task,"),
        ("state:deed", "state:deed is not a state; did you mean dead?"),
        ("state:q", "state:q is not a state; they are scheduled,"),
        ("priority:hi", "priority:hi is not a priority; did you mean high?"),
        ("priority:9", "priority:9 is not a priority; they are low,"),
        ("attempt:x", "attempt:x is not a whole number"),
        ("wait:>x", "wait:x is not a duration, such as 30s"),
        ("created:>x", "created:x is not how long ago, such as 2h, or an instant"),
        ("created:2h", "created needs a comparison: created:<2h or created:>2h"),
        ("run:5s", "run needs a comparison"),
        ("state:>dead", "state is not compared with >: write state:value"),
        ("queue:>mail", "queue is not compared with >"),
        (">word", "a word is not compared with >: write word:value"),
        ("attempt:>1,2", "attempt is not compared with >"),
        ("meta.x:>3", "meta.x is compared as text: write meta.x:value"),
        ('error:"open', "the query cannot be read from 'error:\"open' on: close the quotes"),
        ("state:", "the query cannot be read from 'state:' on: write field:value"),
        ("a, " + "b" * 50, "…' on: write field:value, and quotes around what has spaces"),
        ("state:dead OR state:failed", "OR means nothing: all terms must hold; write a,b for any of two"),
        ("(state:dead", r"(state:dead means nothing"),
        ("dead)", r"dead) means nothing"),
        ("task:caf\udce9", "the query holds what is no character"),
        ("x" * (LONGEST + 1), "a query may have 2,000 characters, this one has 2,001"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    with pytest.raises(QueryError) as error:
        parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("", set(S)),
        ("state:dead,failed", {S.DEAD, S.FAILED}),
        ("state:ended -state:completed", FINAL - {S.COMPLETED}),
        ("state:live -state:pending,running", {S.SCHEDULED, S.BLOCKED, S.RETRYING}),
        ("state:dead state:failed", set()),
        ("queue:mail state:dead", {S.DEAD}),
    ],
)
def test_the_states_that_are_meant(text: str, states: set[TaskState]) -> None:
    assert parse(text).states == states


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", None),
        ("queue:mail", {"mail"}),
        ("queue:mail,images queue:images", {"images"}),
        ("-queue:mail", None),
        ("queue:mail,im*", None),
        ("queue:im*", None),
        ("queue:mail queue:im*", {"mail"}),
        ("queue:a,b queue:c", set()),
    ],
)
def test_the_values_of_which_one_must_be(text: str, values: set[str] | None) -> None:
    assert parse(text).exactly("queue") == values


def test_of_tags_the_fewest_are_asked_for() -> None:
    assert parse("tag:a,b tag:c").exactly("tag") == frozenset({"c"})
    assert parse("-tag:a").exactly("tag") is None


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(QueryError):
        assert all(term.values for term in parse(text).terms)
