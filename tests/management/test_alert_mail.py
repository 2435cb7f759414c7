"""Mails about alerts over TLS, with a password, and to servers that refuse them."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from taskq.alert_rules import EmailOptions, Tls
from taskq.management.alert_mail import MailFailed, mail_of, send
from taskq.management.alerts import Change, Notice
from tests.management.mails import MailServer, mail_server
from tests.management.test_alert_watch import alert_of


class Trust:
    """A certificate of 127.0.0.1, and a context of TLS that trusts it."""

    def __init__(self, folder: Path) -> None:
        key, now, day = (
            ec.generate_private_key(ec.SECP256R1()),
            datetime.datetime.now(datetime.UTC),
            datetime.timedelta(1),
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        file = folder / "mail.pem"
        file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem)
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(file)
        self.client = ssl.create_default_context(cafile=str(file))


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """A certificate for the server."""
    return Trust(tmp_path)


def options(mails: MailServer, tls: Tls, password: str = "hush") -> EmailOptions:
    """Send to the server."""
    login = {"user": "taskq", "password": password} if tls != "none" else {}
    return EmailOptions(
        host="127.0.0.1", port=mails.port, sender="taskq@example.com", to=("a@example.com",), tls=tls, **login
    )


def notices(*texts: str) -> list[Notice]:
    """Changes of alerts."""
    alerts = [alert_of(f"a{number}", text=text) for number, text in enumerate(texts)]
    return [Notice(f"{alert.id}.raised", Change.RAISED, alert.raised_at, alert) for alert in alerts]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_mail_goes_over_tls_with_a_password(trust: Trust, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda: trust.client)
    async with mail_server(trust.server, is_tls=tls == "tls") as mails:
        await asyncio.to_thread(send, options(mails, tls), notices("the queue is slow"))
        assert [mail["Subject"] for mail in mails.received] == ["[taskq] raised no_worker: the queue is slow"]
        assert mails.logins == ["\0taskq\0hush"]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_certificate_that_nobody_trusts_is_refused(trust: Trust, tls: Tls) -> None:
    async with mail_server(trust.server, is_tls=tls == "tls") as mails:
        with pytest.raises(MailFailed, match=r"127\.0\.0\.1:\d+ cannot be reached"):
            await asyncio.to_thread(send, options(mails, tls), notices("x"))
        assert (mails.received, mails.logins) == ([], [])


async def test_a_password_that_is_wrong_is_not_told(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda: trust.client)
    async with mail_server(trust.server) as mails:
        with pytest.raises(MailFailed) as refusal:
            await asyncio.to_thread(send, options(mails, "starttls", "hash"), notices("x"))
    assert str(refusal.value) == "127.0.0.1 has answered 535 (SMTPAuthenticationError)"


async def test_a_server_without_tls_is_not_told_the_password() -> None:
    async with mail_server() as mails:
        with pytest.raises(MailFailed):
            await asyncio.to_thread(send, options(mails, "starttls"), notices("x"))
        assert (mails.received, mails.logins) == ([], [])


def test_what_people_have_named_writes_no_header() -> None:
    email = EmailOptions(host="h", sender="taskq@example.com", to=("a@example.com",))
    mail = mail_of(email, notices("late\r\nBcc: all@example.com"))
    assert mail["Bcc"] is None
    assert mail["Subject"] == "[taskq] raised no_worker: late\\r\\nBcc: all@example.com"
    assert mail["Message-ID"] == mail_of(email, notices("late\r\nBcc: all@example.com"))["Message-ID"]
    assert mail["Message-ID"].endswith("@example.com>")
    assert mail["Auto-Submitted"] == "auto-generated"
