"""Keys of the API: who may make them, what they open, and when they open nothing."""

from __future__ import annotations

import doctest
import hmac
import logging
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import ModuleType
from typing import Any

import msgspec
import pytest

from taskq import App, InvalidOption
from taskq.errors import NotApplied
from taskq.management import Actor, AuditEntry, Forbidden, KeyNotFound, Keys, Management, Permission, Role, access, keys
from taskq.management.keys import KIND, RETENTION, Key, NewKey
from tests.management.conftest import Clock, documents

OTHER_SECRET = "A" * 43


async def trail(management: Management) -> list[AuditEntry]:
    return [entry async for entry in management.audit.export()]


# ---------------------------------------------------------------- making


async def test_a_key_opens_what_it_was_made_for(app: App, management: Management) -> None:
    made = await management.keys.create("ci", [Role.SUBMITTER, "viewer"], tenant="acme")
    actor = await Keys(app).verify(made.text)
    assert actor is not None
    assert (actor.name, actor.tenant) == (f"ci (key {made.key.id})", "acme")
    assert actor.roles == {Role.VIEWER, Role.SUBMITTER}
    assert actor.may(Permission.SUBMIT)
    assert not actor.may(Permission.READ_FLEET)
    assert (actor.sees("acme"), actor.sees("other"), actor.sees("")) == (True, False, False)


async def test_a_key_without_a_tenant_is_for_all(app: App, management: Management) -> None:
    actor = await Keys(app).verify((await management.keys.create("ci", ["viewer"])).text)
    assert actor is not None
    assert (actor.sees("acme"), actor.may(Permission.READ_FLEET)) == (True, True)


@pytest.mark.parametrize(
    ("role", "payloads", "may"),
    [("viewer", None, False), ("viewer", True, True), ("operator", None, True), ("operator", False, False)],
)
async def test_a_key_may_see_payloads_or_not_beside_its_roles(
    app: App, management: Management, role: str, payloads: bool | None, may: bool
) -> None:
    actor = await Keys(app).verify((await management.keys.create("ci", [role], payloads=payloads)).text)
    assert actor is not None
    assert actor.may(Permission.READ_PAYLOADS) is may


async def test_each_key_is_another_and_has_256_random_bits(management: Management) -> None:
    made = [await management.keys.create("ci", ["viewer"]) for _ in range(5)]
    parts = {one.text.removeprefix(f"{one.key.prefix}_") for one in made}
    assert len({one.key.id for one in made}) == len(parts) == 5
    assert {len(part) for part in parts} == {43}  # 32 bytes in base64


async def test_the_key_itself_is_kept_nowhere(
    app: App, management: Management, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await management.keys.create("ci", ["viewer"])
    await Keys(app).verify(made.text)
    await management.keys.revoke(made.text)
    secret = made.text.rpartition(f"{made.key.prefix}_")[2]
    [document] = await documents(app)
    assert sha256(secret.encode()).hexdigest() in document.data.decode()
    everywhere = [document.data.decode(), str(await trail(management)), str(await management.keys.list()), caplog.text]
    assert [secret in text for text in (*everywhere, repr(made), str(made.key))] == [False] * 6


async def test_what_is_done_to_keys_is_noted(management: Management) -> None:
    end = datetime(2100, 1, 2, tzinfo=UTC)
    made = await management.keys.create("ci", ["submitter"], tenant="acme", payloads=True, expires=end)
    await management.keys.revoke(made.key.id)
    create, revoke = await trail(management)
    assert (create.action, create.actor, create.on) == ("key.create", "ann", {"key": made.key.id})
    assert create.after == {
        "name": "ci",
        "roles": ["submitter"],
        "tenant": "acme",
        "payloads": True,
        "expires_at": "2100-01-02 00:00:00+00:00",
    }
    assert (revoke.action, revoke.on, revoke.before) == ("key.revoke", {"key": made.key.id}, {"name": "ci"})


async def test_keys_are_listed_with_the_newest_first(management: Management) -> None:
    first, second = [await management.keys.create(name, ["admin", "viewer"]) for name in ("a", "b")]
    assert list(await management.keys.list()) == [second.key, first.key]
    assert (first.key.created_by, first.key.roles, first.key.used_at) == ("ann", ("viewer", "admin"), None)


async def test_many_keys_are_listed_whole(management: Management) -> None:
    made = {(await management.keys.create("ci", ["viewer"])).key.id for _ in range(102)}
    assert {key.id for key in await management.keys.list()} == made


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUBMITTER, Role.OPERATOR])
async def test_keys_are_for_who_may_configure(app: App, management: Management, role: Role) -> None:
    made = await management.keys.create("ci", ["viewer"])
    entries = await trail(management)
    for actor in (Actor("eve", [role]), Actor("eve", [Role.ADMIN], tenant="acme")):
        desk = Management(app, actor).keys
        for refused in (desk.create("mine", ["admin"]), desk.list(), desk.revoke(made.key.id)):
            with pytest.raises(Forbidden):
                await refused
    assert list(await management.keys.list()) == [made.key]
    assert await trail(management) == entries


