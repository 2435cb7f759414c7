"""The sealed body: what goes in comes out, and nothing that was changed does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.envelope import SCHEMA_VERSION, seal, unseal
from taskq.errors import CorruptRecord

ID, NAME = "018f6f3e-0000-7000-8000-000000000000", "mail.send"


@given(st.text(), st.text(), st.binary(), st.binary())
def test_what_is_sealed_comes_out_as_it_was(id: str, name: str, payload: bytes, headers: bytes) -> None:
    assert unseal(id, name, seal(id, name, payload, headers)) == (payload, headers)


def test_a_body_can_be_read_in_the_store() -> None:
    body = seal(ID, NAME, b'{"to":"a"}', b'{"trace":"1"}')
    head, rest = body.split(b"\n", 1)
    assert head.split(b" ")[0] == b"%d" % SCHEMA_VERSION
    assert rest == b'{"trace":"1"}{"to":"a"}'


def test_every_flipped_bit_is_detected() -> None:
    body = seal(ID, NAME, b'{"to":"a@b","n":17}', b'{"trace":"0af7"}')
    for position in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[position // 8] ^= 1 << position % 8
        if _reads_as(bytes(flipped)) is not None:
            # Only a digit of the checksum may look different and mean the same: "a" and "A".
            assert bytes(flipped).lower() == body
            assert _reads_as(bytes(flipped)) == _reads_as(body)


@given(st.binary(min_size=1), st.binary(), st.data())
def test_every_changed_byte_is_detected(payload: bytes, headers: bytes, data: st.DataObject) -> None:
    body = seal(ID, NAME, payload, headers)
    start = body.index(b"\n") + 1
    position = data.draw(st.integers(start, len(body) - 1))
    changed = bytearray(body)
    changed[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != body[position]))
    assert _reads_as(bytes(changed)) is None


@given(st.binary(), st.integers(0, 40))
def test_a_body_that_was_cut_off_is_detected(payload: bytes, keep: int) -> None:
    body = seal(ID, NAME, payload, b"{}")
    if keep < len(body):
        assert _reads_as(body[:keep]) is None


def test_a_body_of_another_task_is_refused() -> None:
    body = seal(ID, NAME, b"{}")
    for id, name in ((ID[:-1] + "1", NAME), (ID, "mail.sent"), (ID + NAME[0], NAME[1:])):
        with pytest.raises(CorruptRecord, match="does not match its checksum"):
            unseal(id, name, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "unknown format"),
        (b'{"to":"a"}', "unknown format"),
        (b"2 00000000 0\n", r"unknown format \(version b'2 000000'\)"),
        (b"1 00000000 0", "unknown format"),
        (b"1 \n", "damaged head"),
        (b"1 00000000\n", "damaged head"),
        (b"1 00000000 0 0\n", "damaged head"),
        (b"1 zzzzzzzz 0\n", "damaged head"),
        (b"1 00000000 x\n", "damaged head"),
        (b"1 00000000 0\n{}", "does not match its checksum"),
    ],
)
def test_what_is_no_body_is_refused_with_a_reason(body: bytes, message: str) -> None:
    with pytest.raises(CorruptRecord, match=message):
        unseal(ID, NAME, body)


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    assert _reads_as(body) is None
    assert _reads_as(b"1 " + body) is None


def _reads_as(body: bytes) -> tuple[bytes, bytes] | None:
    try:
        return unseal(ID, NAME, body)
    except CorruptRecord:
        return None
