"""The signatures of webhooks, and what an application is told of them."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from email.utils import formatdate
from ipaddress import ip_address, ip_network
from time import time
from typing import Any

import pytest

from taskq import App, InvalidOption
from taskq.config import Settings
from taskq.errors import ConfigError
from taskq.outbound.urls import read_url
from taskq.webhook_task import LONGEST_WAIT, Call, retry_after
from taskq.webhooks import MOST_SECRETS, BadSignature, Webhooks, verify, webhooks_from_environment

OLD, NEW = (f"whsec_{b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
BODY = b'{"type":"task.completed"}'


def test_a_signature_is_that_of_the_standard() -> None:
    # The test vector of the libraries of Standard Webhooks.
    secret, id, now = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    headers = Webhooks([secret]).headers(id, b'{"test": 2432232314}', now)
    assert headers == {
        "webhook-id": id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_one_who_knows_either_secret_can_verify() -> None:
    headers = Webhooks([NEW, OLD]).headers("m", BODY)
    assert verify([OLD], headers, BODY) == verify([NEW], headers, BODY) == "m"
    assert verify([OLD], {name.title(): value for name, value in headers.items()}, BODY) == "m"
    with pytest.raises(BadSignature, match="none of the secrets"):
        verify([NEW], Webhooks([OLD]).headers("m", BODY), BODY)


@pytest.mark.parametrize("change", ["webhook-id", "webhook-signature", "body"])
def test_what_was_changed_is_refused(change: str) -> None:
    headers, body = Webhooks([OLD]).headers("m", BODY), BODY
    if change == "body":
        body += b" "
    else:
        headers[change] += "x"
    with pytest.raises(BadSignature, match="none of the secrets"):
        verify([OLD], headers, body)


@pytest.mark.parametrize(("moment", "why"), [(-301, "not of now"), (301, "not of now")])
def test_what_is_not_of_now_is_refused(moment: int, why: str) -> None:
    with pytest.raises(BadSignature, match=why):
        verify([OLD], Webhooks([OLD]).headers("m", BODY, now=1e9), BODY, now=1e9 + moment)
    assert verify([OLD], Webhooks([OLD]).headers("m", BODY, now=1e9), BODY, now=1e9 + moment * 0.99) == "m"


@pytest.mark.parametrize("moment", ["", "x", "-1", "1" * 20, "٣"])
def test_a_time_that_is_none_is_refused(moment: str) -> None:
    with pytest.raises(BadSignature, match="no webhook-timestamp"):
        verify([OLD], {**Webhooks([OLD]).headers("m", BODY), "webhook-timestamp": moment}, BODY)


@pytest.mark.parametrize("moment", ["0", "9" * 12])
def test_a_time_that_is_nowhere_near_is_refused(moment: str) -> None:
    with pytest.raises(BadSignature, match="not of now"):
        verify([OLD], {**Webhooks([OLD]).headers("m", BODY), "webhook-timestamp": moment}, BODY)


@pytest.mark.parametrize("body", [bytearray(BODY), memoryview(BODY)])
def test_a_body_is_bytes_of_any_kind(body: bytes) -> None:
    assert verify([OLD], Webhooks([OLD]).headers("m", BODY), body) == "m"


@pytest.mark.parametrize("body", [BODY.decode(), {"type": "task.completed"}, None])
def test_a_body_that_was_read_already_is_refused(body: Any) -> None:
    with pytest.raises(TypeError, match=f"the body must be bytes, as it came, not {type(body).__name__}"):
        verify([OLD], Webhooks([OLD]).headers("m", BODY), body)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("webhook-id", "none of the secrets"),
        ("webhook-timestamp", "no webhook-timestamp"),
        ("webhook-signature", "none of the secrets"),
    ],
)
def test_a_call_that_lacks_a_header_is_refused(name: str, why: str) -> None:
    headers = Webhooks([OLD]).headers("m", BODY)
    del headers[name]
    with pytest.raises(BadSignature, match=why):
        verify([OLD], headers, BODY)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-signature"])
@pytest.mark.parametrize("text", ["v1,é", "v1,\udcff", "\x00", "v1," + "x" * 100_000])
def test_whatever_stands_in_a_header_is_a_bad_signature(name: str, text: str) -> None:
    headers = {**Webhooks([OLD]).headers("m", BODY), name: text}
    with pytest.raises(BadSignature, match="none of the secrets") as caught:
        verify([OLD], headers, BODY)
    assert text not in str(caught.value)


def test_headers_that_are_no_text_are_passed_over() -> None:
    headers: Any = {None: "x", b"webhook-id": "n", "x-lines": ["a"], **Webhooks([OLD]).headers("m", BODY)}
    assert verify([OLD], headers, BODY) == "m"
    with pytest.raises(BadSignature, match="no webhook-timestamp"):
        verify([OLD], headers | {"webhook-timestamp": int(time())}, BODY)


@pytest.mark.parametrize("before", [0, 15, 16, 5000])
def test_so_many_signatures_are_looked_at_and_no_more(before: int) -> None:
    headers = Webhooks([OLD]).headers("m", BODY)
    headers["webhook-signature"] = "v2,x " * before + headers["webhook-signature"]
    if before < 16:
        assert verify([OLD], headers, BODY) == "m"
        return
    with pytest.raises(BadSignature, match="none of the secrets"):
        verify([OLD], headers, BODY)


def test_there_may_be_so_many_secrets() -> None:
    secrets = [f"whsec_{b64encode(bytes([n]) * 32).decode()}" for n in range(MOST_SECRETS + 1)]
    headers = Webhooks(secrets[:-1]).headers("m", BODY)
    assert {verify([secret], headers, BODY) for secret in secrets[:-1]} == {"m"}
    for refuses in (Webhooks, lambda given: verify(given, headers, BODY)):
        with pytest.raises(ConfigError, match="there may be 8 secrets at once, not 9") as caught:
            refuses(secrets)
        assert "whsec_" not in str(caught.value)


@pytest.mark.parametrize(("size", "is_right"), [(23, False), (24, True), (64, True), (65, False)])
def test_how_long_a_secret_is(size: int, is_right: bool) -> None:
    secret = f"whsec_{b64encode(bytes(size)).decode()}"
    if is_right:
        assert verify([secret], Webhooks([secret]).headers("m", BODY), BODY) == "m"
        return
    with pytest.raises(ConfigError, match=f"secret 1 must have 24 to 64 bytes, not {size}"):
        Webhooks([secret])


@pytest.mark.parametrize(
    ("secrets", "why"),
    [
        ([], "there is no secret"),
        (["changeme"], "secret 1 must be text that begins with whsec_"),
        ([OLD, "whsec_*"], "secret 2 is no base64"),
        (["whsec_c2hvcnQ="], "secret 1 must have 24 to 64 bytes, not 5"),
        (OLD[6:], "secret 1 must be text that begins"),
        ([7], "secret 1 must be text"),
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_and_not_shown(secrets: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        Webhooks(secrets)
    assert "changeme" not in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)


@pytest.mark.parametrize("port", [0, -1, 65_536, True, "443", 443.0, None])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(ConfigError, match=f"a port must be a whole number from 1 to 65,535, not {port!r}"):
        Webhooks([OLD], ports=[443, port])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"ports": []}, "there must be a port that may be called"),
        ({"ports": "443"}, "a port must be a whole number from 1 to 65,535, not '443'"),
        ({"ports": 0}, "a port must be a whole number from 1 to 65,535, not 0"),
        ({"allow": "10.0.0.0/8"}, "allow must be a list of networks, not '10.0.0.0/8'"),
        ({"allow": None}, "allow must be a list of networks, not None"),
        ({"allow": ["here"]}, "'here' is no network"),
    ],
)
def test_ports_and_networks_are_lists_of_such(said: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Webhooks([OLD], **said)


@pytest.mark.parametrize("network", [10, True, 10.0, None, b"\n\x00\x00\x01", ("10.0.0.0", 8)])
def test_what_is_no_network_is_refused(network: Any) -> None:
    """Some of them are one to the standard library: the number 10 is 0.0.0.10."""
    with pytest.raises(ConfigError, match=re.escape(f"{network!r} is no network: give a text, such as '10.1.0.0/16'")):
        Webhooks([OLD], allow=["10.1.0.0/16", network])


def test_networks_and_addresses_of_the_standard_library_may_be_allowed() -> None:
    webhooks = Webhooks([OLD], allow=[ip_network("10.1.0.0/16"), ip_address("10.2.0.1"), ip_network("fd00::/8")])
    assert [webhooks.allowed.allow(ip_address(f"10.{each}.0.1")) for each in range(4)] == [False, True, True, False]
    assert webhooks.allowed.allow(ip_address("fd12::1"))


def test_all_ports_and_all_networks_may_be_allowed() -> None:
    webhooks = Webhooks([OLD], ports=range(1, 65_536), allow=["0.0.0.0/0", "::/0"])
    assert (min(webhooks.ports), max(webhooks.ports)) == (1, 65_535)
    assert webhooks.allowed.allow(ip_address("127.0.0.1"))
    assert webhooks.allowed.allow(ip_address("::1"))


def test_settings_take_webhooks_and_nothing_else() -> None:
    with pytest.raises(ConfigError, match=r"webhooks must be taskq\.webhooks\.Webhooks"):
        Settings(webhooks=OLD)  # type: ignore[arg-type]


def test_no_secret_is_shown() -> None:
    webhooks = Webhooks([OLD, NEW])
    assert repr(webhooks) == "Webhooks(secrets=2)"
    for shown in (repr(webhooks), str(webhooks), repr(Settings(webhooks=webhooks))):
        for secret in (OLD, NEW):
            assert secret[6:] not in shown
            assert repr(b64decode(secret[6:]))[2:-1] not in shown


def test_the_environment() -> None:
    said = {
        "TASKQ_WEBHOOKS__SECRETS": f"{OLD}, {NEW}",
        "TASKQ_WEBHOOKS__ALLOW": "10.0.0.0/8,127.0.0.1",
        "TASKQ_WEBHOOKS__PORTS": "443,8443",
    }
    webhooks = webhooks_from_environment(said)
    assert webhooks is not None
    assert verify([NEW], webhooks.headers("m", BODY), BODY) == "m"
    assert webhooks.ports == {443, 8443}
    with pytest.raises(ConfigError, match="TASKQ_WEBHOOKS__SECRET: there are only TASKQ_WEBHOOKS__SECRETS"):
        webhooks_from_environment({"TASKQ_WEBHOOKS__SECRET": OLD})
    with pytest.raises(ConfigError, match="PORTS must be numbers"):
        webhooks_from_environment({**said, "TASKQ_WEBHOOKS__PORTS": "https"})


@pytest.mark.parametrize("said", [{}, {"SECRETS": " , "}, {"ALLOW": "10.0.0.0/8"}, {"SECRETS": "", "PORTS": "8443"}])
def test_an_environment_without_a_secret_has_no_webhooks(said: dict[str, str]) -> None:
    environment = {f"TASKQ_WEBHOOKS__{name}": value for name, value in said.items()}
    assert webhooks_from_environment({"TASKQ_REDIS__URL": "x", **environment}) is None


def test_a_url_is_checked_where_it_is_said() -> None:
    app = App("memory://")

    @app.task(name="add")
    def add() -> None: ...

    with pytest.raises(InvalidOption, match="on_complete_url must have no user and no password"):
        add.options(on_complete_url="https://a:b@example.com")
    assert add.options(on_complete_url="http://example.com:8080").call_options.on_complete_url


def test_a_url_is_not_shown() -> None:
    @App("memory://").task(name="add")
    def add() -> None: ...

    url = "https://example.com/done?key=hush"
    told, target = add.options(on_complete_url=url), read_url("on_complete_url", url)
    for some in (told, told.call_options, told.s(), target, Call(url, target, {}, b'{"hush": 1}')):
        assert "hush" not in repr(some)
        assert "hush" not in str(some)


def test_who_asks_for_time() -> None:
    assert retry_after(formatdate(time() + 100, usegmt=True)) == pytest.approx(100, abs=5)
    assert retry_after("9" * 30) == LONGEST_WAIT
    assert retry_after("") is retry_after("-1") is retry_after("soon") is None
    assert retry_after("Mon, 1 Jan 99999999999 00:00:00 GMT") is None
