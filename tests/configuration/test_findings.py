"""All that is wrong at once: each key with the nearest right one, each value with who said it and its rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskq.configuration.secrets import LEAST_BYTES, weakness
from tests.configuration.conftest import Read

Wrong = Callable[..., list[str]]
STRONG = "pQ7w9sX2mK4vT8yB1nR5cJ3hL6gF0dZA"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("worker: {concurency: 5}", "worker.concurency: there is no such key, did you mean worker.concurrency?"),
        ("wroker: {lease: 5}", "wroker: there is no such key, did you mean worker?"),
        ("worker: {Lease: 5}", "worker.Lease: there is no such key, did you mean worker.lease?"),
        ("lease: 5", "lease: there is no such key here, did you mean worker.lease?"),
        (
            "server: {durability: disk}",
            "server.durability: there is no such key here, did you mean backend.durability?",
        ),
        ("scheduler: {xyz: 5}", "scheduler.xyz: there is no such key; there are metrics_port, health_file, tick"),
        (
            "queues: {mail: {max_sise: 5}}",
            "queues.mail.max_sise: there is no such key, did you mean queues.mail.max_size?",
        ),
        (
            "alerts: {rules: {queue_behnd: {}}}",
            "alerts.rules.queue_behnd: there is no such key, did you mean alerts.rules.queue_behind?",
        ),
        ("server: {port: 70000}", "server.port: must be at most 65,535"),
        ("server: {port: http}", "server.port: must be a whole number, not 'http'"),
        ("server: {port: true}", "server.port: must be a number, not true"),
        ("server: {port: 8081}", "server.port and server.admin_port are both 8081"),
        ("server: {grpc_port: 2112}", "server.grpc_port and monitoring.metrics_port are both 2112"),
        ("server: {host: 1}", "server.host: must be text (in a file: in quotes), not 1"),
        ("server: {tls: {cert: a}}", "server.tls.key: is missing"),
        ("server: {tls: {cert: '', key: b}}", "server.tls.cert: must not be empty, not ''"),
        ("server: 8080", "server: must be a section with keys of its own, not 8080"),
        ("queues: [mail]", "queues: must be a section with keys of its own"),
        ("queues: {mail: 3}", "queues.mail: must be a section with keys of its own, not 3"),
        ("queues: {'a b': {}}", "queues: queue 'a b': use 1 to 200 of the characters A-Z a-z 0-9 _ . -"),
        (
            "queues: {mail: {workers: 0}}",
            "queues.mail.workers: workers must be a whole number from 1 to 1,000,000, not 0",
        ),
        (
            "queues: {mail: {rate_limit: fast}}",
            "queues.mail.rate_limit: a rate must be like \"100/m\" (per s, m, h or d) or starts a second, not 'fast'",
        ),
        (
            "queues: {mail: {retry_strategy: often}}",
            "queues.mail: retry strategy 'often' is not one of exponential, fixed, linear, none",
        ),
        (
            "queues: {mail: {retry_strategy: {strategy: fixed, dealy: 5}}}",
            "queues.mail: retry policy 'fixed' has no field 'dealy'; did you mean 'delay'?",
        ),
        (
            "queues: {mail: {soft_timeout: 400}}",
            "queues.mail: soft_timeout must be less than the timeout of 300 s, not 400.0",
        ),
        ("worker: {lease: soon}", "worker.lease: must be seconds, or text such as 30s, 5m, 7d, not 'soon'"),
        ("worker: {lease: 15, heartbeat: 10}", "worker: a lease must be longer than two heartbeats, not 15.0"),
        (
            "worker: {max_rss: 100, max_memory: 100}",
            "worker: max_memory must be below max_rss (100 MiB), at which no task is begun any more, not 100",
        ),
        (
            "worker: {rate: fast}",
            "worker.rate: a rate must be like \"100/m\" (per s, m, h or d) or starts a second, not 'fast'",
        ),
        ("worker: {rate: 0}", "worker.rate: rate must be from one start in ten years to a million a second, not 0.0"),
        ("worker: {queues: 'a,a'}", "worker.queues: 'a,a': the queue a is named twice"),
        ("worker: {queues: {a: 0}}", "worker.queues: the weight of queue a must be over 0 and at most 1,000, not 0.0"),
        ("worker: {poll: .nan}", "worker.poll: must be a number that is finite, not nan"),
        ("worker: {beat: perhaps}", "worker.beat: must be true or false, not 'perhaps'"),
        ("scheduler: {tick: 0}", "scheduler.tick: must be at least 0.05"),
        ("retention: {age: 0}", "retention.age: must be over 0"),
        (
            "monitoring: {log_level: INF}",
            "monitoring.log_level: must be one of DEBUG, INFO, WARNING, ERROR, not 'INF', did you mean INFO?",
        ),
        ("monitoring: {log_format: xml}", "monitoring.log_format: must be one of json, console, not 'xml'"),
        (
            "auth: {roles: {ops: adminn}}",
            "auth.roles.ops: must be one of viewer, submitter, operator, admin, not 'adminn', did you mean admin?",
        ),
        (
            "auth: {jwks_url: 'http://localhost.example.com'}",
            "auth.jwks_url: must begin with https://: whoever can change what it answers decides who comes in",
        ),
        (
            "backend: reddis://u:hunter2@h",
            "backend.url: no backend for 'reddis://u:***@h': its scheme is none of memory, "
            "postgres, postgresql, redis, redis+cluster, redis+sentinel, rediss",
        ),
        (
            "backend: 'redis://u:hunter2@[h'",
            "backend.url: the URL: the host of the redis:// URL cannot be read; an IPv6 address is written [::1]",
        ),
        (
            "alerts: {webhook: {url: hooks}}",
            "alerts.webhook.url: must begin with https:// or http://",
        ),
        (
            "alerts: {webhook: {url: 'https://[x'}}",
            "alerts.webhook.url: its host or its port cannot be read",
        ),
        ("alerts: {email: {host: h, from: a@b.c, to: []}}", "alerts.email.to: must have 1 to 100 addresses, not 0"),
        (
            "alerts: {email: {host: h, from: a@b.c, to: me}}",
            "alerts.email.to: must be an address such as ops@example.com, not 'me'",
        ),
        (
            "alerts: {email: {host: h, from: a@b.c, to: a@b.c, user: u}}",
            "alerts.email: user and password go together",
        ),
        (
            "alerts: {rules: {no_worker: {queues: 'a b'}}}",
            "alerts.rules.no_worker.queues: queue 'a b': use 1 to 200 of the characters A-Z a-z 0-9 _ . -",
        ),
        ("webhooks: {allow: 10.0.0.1/8}", "webhooks: '10.0.0.1/8' is no network: 10.0.0.1/8 has host bits set"),
        ("webhooks: {allow: 10.0.0.1, secrets: [], ports: x}", "webhooks.ports: must be a whole number, not 'x'"),
    ],
)
def test_what_is_wrong_and_where(wrong: Wrong, text: str, rule: str) -> None:
    where = "" if rule.startswith("server.") and " and " in rule.split(":")[0] else "taskq.yaml:1: "
    assert wrong(text) == [where + rule]


def test_everything_at_once_in_the_order_of_the_file(wrong: Wrong) -> None:
    text = "monitoring:\n  otel: perhaps\nserver:\n\n  port: x\n  prot: 1\nworker:\n  raet: 5\n"
    found = wrong(text, environment={"TASKQ_WORKER__LAESE": "5", "TASKQ_WORKER__LEASE": "x"})
    assert [line.partition(": ")[0] for line in found] == [
        "TASKQ_WORKER__LAESE", "TASKQ_WORKER__LEASE", "taskq.yaml:2", "taskq.yaml:5", "taskq.yaml:6", "taskq.yaml:8"
    ]  # fmt: skip


def test_a_file_of_another_program(wrong: Wrong) -> None:
    found = wrong("".join(f"k{number}{'k' * 1000}: 1\n" for number in range(150)))
    assert (len(found), found[-1]) == (101, "and 50 more")
    assert max(map(len, found)) < 300


def test_a_wrong_argument_is_named_by_its_option(wrong: Wrong) -> None:
    found = wrong("worker: {lease: 5}", arguments={("worker", "lease"): ("--lease", 0)})
    assert found == ["--lease: worker.lease: lease must be over 0 and at most 86,400 seconds, not 0.0"]


def test_a_file_without_lines_is_named(wrong: Wrong) -> None:
    assert wrong("[worker]\nleas = 3", name="taskq.toml") == [
        "taskq.toml: worker.leas: there is no such key, did you mean worker.lease?"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "auth: {jwt_secret: [hunter2]}",
        "auth: {jwt_secret: hunter2}",
        "crypto: {keys: {k: hunter2}}",
        "crypto: {keys: {k: [hunter2]}}",
        "crypto: {keys: hunter2}",
        "crypto: {digest_key: hunter2}",
        "crypto: {digest_key: 1234567}",
        "webhooks: {secrets: [hunter2]}",
        "webhooks: {secrets: [[hunter2]]}",
        "alerts: {email: {password: [hunter2]}}",
        "alerts: {webhook: {url: 'hooks/hunter2', headers: {authorization: [hunter2]}}}",
        "backend: 'redis//u:hunter2@h'",
        "backend: {url: 'redis://u:hunter2@[h', pool_size: 'redis://u:hunter2@h'}",
        "server: {port: 'redis://u:hunter2@h'}",
    ],
)
def test_no_secret_is_shown(wrong: Wrong, text: str) -> None:
    lines = wrong(text)
    assert lines
    assert not any("hunter2" in line or "1234567" in line for line in lines)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("secret", "must have at least 32 bytes, not 6"),
        ("changeme" * 4, "is made of words that anybody would try"),
        ("your-256-bit-secret-for-development", "is made of words that anybody would try"),
        ("ThisIsTheSecretKeyOfYourJwtTokens!", "is made of words that anybody would try"),
        ("1234567890" * 4, "is made of words that anybody would try"),
        ("a" * 64, "has only 1 different characters"),
        ("xk9Qp2Lm" * 5, "says the same again and again"),
        (STRONG, None),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", None),
        ("é" * 32, "is made of words that anybody would try"),
    ],
)
def test_a_weak_secret_is_refused(read: Read, wrong: Wrong, secret: str, why: str | None) -> None:
    assert weakness(secret) == why
    text = f"auth:\n  jwt_secret: '{secret}'\n"
    if why is None:
        assert read(text).sections.auth.jwt_secret is not None
    else:
        [line] = wrong(text)
        assert line.startswith(f"taskq.yaml:2: auth.jwt_secret: the secret {why}; make one with python -c")
        assert f"'{secret}'" not in line
        assert len(secret) < LEAST_BYTES or secret not in line
