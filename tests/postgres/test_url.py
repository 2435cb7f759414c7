"""The URL."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from taskq.errors import ConfigError
from taskq.ports import BackendOptions
from taskq_postgres.url import parse


def test_our_parameters_never_reach_libpq() -> None:
    target = parse("postgres://me@host:7/db?schema=jobs&listen=off&sslmode=require", BackendOptions(namespace="blue"))
    assert (target.schema, target.is_listening) == ("jobs_blue", False)
    assert "sslmode=require" in target.conninfo
    assert "schema" not in target.conninfo
    assert "listen" not in target.conninfo


def test_libpq_gets_its_own_parameters_as_they_are() -> None:
    target = parse("postgresql://me@host/db?options=-c%20search_path%3Da%2Bb", BackendOptions())
    assert conninfo_to_dict(target.conninfo)["options"] == "-c search_path=a+b"


def test_a_url_may_name_a_local_socket() -> None:
    target = parse("postgresql:///db?host=/run/sockets", BackendOptions())
    given = conninfo_to_dict(target.conninfo)
    assert (given["host"], given["dbname"]) == ("/run/sockets", "db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/db?listen=maybe",
        "postgresql://me:hunter2@host/db?schema=a-b",
        'postgresql://me:hunter2@host/db?schema=a"b',
        "postgresql://me:hunter2@host/db?nonsense=1",
        "mysql://me:hunter2@host/db",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url, BackendOptions())
    assert "hunter2" not in str(caught.value)


def test_a_namespace_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(ConfigError, match="lower-case"):
        parse("postgresql://host/db", BackendOptions(namespace="a; drop"))
