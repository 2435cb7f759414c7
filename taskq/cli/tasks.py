"""`taskq enqueue` and `taskq tasks …`."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import click
import msgspec

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, opened_app, run, says_errors, store_app, within
from taskq.cli.completing import queue_names, task_names
from taskq.cli.following import OFTEN, Face, Watched, follow, show_once, spaced, watch_option
from taskq.cli.values import SECONDS, WIDEST, instant, shortened
from taskq.crypto import key_of, unescaped
from taskq.domain.envelope import unseal
from taskq.domain.record import Attempt, Progress, TaskRecord
from taskq.domain.spans import parse_duration
from taskq.errors import ConfigError, CorruptRecord, InvalidPayload, ResultError, TaskFailed
from taskq.telemetry.logs import printable

WITHOUT_END = "inf"


def _wait(_ctx: click.Context, _param: click.Parameter, given: str | None) -> float | None:
    """The seconds of --wait, which takes what follows it for a duration."""
    try:
        return None if given is None else math.inf if given == WITHOUT_END else parse_duration(given).total_seconds()
    except ValueError:
        raise click.BadParameter(f"{given!r} is no duration; to wait without end write it last: --wait") from None


def _retry(_ctx: click.Context, _param: click.Parameter, given: str | None) -> Any:
    """The policy of --retry as plain data."""
    try:
        policy = None if given is None else json.loads(given)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"it is not JSON: {error}") from None
    if policy is not None and not isinstance(policy, dict):
        raise click.BadParameter('it must be a JSON object, such as {"strategy":"fixed","delay":5}')
    return policy


@click.command()
@app_option(required=False)
@backend_option
@click.argument("name", shell_complete=task_names)
@click.argument("payload", required=False, default="{}", metavar="[JSON]")
@click.option("--queue", "-q", shell_complete=queue_names)
@click.option("--priority", type=click.Choice(["low", "normal", "high", "critical"]))
@click.option("--delay", type=SECONDS, help="When it may begin: 90s, 2m, 1h30m; a plain number is seconds.")
@click.option("--eta", callback=instant, metavar="ISO", help="The same as an instant, such as 2030-01-02T03:04Z.")
@click.option("--expires", type=SECONDS, help="When it is no longer to be begun.")
@click.option("--idempotency-key", metavar="KEY")
@click.option("--unique-key", metavar="KEY", help="Enqueue no second task while one with this key waits or runs.")
@click.option("--retry", callback=_retry, metavar="JSON",
              help='A retry policy, such as {"strategy":"fixed","delay":5,"max_retries":2}.')  # fmt: skip
@click.option("--timeout", type=SECONDS, help="How long a run may take.")
@click.option("--block", type=SECONDS, help="Wait so long for room where the queue is full.")
@click.option("--version", type=int, metavar="N", help="The version that the arguments are of.")
@click.option("--wait", callback=_wait, is_flag=False, flag_value=WITHOUT_END, metavar="[DURATION]",
              help="Wait for the end and print the result.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def enqueue(
    app_path: str | None, url: str | None, name: str, payload: str, wait: float | None, as_json: bool, **options: Any
) -> None:
    """Submit the task NAME with a JSON object of its arguments ("-" reads it from standard input)."""
    arguments = read_arguments(sys.stdin.read() if payload == "-" else payload)
    given = {key: value for key, value in options.items() if value is not None}
    app = store_app(app_path, url)

    async def submit() -> tuple[str, Any]:
        async with opened_app(app):
            handle = await app.aenqueue(name, arguments, **given)
            if wait is None:
                return handle.id, None
            return handle.id, await _result(app, handle.id, None if wait == math.inf else wait)

    id, result = run(submit())
    if as_json:
        shown = {"id": id} if wait is None else {"id": id, "result": result}
        click.echo(json.dumps(shown))
    else:
        click.echo(id if wait is None else json.dumps(result))


async def _result(app: App, id: str, timeout: float | None) -> Any:
    """The result as the JSON data that is stored, which needs none of the application's own types."""
    try:
        return await app.handle(id).aresult(timeout)
    except TaskFailed as error:
        # Of the ways to end without a result, the one whose message does not name the task.
        raise ResultError(f"task {id} failed: {error}") from error


def read_arguments(text: str) -> dict[str, Any]:
    """Arguments as they were typed.

    Raises:
        ConfigError, InvalidPayload: they are no JSON, or no object.
    """
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the arguments are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise InvalidPayload('the arguments must be a JSON object, such as {"to": "a@b.c"}')
    return arguments