@pytest.mark.parametrize(("role", "payloads"), [("viewer", True), ("operator", None), ("admin", True)])
async def test_nobody_gives_a_sight_of_payloads_that_was_withheld_from_them(
    app: App, management: Management, role: str, payloads: bool | None
) -> None:
    desk = Management(app, Actor("kay", [Role.ADMIN], payloads=False)).keys
    with pytest.raises(Forbidden, match="kay may not see arguments and results: that was withheld from them"):
        await desk.create("more", [role], payloads=payloads)
    assert await trail(management) == []
    assert not (await desk.create("as much", [role], payloads=False)).key.payloads


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("", {}, "the name of a key must have 1 to 100 printable characters, not ''"),
        ("x" * 101, {}, "the name of a key must have 1 to 100 printable characters"),
        ("a\nb", {}, "printable"),
        ("ci", {"roles": ["boss"]}, "a role must be one of viewer, submitter, operator, admin, not 'boss'"),
        ("ci", {"roles": "producer"}, "a role must be one of viewer, submitter, operator, admin, not 'producer'"),
        ("ci", {"roles": []}, "a key needs a role at least: viewer, submitter, operator, admin"),
        ("ci", {"tenant": "a b"}, "tenant 'a b'"),
        ("ci", {"expires": timedelta(0)}, "a key must expire later than now, not at 20"),
        ("ci", {"expires": timedelta(seconds=-1)}, "a key must expire later than now, not at 20"),
        ("ci", {"expires": datetime(2001, 1, 1, tzinfo=UTC)}, "not at 2001-01-01T00:00:00+00:00"),
        ("ci", {"expires": timedelta.max}, "a key cannot expire at"),
    ],
)
async def test_what_cannot_be_a_key(management: Management, name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        await management.keys.create(name, **{"roles": ["viewer"], **options})
    assert said in str(refusal.value)
    assert await management.keys.list() == []
    assert await trail(management) == []


async def test_an_id_that_is_taken_by_chance_opens_nothing_else(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "choice", lambda letters: letters[0])
    made = await management.keys.create("ci", ["viewer"])
    with pytest.raises(NotApplied, match="another key has the id aaaaaaaa by chance: make it anew"):
        await management.keys.create("other", ["admin"])
    [kept] = await management.keys.list()
    assert kept == made.key
    assert [entry.action for entry in await trail(management)][-2:] == ["key.create", "key.create.failed"]


async def test_a_store_holds_so_many_keys(management: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST", 2)
    for name in ("a", "b"):
        await management.keys.create(name, ["viewer"])
    with pytest.raises(NotApplied, match="there are 2 keys already, and at most 2 are kept: revoke some and wait"):
        await management.keys.create("c", ["viewer"])


# ---------------------------------------------------------------- verifying


def wrong(text: str) -> list[str]:
    """What is nearly the key, and what is nothing like it."""
    id, secret = text[3:11], text[12:]
    first, last = ["a" if letter != "a" else "b" for letter in (secret[0], secret[-1])]
    return [
        *(f"tq_{id}_{OTHER_SECRET}", f"tq_{id}_{first}{secret[1:]}", f"tq_{id}_{secret[:-1]}{last}"),
        *(f"tq_aaaaaaaa_{secret}", f"tq_{id.upper()}_{secret}", f"TQ_{id}_{secret}", f"tx_{id}_{secret}"),
        *(text[:-1], text[1:], text[:11], id, secret, text + "a", text + "\n", f" {text}", f"Bearer {text}"),
        *("", "tq_", "tq__", "_", "\0", f"{text}\0", f"tq_{id}_\0{secret[1:]}", f"tq_{id}\0{secret}"),
        *(f"tq_{id}_{'é' * 43}", f"tq_{'é' * 8}_{secret}", f"tq_{id}_{'٣' * 43}", "\udce9" * 55, "🔑"),
        *("tq_" + "a" * 1_000_000, text * 10_000, f"tq_{id}_" + "a" * 1_000_000),
        *(f"tq_{id}_{sha256(secret.encode()).hexdigest()[:43]}", f"tq_{id}_{'0' * 43}", f"tq_{id}_*"),
    ]


async def test_what_is_not_the_key_opens_nothing(app: App, management: Management) -> None:
    made = await management.keys.create("ci", ["admin"])
    verify = Keys(app).verify
    assert [text for text in wrong(made.text) if await verify(text) is not None] == []
    assert await verify(made.text) is not None


async def test_a_secret_is_compared_in_constant_time_also_where_there_is_no_such_key(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await management.keys.create("ci", ["viewer"])
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def noting(one: str, other: str) -> bool:
        compared.append((one, other))
        return bool(compare(one, other))

    monkeypatch.setattr(hmac, "compare_digest", noting)
    for text in (made.text, made.key.prefix + f"_{OTHER_SECRET}", f"tq_aaaaaaaa_{OTHER_SECRET}"):
        await Keys(app).verify(text)
    assert [len(one) == len(other) == 64 for one, other in compared] == [True] * 3


async def test_the_secret_of_another_key_opens_nothing(app: App, management: Management) -> None:
    acme, other = [await management.keys.create("ci", ["viewer"], tenant=tenant) for tenant in ("acme", "other")]
    assert await Keys(app).verify(acme.key.prefix + other.text[11:]) is None


async def test_a_key_of_one_tenant_does_not_see_the_tasks_of_another(app: App, management: Management) -> None:
    own, other = [(await app.aenqueue("mail.send", {}, tenant=tenant)).id for tenant in ("acme", "other")]
    made = await management.keys.create("ci", ["operator"], tenant="acme")
    actor = await Keys(app).verify(made.text)
    assert actor is not None
    found = await Management(app, actor).tasks.find("")
    assert [record.id for record in found.records] == [own]
    await Management(app, actor).tasks.cancel([own, other])
    entry = (await trail(management))[-1]
    assert (entry.actor, entry.tenant) == (f"ci (key {made.key.id})", "acme")


@pytest.mark.parametrize("how", ["key.id", "key.prefix", "text"])
async def test_a_revoked_key_opens_nothing_from_then_on(app: App, management: Management, how: str) -> None:
    made, other = [await management.keys.create("ci", ["viewer"]) for _ in range(2)]
    verifying = Keys(app)
    assert await verifying.verify(made.text) is not None
    named: Any = made
    for part in how.split("."):
        named = getattr(named, part)
    revoked = await management.keys.revoke(named)
    assert await verifying.verify(made.text) is None
    assert await verifying.verify(other.text) is not None
    assert await management.keys.revoke(named) == revoked
    assert [entry.action for entry in await trail(management)].count("key.revoke") == 1
    assert revoked.state(datetime.now(UTC)) == "revoked"


async def test_an_expired_key_opens_nothing(app: App, management: Management, clock: Clock) -> None:
    made = await management.keys.create("ci", ["viewer"], expires=timedelta(hours=1))
    verifying = Keys(app, clock)
    assert made.key.expires_at is not None
    clock.now = made.key.expires_at - timedelta(microseconds=1)
    assert await verifying.verify(made.text) is not None
    clock.advance(microseconds=1)
    assert await verifying.verify(made.text) is None
    assert made.key.state(clock.now) == "expired"
    assert made.key.state(clock.now - timedelta(seconds=1)) == "valid"


async def test_the_end_of_a_key_may_be_told_in_any_time_zone(management: Management) -> None:
    end = datetime.fromisoformat("2100-01-02T03:00:00+02:00")
    made = await management.keys.create("ci", ["viewer"], expires=end)
    assert made.key.expires_at == end
    assert str(made.key.expires_at) == "2100-01-02 01:00:00+00:00"


@pytest.mark.parametrize("text", ["aaaaaaaa", "tq_aaaaaaaa", f"tq_aaaaaaaa_{OTHER_SECRET}"])
async def test_a_key_that_is_not_there_cannot_be_revoked(management: Management, text: str) -> None:
    with pytest.raises(KeyNotFound) as refusal:
        await management.keys.revoke(text)
    assert str(refusal.value) == "there is no key aaaaaaaa; `taskq keys list` shows those that there are"
    assert await trail(management) == []


@pytest.mark.parametrize("text", ["", "\0", "nonsense!", OTHER_SECRET, "tq_" + OTHER_SECRET, "é" * 8])
async def test_what_names_no_key_is_not_repeated(management: Management, text: str) -> None:
    with pytest.raises(KeyNotFound) as refusal:
        await management.keys.revoke(text)
    assert str(refusal.value) == "that names no key: give its id, as `taskq keys list` shows it"


async def test_what_cannot_be_read_opens_nothing_and_stops_nobody(
    app: App, management: Management, caplog: pytest.LogCaptureFixture
) -> None:
    made, other = [await management.keys.create("ci", ["viewer"]) for _ in range(2)]
    backend = await app.backend()
    assert await backend.documents.put(KIND, made.key.id, b'{"key": {}}', 1)
    assert await Keys(app).verify(made.text) is None
    assert f"the key {made.key.id} in the store cannot be read" in caplog.text
    assert list(await management.keys.list()) == [other.key]
    with pytest.raises(KeyNotFound):
        await management.keys.revoke(made.key.id)


async def test_a_role_of_a_later_release_counts_for_nothing(app: App, management: Management) -> None:
    made = await management.keys.create("ci", ["viewer"])
    [document] = await documents(app)
    stored = msgspec.json.decode(document.data)
    stored["key"] |= {"roles": ["emperor", "viewer"], "more": 1}
    await (await app.backend()).documents.put(KIND, document.id, msgspec.json.encode(stored), document.version)
    actor = await Keys(app).verify(made.text)
    assert actor is not None
    assert actor.roles == {Role.VIEWER}


async def test_keys_that_hold_no_longer_are_forgotten_after_90_days(app: App, management: Management) -> None:
    now = datetime.now(UTC)
    documents = (await app.backend()).documents
    long_ago = now - RETENTION - timedelta(hours=1)
    lately = now - RETENTION + timedelta(hours=1)
    for id, revoked_at, expires_at in (
        ("revokedb", long_ago, None),
        ("expiredb", None, long_ago),
        ("revokeda", lately, None),
        ("expireda", None, lately),
        ("validaaa", None, None),
    ):
        key = Key(id, "ci", ("viewer",), long_ago, "ann", expires_at=expires_at, revoked_at=revoked_at)
        await documents.put(KIND, id, msgspec.json.encode({"key": key, "digest": "0"}))
    await management.keys.create("new", ["viewer"])
    left = {key.id for key in await management.keys.list() if key.name == "ci"}
    assert left == {"revokeda", "expireda", "validaaa"}


def test_a_new_key_shows_nothing_of_itself_but_where_it_is_asked() -> None:
    made = NewKey(Key("aaaaaaaa", "ci", ("viewer",), datetime.now(UTC), "ann"), f"tq_aaaaaaaa_{OTHER_SECRET}")
    assert OTHER_SECRET not in f"{made} {made!r}"


@pytest.mark.parametrize("module", [keys, access])
def test_examples(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0
