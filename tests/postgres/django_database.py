"""Django, set up without a project, and a connection of its to a database of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.db import connections
from django.db.utils import ConnectionHandler

settings.configure()
django.setup()


@contextmanager
def django_connection(url: str) -> Iterator[Any]:
    """The default connection of the thread; `transaction.atomic()` is about it."""
    parts = urlsplit(url)
    names = {"USER": parts.username, "HOST": parts.hostname, "PORT": parts.port}
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": parts.path.removeprefix("/"), **names}
    connection = ConnectionHandler({"default": database})["default"]
    connections["default"] = connection
    try:
        yield connection
    finally:
        connection.close()
