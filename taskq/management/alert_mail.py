"""Mails about alerts, by the SMTP of the standard library."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate
from hashlib import sha256

from taskq.alert_rules import EmailOptions
from taskq.errors import TaskqError
from taskq.management.alerts import Change, Notice
from taskq.telemetry.logs import printable

PATIENCE = 10.0
"""Seconds that each step of a conversation with the server may take."""
LONGEST_SUBJECT = 150


class MailFailed(TaskqError):
    """The server did not take a mail."""


def mail_of(options: EmailOptions, notices: Sequence[Notice]) -> EmailMessage:
    """One mail about several changes.

    Its Message-ID comes of the ids of the notices: a mail that is sent again has the same.
    """
    mail = EmailMessage()
    mail["From"], mail["To"] = options.sender, ", ".join(options.to)
    mail["Subject"] = _subject(notices)
    mail["Date"] = formatdate(max(notice.at for notice in notices).timestamp())
    digest = sha256("\n".join(sorted(notice.id for notice in notices)).encode()).hexdigest()[:32]
    mail["Message-ID"] = f"<taskq.{digest}@{options.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine is to answer it
    mail.set_content("\n\n".join(_paragraph(notice) for notice in notices) + "\n")
    return mail


def send(options: EmailOptions, notices: Sequence[Notice]) -> None:
    """Send one mail; blocks.

    Raises:
        MailFailed: the server cannot be reached, or does not take it; the message holds no secret.
    """
    mail = mail_of(options, notices)
    try:
        server = _connected(options)
        try:
            if options.user:
                server.login(options.user, options.password)
            server.send_message(mail)
        finally:
            with contextlib.suppress(smtplib.SMTPException, OSError):  # what it says now changes nothing of the mail
                server.quit()
    except smtplib.SMTPResponseException as error:  # whose text is the server's, and may repeat what it was told
        raise MailFailed(f"{options.host} has answered {error.smtp_code} ({type(error).__name__})") from None
    except smtplib.SMTPException as error:
        raise MailFailed(f"{options.host} does not take mails: {type(error).__name__}") from None
    except (OSError, ValueError) as error:
        raise MailFailed(f"{options.host}:{options.port} cannot be reached: {_reason(error)}") from None


def _connected(options: EmailOptions) -> smtplib.SMTP:
    if options.tls == "tls":
        return smtplib.SMTP_SSL(options.host, options.port, timeout=PATIENCE, context=ssl.create_default_context())
    server = smtplib.SMTP(options.host, options.port, timeout=PATIENCE)
    if options.tls == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _subject(notices: Sequence[Notice]) -> str:
    first = notices[0]
    text = f"[taskq] {first.change} {first.alert.rule}: {first.alert.text}"
    if len(notices) > 1:
        numbers = {change: sum(notice.change is change for notice in notices) for change in Change}
        parts = ", ".join(f"{number} {change}" for change, number in numbers.items() if number)
        text = f"[taskq] {len(notices)} alerts: {parts}"
    return printable(text)[:LONGEST_SUBJECT]


def _paragraph(notice: Notice) -> str:
    alert = notice.alert
    lines = [
        f"{notice.change} {alert.rule} {alert.subject}",
        f"  {alert.text}",
        f"  value {alert.value:g}, bound {alert.bound:g}, since {alert.since.isoformat(timespec='seconds')}",
        f"  id {alert.id}, {notice.change} at {notice.at.isoformat(timespec='seconds')}",
    ]
    return "\n".join(printable(line) for line in lines)
