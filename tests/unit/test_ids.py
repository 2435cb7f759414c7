"""Task ids: their form, what they tell, and that none comes twice."""

from __future__ import annotations

import re
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.ids import derived_id, digest, new_id

FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
shards = st.integers(0, 255)
names = st.lists(st.text(), max_size=5)


@given(shards)
def test_a_new_id_is_a_uuid7_of_this_moment(shard: int) -> None:
    before = time.time_ns() // 1_000_000
    id = new_id(shard)
    after = time.time_ns() // 1_000_000
    assert FORM.fullmatch(id)
    parsed = uuid.UUID(id)
    assert (str(parsed), parsed.version, parsed.variant) == (id, 7, uuid.RFC_4122)
    assert before <= parsed.int >> 80 <= after
    assert parsed.bytes[-1] == shard


def test_a_hundred_thousand_ids_differ_and_their_random_bits_are_used() -> None:
    ids = [uuid.UUID(new_id()).int for _ in range(100_000)]
    assert len(set(ids)) == len(ids)
    seen_one, seen_zero = 0, 0
    for id in ids:
        seen_one |= id
        seen_zero |= ~id
    random_bits = ((1 << 76) - (1 << 64)) | ((1 << 62) - (1 << 8))
    assert seen_one & random_bits == random_bits
    assert seen_zero & random_bits == random_bits


@given(shards, names)
def test_a_derived_id_is_a_uuid8_and_stays_the_same(shard: int, parts: list[str]) -> None:
    id = derived_id(shard, *parts)
    assert FORM.fullmatch(id)
    parsed = uuid.UUID(id)
    assert (parsed.version, parsed.variant, parsed.bytes[-1]) == (8, uuid.RFC_4122, shard)
    assert derived_id(shard, *parts) == id


@given(names, names)
def test_other_names_give_other_ids(some: list[str], others: list[str]) -> None:
    same = "\0".join(some) == "\0".join(others)
    assert (derived_id(0, *some) == derived_id(0, *others)) == same


def test_the_shard_changes_nothing_but_the_last_byte() -> None:
    assert derived_id(0, "a")[:-2] == derived_id(255, "a")[:-2]
    assert derived_id(255, "a")[-2:] == "ff"


@pytest.mark.parametrize("name", ["", "\ud800", "ключ", "x" * 10_000])
def test_any_text_can_be_a_name(name: str) -> None:
    assert FORM.fullmatch(derived_id(1, name))


def test_a_derived_id_of_an_older_release_is_known_again() -> None:
    assert derived_id(0, "default", "acme", "mail.send", "o-17") == "f3b271dd-9563-83ff-b594-511e92f25800"


@given(st.binary(), st.binary())
def test_digests_tell_payloads_apart(one: bytes, other: bytes) -> None:
    assert (digest(one) == digest(other)) == (one == other)
