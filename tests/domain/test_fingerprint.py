"""Which failures count as the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.fingerprint import fingerprint, normal, place


@given(st.text(), st.lists(st.text(), max_size=3).map(tuple), st.integers(0), st.integers(0))
def test_a_fingerprint_is_blind_to_figures(message: str, frames: tuple[str, ...], one: int, another: int) -> None:
    short = message[:100]
    assert fingerprint("E", f"{short} {one}", frames) == fingerprint("E", f"{short} {another}", frames)


def test_a_fingerprint_tells_type_message_and_place_apart() -> None:
    prints = {
        fingerprint("KeyError", "no user", ("a.py:f",)),
        fingerprint("ValueError", "no user", ("a.py:f",)),
        fingerprint("KeyError", "no group", ("a.py:f",)),
        fingerprint("KeyError", "no user", ("a.py:g",)),
        fingerprint("KeyError", "no user", ()),
        fingerprint("KeyError", "no user 1", ("a.py:f",)),
    }
    assert len(prints) == 6
    assert all(len(each) == 16 for each in prints)


def test_a_fingerprint_takes_any_text_and_the_start_of_a_long_one() -> None:
    assert fingerprint("E", "\ud800", ()) == fingerprint("E", "\ud800", ())
    assert fingerprint("E", "x" * 500 + "y", ()) == fingerprint("E", "x" * 500 + "z", ())


@pytest.mark.parametrize(
    ("message", "other"),
    [
        ("user 17 of 4", "user 4711 of 12"),
        ("took 0.5 s", "took 1,200 s"),
        ("residual 1e-05", "residual 0.25"),
        ("no task 0198f3b2-7c1d-7e7a-9f6e-2b1a6f0c8d01", "no task 5b3c8a10-1111-4222-8333-ABCDEFABCDEF"),
        ("<app.Job object at 0x7f2a4c10>", "<app.Job object at 0x1>"),
        ("blob 9f8e7d6c5b4a is missing", "blob a94a8fe5ccb19ba61c4c0873d391e987982fbbd3 is missing"),
        ("commit e83c516 is unknown", "commit 1d4e9a0 is unknown"),
        ("no such file: '/srv/in/ada.csv'", "no such file: '/var/tmp/x/grace.csv'"),
        ("cannot read /srv/in/ada.csv: locked", "cannot read /opt/data/b: locked"),
        (r"cannot read C:\Users\ada\a.csv", r"cannot read D:\b.csv"),
        ("10.0.0.1:6379 refused", "192.168.17.4:6380 refused"),
        ("unknown person 'Ada Lovelace'", "unknown person 'Grace Hopper'"),
        ('unknown address "a@b.c"', 'unknown address "who@example.org"'),
        ("unknown key 'order_17'", "unknown key 'order_4'"),
        ("one\n  two", "one two "),
    ],
)
def test_what_varies_does_not_count(message: str, other: str) -> None:
    assert normal(message) == normal(other)
    assert fingerprint("E", message) == fingerprint("E", other)


@pytest.mark.parametrize(
    ("message", "other"),
    [
        ("'name'", "'email'"),
        ("'Job' object has no attribute 'run'", "'Job' object has no attribute 'stop'"),
        ("unknown key 'order_17'", "unknown key 'user_17'"),
        ("https://api.example/users/17", "https://api.example/orders/17"),
        ("can't open the user's file", "can't close the user's file"),
        ("facade", "decade"),
        ("a", ""),
    ],
)
def test_what_the_program_says_counts(message: str, other: str) -> None:
    assert normal(message) != normal(other)


@given(st.text())
def test_any_text_has_a_normal_form_without_figures(message: str) -> None:
    assert not any(letter.isdecimal() for letter in normal(message))


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("/srv/app/mail/tasks.py", "mail/tasks.py:send"),
        ("/opt/venv/lib/python3.13/site-packages/mail/tasks.py", "mail/tasks.py:send"),
        (r"C:\app\mail\tasks.py", "mail/tasks.py:send"),
        ("tasks.py", "tasks.py:send"),
    ],
)
def test_hosts_agree_on_a_place(file: str, where: str) -> None:
    assert place(file, "send") == where
