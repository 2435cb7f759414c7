"""What the model-based test draws: terms of tasks, and the commands to a store."""

from __future__ import annotations

from hypothesis import strategies as st

from taskq.domain.limits import Slots
from taskq.domain.message import Priority
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.record import Failure
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.domain.unique import UniqueKey, Until
from taskq.domain.workflow import OnParentFailure
from taskq.testing.conformance import commands as do
from taskq.testing.conformance.bench import LONG, SILENCE
from taskq.testing.conformance.remembered import Choice, Command

QUEUES = ("images", "mail")

digests = st.sampled_from([None, None, "one", "another", ""])
# In the model everything happens at a whole second and a bit and ends at a half: nothing ends in the very moment in
# which it is looked at.
spans = st.sampled_from([0.5, 5.5, 60.5, LONG + 0.5])
queue = st.sampled_from(QUEUES)
recent = st.integers(0, 2) | st.integers(0, 15)
picks = st.lists(recent, min_size=1, max_size=3).map(tuple)
live = st.builds(Choice, recent, st.just(True), st.just(0), st.just(""))
forged = st.builds(Choice, recent, st.booleans(), st.sampled_from([0, 1, -1]), st.sampled_from(["", "nobody"]))
choices = live | live | forged
failures = st.builds(Failure, st.sampled_from(["ValueError", "OSError"]), st.just("no"))
verdicts: st.SearchStrategy[Settlement] = st.one_of(
    st.builds(Complete, st.sampled_from([b"null", b"1"])),
    st.builds(Retry, spans, failures),
    st.builds(Snooze, spans, st.none() | failures),
    st.just(Release()),
    st.builds(Bury, st.just("rejected"), failures),
    st.builds(Fail, st.just("exhausted"), failures),
    st.builds(Cancel, st.sampled_from(["", "by itself"])),
    st.builds(Crash, failures),
)
PLAIN = {"delay": None, "expires": None, "retention": LONG, "max_lost_leases": 2, "limits": (), "unique": None}
plain = {
    "body": st.just(b""),
    "priority": st.sampled_from([Priority.NORMAL, Priority.HIGH]),
    "group": st.just(""),
    "delay": st.none(),
    "expires": st.none(),
    "max_lost_leases": st.just(2),
    "dead_letter": st.booleans(),
    "retention": st.just(LONG + 0.5),
    "digest": st.just(""),
    "limits": st.just(()),
    "unique": st.none(),
}
special = {
    "body": st.sampled_from([b"", b"\x00\xff"]),
    "priority": st.sampled_from(Priority),
    "group": st.sampled_from(["", "tenant"]),
    "delay": st.none() | spans,
    "expires": st.none() | spans,
    "max_lost_leases": st.integers(1, 3),
    "retention": spans,
    "digest": st.sampled_from(["", "one"]),
}
ONE, TWO = Slots("one", 1), Slots("two", 2)
bound = {
    "limits": st.sampled_from([(), (ONE,), (ONE,), (TWO,), (ONE, TWO)]),
    "unique": st.none() | st.sampled_from([UniqueKey("k"), UniqueKey("k", Until.START), UniqueKey("l", Until.START)]),
    "priority": st.sampled_from(Priority),
}
terms = (
    st.fixed_dictionaries(plain)
    | st.fixed_dictionaries({**plain, **special})
    | st.fixed_dictionaries({**plain, **bound})
    | st.fixed_dictionaries({**plain, **special, **bound})
)
quotas = st.sampled_from([NO_QUOTA, Quota(running=1), Quota(running=1), Quota(running=2), Quota(unfinished=3)])
queues = st.sampled_from([QUEUES, QUEUES[::-1], QUEUES[:1], QUEUES[1:]])
enqueues: st.SearchStrategy[Command] = st.builds(do.Enqueue, queue, terms, st.integers(1, 3))
fetches: st.SearchStrategy[Command] = st.builds(
    do.Fetch, st.sampled_from(["worker-1", "worker-2"]), queues, st.integers(1, 3), spans
)
ends: st.SearchStrategy[Command] = st.builds(do.Settle, st.tuples(st.tuples(live, verdicts)))
settles: st.SearchStrategy[Command] = st.builds(
    do.Settle, st.lists(st.tuples(choices, verdicts), min_size=1, max_size=3).map(tuple)
)
words: st.SearchStrategy[Command] = st.one_of(
    st.builds(do.Extend, st.lists(choices, min_size=1, max_size=3).map(tuple), spans),
    st.builds(do.CancelSome, picks, st.sampled_from(["", "enough"]), st.sampled_from([True, True, False])),
    st.builds(do.Annotate, choices, st.sampled_from(["progress", "checkpoint", "log"])),
)
repeats: st.SearchStrategy[Command] = st.one_of(
    st.builds(do.EnqueueAgain, recent, digests),
    st.builds(do.EnqueueChild, choices),
    st.builds(do.EnqueueBehind, picks, st.sampled_from(OnParentFailure), st.none() | spans),
    st.builds(do.EnqueueBehind, picks, st.sampled_from(OnParentFailure), st.none()),
    st.builds(do.FetchAgain, recent, spans),
    st.builds(do.Redrive, picks),
)
upkeep: st.SearchStrategy[Command] = st.one_of(
    st.builds(do.Reap, st.sampled_from([10.0, 100.0, SILENCE, SILENCE])),
    st.builds(do.Upkeep, st.sampled_from(["promote", "expire", "prune"])),
    st.builds(do.Upkeep, st.sampled_from(["promote", "expire", "prune"])),
    st.builds(do.Steer, st.sampled_from(["pause", "resume", "resume", "purge"]), queue),
    st.builds(do.Configure, queue, st.sampled_from([None, None, 1, 2]), st.sampled_from([None, None, None, 1, 3])),
    st.builds(do.Restrict, st.just("tenant"), quotas),
)
single = st.tuples(recent)
# What is sent at once is about one task each: a batch is no one step. Maintenance is left out, for it may pass over
# what another command holds at that moment.
singles: st.SearchStrategy[Command] = st.one_of(
    fetches,
    ends,
    st.builds(do.Settle, st.tuples(st.tuples(choices, verdicts))),
    st.builds(do.Extend, st.tuples(choices), spans),
    st.builds(do.CancelSome, single, st.sampled_from(["", "enough"]), st.booleans()),
    st.builds(do.Annotate, choices, st.sampled_from(["progress", "checkpoint", "log"])),
    st.builds(do.EnqueueAgain, recent, digests),
    st.builds(do.EnqueueChild, choices),
    st.builds(do.EnqueueBehind, single, st.sampled_from(OnParentFailure), st.none()),
    st.builds(do.Redrive, single),
)
