"""The command line as a face of the Management: who asks is whoever runs the command, and may do everything."""

from __future__ import annotations

import getpass
import socket
from secrets import token_hex

from taskq.app import App
from taskq.management import Actor, Management, Role


def management(app: App) -> Management:
    """The Management of an application for the user of this process, by whose name the audit trail knows them."""
    return Management(app, Actor(f"{_user()}@{socket.gethostname()}", [Role.ADMIN], request_id=token_hex(8)))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return "unknown"
