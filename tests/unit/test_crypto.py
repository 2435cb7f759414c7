"""Encryption by itself: keys and how they are given, ciphertexts and what they are bound to, digests, and silence."""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
import sys
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Any

import pytest

from taskq import App, ConfigError, IdempotencyConflict
from taskq.config import Settings
from taskq.crypto import (
    Crypto,
    about_payload,
    about_result,
    crypto_from_environment,
    decrypt,
    escaped,
    key_of,
    unescaped,
)
from taskq.errors import CorruptRecord, KeyMissing, Tampered
from taskq.ids import digest
from taskq.ports import EnqueueStatus
from tests.unit.support import count, headers_of, record_of

SECRET, OTHER = os.urandom(32), os.urandom(32)
ABOUT = about_payload("5b0c", "mail.send")


@pytest.fixture
def crypto() -> Crypto:
    return Crypto({"2026-11": SECRET})


def changed(sealed: bytes, index: int) -> bytes:
    """The same ciphertext with one bit flipped."""
    envelope = json.loads(sealed)
    data = bytearray(b64decode(envelope["data"]))
    data[index] ^= 1
    return json.dumps({**envelope, "data": b64encode(data).decode()}).encode()


# ---------------------------------------------------------------- ciphertexts


def test_a_ciphertext_is_a_json_object_that_names_its_key(crypto: Crypto) -> None:
    sealed = crypto.encrypt(b'{"to":"ann"}', ABOUT)
    assert json.loads(sealed).keys() == {"$enc", "data"}
    assert key_of(sealed) == "2026-11"
    assert b"ann" not in b64decode(json.loads(sealed)["data"])
    assert crypto.decrypt(sealed, ABOUT) == b'{"to":"ann"}'


def test_the_same_text_never_gives_the_same_ciphertext(crypto: Crypto) -> None:
    assert len({crypto.encrypt(b"17", ABOUT) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "about",
    [
        about_payload("5b0d", "mail.send"),
        about_payload("5b0c", "mail.sent"),
        about_result("5b0c", "mail.send", 1),
        about_result("5b0c", "mail.send", 2),
        b"",
    ],
)
def test_a_ciphertext_belongs_to_one_task_and_one_purpose(crypto: Crypto, about: bytes) -> None:
    for sealed, own in ((crypto.encrypt(b"17", ABOUT), ABOUT), (crypto.encrypt(b"17", about), about)):
        with pytest.raises(Tampered):
            crypto.decrypt(sealed, about if own == ABOUT else ABOUT)


def test_a_ciphertext_with_a_flipped_bit_is_never_read(crypto: Crypto) -> None:
    sealed = crypto.encrypt(b"a secret", ABOUT)
    for index in range(len(b64decode(json.loads(sealed)["data"]))):
        # The form, the check value of the key, and the rest: nonce, text and tag.
        expected = CorruptRecord if index == 0 else KeyMissing if index < 9 else Tampered
        with pytest.raises(expected) as caught:
            crypto.decrypt(changed(sealed, index), ABOUT)
        assert type(caught.value) is expected


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"null", b"[]", b"{}", b"[" * 100_000, b'{"$enc":"k"}', b'{"$enc":"k","data":""}'),
        *(b'{"$enc":"k","data":"!"}', b'{"$enc":null,"data":17}', b'{"$enc":"k","data":"AQID"}'),
        b'{"$enc":"a b","data":"%b"}' % b64encode(b"\1" * 99),
    ],
)
def test_what_is_no_ciphertext_is_said_to_be_none(crypto: Crypto, data: bytes) -> None:
    for use in (crypto.check, lambda data: decrypt(None, data, ABOUT), lambda data: crypto.decrypt(data, ABOUT)):
        with pytest.raises(CorruptRecord, match="no ciphertext of ours"):
            use(data)
    assert key_of(data) is None


