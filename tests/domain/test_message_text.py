"""Messages as text: what is written can be read again, by this release and with fields of a later one."""

from __future__ import annotations

import json

import pytest

from taskq.domain.limits import Rate, Slots
from taskq.domain.message import Message, Priority
from taskq.domain.message_text import pack_message, unpack_message
from taskq.domain.unique import UniqueKey, Until
from taskq.domain.workflow import Edge, OnParentFailure

MESSAGES = [
    Message("5b", "mail.send"),
    Message("5b", "mail.send", b"\x00\xff{}", queue="mail", priority=Priority.HIGH, delay=3.5, tenant="acme"),
    Message("5b", "mail.send", eta=17.25, expires=60.0, retention=0.0, dead_letter=False, max_lost_leases=7),
    Message("5b", "mail.send", unique=UniqueKey("k")),
    Message("5b", "mail.send", unique=UniqueKey("k", Until.START, 5.0), replaces=True, longest_wait=9.0),
    Message("5b", "mail.send", limits=(Slots("s", 3), Rate("r", 100, 60.0))),
    Message("5b", "mail.send", parents=(Edge("6c"), Edge("7d", OnParentFailure.RUN)), flow="8e"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_written_is_read(message: Message) -> None:
    text = pack_message(message)
    for read in (unpack_message(text), unpack_message(text.encode())):
        assert read == message
        assert [type(edge) for edge in read.parents] == [Edge] * len(message.parents)
        assert type(read.priority) in (Priority, int)


def test_what_is_as_usual_is_not_written() -> None:
    assert json.loads(pack_message(MESSAGES[0])) == {"id": "5b", "name": "mail.send", "body": ""}


def test_a_field_of_a_later_release_is_left_out() -> None:
    text = json.dumps({**json.loads(pack_message(MESSAGES[1])), "colour": "red"})
    assert unpack_message(text) == MESSAGES[1]
