"""The signatures of webhooks, and what an application is told of them."""

from __future__ import annotations

from base64 import b64encode
from email.utils import formatdate
from time import time

import pytest

from taskq import App, InvalidOption
from taskq.config import Settings
from taskq.errors import ConfigError
from taskq.webhook_task import LONGEST_WAIT, retry_after
from taskq.webhooks import BadSignature, Webhooks, verify, webhooks_from_environment

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


def test_ports_and_networks_are_checked() -> None:
    with pytest.raises(ConfigError, match="a port must be a whole number from 1 to 65,535, not 0"):
        Webhooks([OLD], ports=[0])
    with pytest.raises(ConfigError, match="'here' is no network"):
        Webhooks([OLD], allow=["here"])
    with pytest.raises(ConfigError, match=r"webhooks must be taskq\.webhooks\.Webhooks"):
        Settings(webhooks=OLD)  # type: ignore[arg-type]
    assert OLD[6:] not in repr(Webhooks([OLD]))


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


def test_a_url_is_checked_where_it_is_said() -> None:
    app = App("memory://")

    @app.task(name="add")
    def add() -> None: ...

    with pytest.raises(InvalidOption, match="on_complete_url must have no user and no password"):
        add.options(on_complete_url="https://a:b@example.com")
    assert add.options(on_complete_url="http://example.com:8080").call_options.on_complete_url


def test_who_asks_for_time() -> None:
    assert retry_after(formatdate(time() + 100, usegmt=True)) == pytest.approx(100, abs=5)
    assert retry_after("9" * 30) == LONGEST_WAIT
    assert retry_after("") is retry_after("-1") is retry_after("soon") is None
    assert retry_after("Mon, 1 Jan 99999999999 00:00:00 GMT") is None