@click.group()
def tasks() -> None:
    """Look at tasks."""


@tasks.command(cls=Watched)
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="With --watch, a line for each change.")
@watch_option("Go on until the task has ended, at each change; DURATION passes from one to the next at least.", OFTEN)
@says_errors()
def show(app_path: str | None, url: str | None, id: str, as_json: bool, every: float | None) -> None:
    """Show all that is known of the task ID."""
    app = store_app(app_path, url)
    handle = app.handle(id)
    face = Face(plain, _view, line=_line)
    if every is not None:
        follow(app, spaced(handle.awatch(), every), face, as_json)
    else:
        show_once(run(within(app, handle.ainfo)), face, as_json)


def _line(record: TaskRecord) -> str:
    """What changes while a task runs."""
    words = [record.state.value, f"attempt {record.attempt}"]
    if record.progress is not None:
        words += [f"{record.progress.fraction:.0%}", record.progress.message]
        words += [f"{key}={_value(value)}" for key, value in _data_of(record.progress).items()]
    return printable("  ".join(word for word in words if word))


def plain(record: TaskRecord) -> dict[str, Any]:
    """All of a record as JSON data."""
    fields: dict[str, Any] = msgspec.to_builtins(record, enc_hook=str)
    fields["priority"] = record.priority.name.lower()
    del fields["body"]
    try:
        payload, headers = unseal(record.id, record.name, record.body)
        fields["headers"] = _read(headers or b"{}")
        is_encrypted = isinstance(fields["headers"], dict) and fields["headers"].get("encrypted", False)
        fields["payload"] = _encrypted(payload) if is_encrypted else _read(payload)
    except CorruptRecord as error:
        fields["payload"] = f"({error})"
    fields["result"] = None if record.result is None else _result_of(record.result)
    fields["checkpoint"] = None if record.checkpoint is None else _result_of(record.checkpoint)
    if record.progress is not None:
        fields["progress"]["data"] = _data_of(record.progress)
    return fields


def _result_of(data: bytes) -> Any:
    return _read(unescaped(data)) if key_of(data) is None else _encrypted(data)


def _data_of(progress: Progress) -> dict[str, Any]:
    data = _read(progress.data)
    return data if isinstance(data, dict) else {"data": data}


def _read(data: bytes) -> Any:
    """JSON data, or what is said of something else: who looks at a task may look for just that."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        return f"(no JSON, {len(data):,} bytes: {type(error).__name__})"


def _encrypted(data: bytes) -> str:
    """What is said of a ciphertext: it is not decrypted, for a terminal is read by many and remembers much."""
    return f"(encrypted with the key {key_of(data) or '?'})"


def _view(record: TaskRecord) -> list[str]:
    fields = plain(record)
    lines = [f"{key.replace('_', ' '):13} {_value(fields[key])}" for key in _SHOWN if fields.get(key) not in (None, "")]
    lines += [attempt_line(attempt) for attempt in record.attempts]
    lines += [log_line(line) for line in record.logs]
    if record.failure is not None:
        failure = f"{record.failure.type}: {record.failure.message}"
        lines += ["", *(record.failure.traceback.rstrip() or failure).splitlines()]
    return lines


_SHOWN = (
    *("id", "name", "queue", "state", "priority", "tenant", "reason", "created_at", "due_at", "expires_at"),
    *("started_at", "completed_at", "worker", "attempt", "fence", "lost_leases", "progress"),
    *("checkpoint", "payload", "result"),
)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def attempt_line(attempt: Attempt) -> str:
    """One run in one line."""
    failure = f" ({attempt.failure.type})" if attempt.failure else ""
    start = attempt.started_at.isoformat(timespec="milliseconds")
    end = f"{attempt.outcome.value}{failure}, {start}, {attempt.seconds:.3f} s, by {attempt.worker}"
    return f"{'run':13} {attempt.fence}: {end}"


def log_line(line: str) -> str:
    """What a run logged, in one line."""
    fields = _read(line.encode())
    if not isinstance(fields, dict):
        return f"{'log':13} {line}"
    text = " ".join(str(fields.get(name, "")) for name in ("at", "level", "logger", "message"))
    return f"{'log':13} {fields.get('attempt', '-')}: {text}"


def failure_line(record: TaskRecord, most: int | None = WIDEST) -> str:
    """The newest failure in one line, "-" for none."""
    return "-" if record.failure is None else shortened(f"{record.failure.type}: {record.failure.message}", most)