def test_a_key_that_is_not_here_is_named_with_what_to_do(crypto: Crypto) -> None:
    sealed = crypto.encrypt(b"17", ABOUT)
    readers: list[Crypto | None] = [None, Crypto({"2026-12": SECRET})]
    for reader in readers:
        with pytest.raises(KeyMissing, match=r"^there is no key '2026-11' here: add it to Crypto\(keys=…\)") as caught:
            decrypt(reader, sealed, ABOUT)
        assert (caught.value.key_id, caught.value.is_another) == ("2026-11", False)
    with pytest.raises(KeyMissing, match="the key '2026-11' here is another one") as caught:
        Crypto({"2026-11": OTHER}).decrypt(sealed, ABOUT)
    assert caught.value.is_another


def test_every_key_reads_and_the_active_one_writes(crypto: Crypto) -> None:
    both = Crypto({"2026-11": SECRET, "2026-12": OTHER}, active="2026-12")
    assert both.decrypt(crypto.encrypt(b"old", ABOUT), ABOUT) == b"old"
    assert key_of(both.encrypt(b"new", ABOUT)) == "2026-12"


@pytest.mark.parametrize(
    "result", [b"17", b'{"$enc":"k","data":"AAAA"}', b'{"$enc":null,"data":17}', b'{"$enc":1}', b""]
)
def test_a_plain_result_of_any_form_comes_back_and_is_no_ciphertext(result: bytes) -> None:
    stored = escaped(result)
    assert (key_of(stored), unescaped(stored)) == (None, result)


# ---------------------------------------------------------------- how keys are given


@pytest.mark.parametrize(
    "write", [b64encode, urlsafe_b64encode, lambda key: urlsafe_b64encode(key).rstrip(b"=") + b"\n"]
)
def test_a_key_may_be_given_as_base64(crypto: Crypto, write: Any) -> None:
    assert Crypto({"2026-11": write(SECRET).decode()}).decrypt(crypto.encrypt(b"17", ABOUT), ABOUT) == b"17"


ENCODED = b64encode(SECRET).decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keys": {}}, "keys must be a mapping of at least one key id to a key"),
        ({"keys": SECRET}, "keys must be a mapping"),
        ({"keys": {"k": SECRET[:16]}}, "the key 'k' must be 32 bytes or their base64, and has 16 bytes: make one by"),
        ({"keys": {"k": ENCODED[:-8]}}, "the key 'k' must be 32 bytes or their base64, and has"),
        ({"keys": {"k": ENCODED[:-3] + "!!="}}, "the key 'k' is no base64: make one by"),
        ({"keys": {"k": ENCODED[:-2] + "ü="}}, "the key 'k' is no base64"),
        ({"keys": {"k": [*SECRET]}}, "the key 'k' must be 32 bytes or their base64, not list"),
        ({"keys": {"": SECRET}}, "a key id must have 1 to 32 of the characters"),
        ({"keys": {"a b": SECRET}}, "a key id must have 1 to 32 of the characters"),
        ({"keys": {ENCODED: "2026-11"}}, "a key id must have 1 to 32 of the characters"),
        ({"keys": {SECRET: "2026-11"}}, "a key id must have 1 to 32 of the characters"),
        ({"keys": {"k": SECRET, "l": OTHER}}, "active must be the id of one of the keys: k, l"),
        ({"keys": {"k": SECRET}, "active": ENCODED}, "active must be the id of one of the keys: k"),
        ({"keys": {"k": SECRET}, "encrypt_all": ENCODED}, "encrypt_all must be True or False"),
        ({"keys": {"k": SECRET}, "digest_key": SECRET[1:]}, "the digest key must be 32 bytes"),
    ],
)
def test_keys_that_cannot_be_are_refused_and_not_shown(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Crypto(**arguments)
    text = str(caught.value)
    assert text.startswith(f"crypto: {message}")
    assert shows_no_key(text)


def test_settings_take_nothing_else_and_do_not_show_it() -> None:
    given: Any = {"keys": {"k": SECRET}}
    with pytest.raises(ConfigError) as caught:
        Settings(crypto=given)
    assert str(caught.value) == "crypto must be taskq.crypto.Crypto(…)"


def test_keys_of_the_environment() -> None:
    said = {"TASKQ_CRYPTO__KEYS__2026_11": ENCODED, "TASKQ_CRYPTO__KEYS__b": b64encode(OTHER).decode(), "OTHER": "x"}
    found = crypto_from_environment(
        {**said, "TASKQ_CRYPTO__ACTIVE": "b", "TASKQ_CRYPTO__ENCRYPT_ALL": "True", "TASKQ_CRYPTO__DIGEST_KEY": ENCODED}
    )
    assert found is not None
    assert (found.key_ids, found.active, found.encrypt_all) == (("2026_11", "b"), "b", True)
    assert found.decrypt(Crypto({"2026_11": SECRET}).encrypt(b"17", ABOUT), ABOUT) == b"17"
    assert crypto_from_environment({"TASKQ_BACKEND": "memory://"}) is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ACTIVE", "2026-12", "crypto: active must be the id of one of the keys: 2026-11"),
        ("KEYS__b", "", "crypto: the key 'b' must be 32 bytes"),
        ("ENCRYPT_ALL", ENCODED, "TASKQ_CRYPTO__ENCRYPT_ALL must be true or false"),
        ("KEY__2026-12", ENCODED, "TASKQ_CRYPTO__KEY__2026-12: there are only TASKQ_CRYPTO__KEYS__<id>, ACTIVE"),
    ],
    ids=["active", "empty", "encrypt_all", "misspelt"],
)
def test_an_environment_that_cannot_be(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        crypto_from_environment({"TASKQ_CRYPTO__KEYS__2026-11": ENCODED, f"TASKQ_CRYPTO__{name}": value})
    assert str(caught.value).startswith(message)
    assert shows_no_key(str(caught.value))


def test_the_keys_of_the_settings_go_before_those_of_the_environment(
    crypto: Crypto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQ_CRYPTO__KEYS__env", ENCODED)
    found = App("memory://").stores.crypto
    assert found is not None
    assert found.key_ids == ("env",)
    assert App("memory://", settings=Settings(crypto=crypto)).stores.crypto is crypto


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r'pip install "pytaskq\[crypto\]"'):
        Crypto({"k": SECRET})
    monkeypatch.setenv("TASKQ_CRYPTO__KEYS__k", ENCODED)
    with pytest.raises(ConfigError, match=r'pip install "pytaskq\[crypto\]"'):
        App("memory://")


def test_keys_alone_load_nothing() -> None:
    script = (
        "import sys; from taskq import App; from taskq.config import Settings; from taskq.crypto import Crypto;"
        "App('memory://', settings=Settings(crypto=Crypto({'k': bytes(32)})));"
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# ---------------------------------------------------------------- silence


def shows_no_key(text: str) -> bool:
    """Whether a text holds neither key, in whichever form."""
    forms = [form for key in (SECRET, OTHER) for form in (repr(key)[2:-1], key.hex(), b64encode(key).decode()[:40])]
    return not any(form in text for form in forms)


def test_nothing_that_holds_keys_shows_them(crypto: Crypto, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(crypto=crypto)
    app = App("memory://", settings=settings)
    for thing in (crypto, settings, vars(crypto), app.stores, vars(app.stores), copy.copy(crypto), crypto._keys):
        assert shows_no_key(repr(thing))
        assert shows_no_key(str(thing))
        logging.getLogger("taskq").debug("%s", thing)
    assert repr(crypto) == "Crypto(keys=2026-11, active='2026-11', encrypt_all=False)"
    assert shows_no_key(caplog.text)


def test_an_error_shows_neither_key_nor_text(crypto: Crypto) -> None:
    sealed = crypto.encrypt(b"a secret", ABOUT)
    for reader, about in ((crypto, b""), (Crypto({"2026-11": OTHER}), ABOUT), (Crypto({"k": OTHER}), ABOUT)):
        with pytest.raises((Tampered, KeyMissing)) as caught:
            reader.decrypt(sealed, about)
        assert shows_no_key(f"{caught.value!r} {vars(caught.value)}")
        assert "a secret" not in str(caught.value)


# ---------------------------------------------------------------- at the enqueue


def encrypting(crypto: Crypto | None, **options: Any) -> App:
    """An application with a task `job` of these options."""
    app = App("memory://", settings=Settings(crypto=crypto))

    @app.task(name="job", **options)
    def job(text: str) -> None: ...

    return app


@pytest.mark.parametrize(
    ("everything", "task", "call", "expected"),
    [
        (False, None, None, False),
        (False, True, None, True),
        (True, None, None, True),
        (True, False, None, False),
        (False, None, True, True),
        (True, True, False, False),
    ],
)
async def test_who_says_what_is_encrypted(
    everything: bool, task: bool | None, call: bool | None, expected: bool
) -> None:
    app = encrypting(Crypto({"k": SECRET}, encrypt_all=everything), encrypt=task)
    said: dict[str, Any] = {} if call is None else {"encrypt": call}
    record = await record_of(app, await app.aenqueue("job", {"text": "hush"}, **said))
    assert headers_of(record).encrypted is expected
    assert (b"hush" in record.body) is not expected


async def test_who_enqueues_by_name_encrypts_too() -> None:
    app = App("memory://", settings=Settings(crypto=Crypto({"k": SECRET}, encrypt_all=True)))
    assert b"hush" not in (await record_of(app, await app.aenqueue("elsewhere", {"text": "hush"}))).body


async def test_many_are_encrypted_each_for_itself() -> None:
    app = encrypting(Crypto({"k": SECRET}), encrypt=True)
    task = app.tasks.get("job")
    bodies = [(await record_of(app, handle)).body for handle in await task.aenqueue_many([("hush",)] * 3)]
    assert all(b"hush" not in body for body in bodies)
    assert len({body.partition(b'"data"')[2] for body in bodies}) == 3


async def test_a_task_that_is_to_be_encrypted_is_never_stored_in_plain() -> None:
    app = encrypting(None, encrypt=True)
    with pytest.raises(ConfigError, match=r"job is to be encrypted, and there is no key: .*TASKQ_CRYPTO__KEYS__<id>"):
        await app.aenqueue("job", {"text": "hush"})
    with pytest.raises(ConfigError, match="elsewhere is to be encrypted"):
        await app.aenqueue("elsewhere", {"text": "hush"}, encrypt=True)
    assert await count(app) == 0


async def test_the_limit_of_a_payload_is_that_of_its_plain_text() -> None:
    app = App("memory://", settings=Settings(crypto=Crypto({"k": SECRET}, encrypt_all=True), max_payload=1100))
    await app.aenqueue("elsewhere", {"text": "x" * 1000})


async def test_the_store_is_given_no_digest_that_others_could_make(monkeypatch: pytest.MonkeyPatch) -> None:
    app = encrypting(Crypto({"k": SECRET}), encrypt=True)
    digests: list[str] = []
    broker = (await app.backend()).broker
    enqueue = type(broker).enqueue

    async def seen(self: Any, messages: Any, **more: Any) -> Any:
        digests.extend(message.digest for message in messages)
        return await enqueue(self, messages, **more)

    monkeypatch.setattr(type(broker), "enqueue", seen)
    for key in ("o-17", "o-18"):
        await app.aenqueue("job", {"text": "yes"}, idempotency_key=key)
    assert digest(b'{"text":"yes"}') not in digests
    assert len(set(digests)) == 2


async def test_an_idempotency_key_holds_over_a_rotation() -> None:
    old, new = Crypto({"2026-11": SECRET}), Crypto({"2026-11": SECRET, "2026-12": OTHER}, active="2026-12")
    app = encrypting(old, encrypt=True)
    first = await app.aenqueue("job", {"text": "yes"}, idempotency_key="o-17")
    app.stores.crypto = new
    again = await app.aenqueue("job", {"text": "yes"}, idempotency_key="o-17")
    assert (again.id, again.enqueued) == (first.id, EnqueueStatus.DUPLICATE)
    with pytest.raises(IdempotencyConflict):
        await app.aenqueue("job", {"text": "no"}, idempotency_key="o-17")


def test_a_digest_key_outlives_every_key() -> None:
    lasting = os.urandom(32)
    one, two = Crypto({"a": SECRET}, digest_key=lasting), Crypto({"b": OTHER}, digest_key=b64encode(lasting).decode())
    assert one.digest("5b", b"{}") == two.digest("5b", b"{}") != Crypto({"a": SECRET}).digest("5b", b"{}")
