"""From a record to the call that it stands for, and from a result to what is stored of it: versions and keys."""

from __future__ import annotations

from typing import Any

from taskq.crypto import Crypto, about_payload, about_result, check_key, decrypt, escaped
from taskq.domain.limits import Limit
from taskq.domain.message import Delivery
from taskq.domain.outcome import KEY, VERSION, Outcome, Succeeded, Unknown
from taskq.errors import ConfigError, CorruptRecord, InvalidPayload, KeyMissing
from taskq.headers import Headers
from taskq.payload import Call
from taskq.runtime.run import Run
from taskq.task import Task
from taskq.terms import terms_of_version
from taskq.versions import lift

UNREADABLE = (ConfigError, CorruptRecord, InvalidPayload, KeyMissing)
"""What `open_call` may raise; taskq.runtime.failures.undecodable says what it means."""


def lacking(task: Task[..., Any], headers: Headers, payload: bytes) -> Unknown | None:
    """What this worker lacks to run a task, None where it has all.

    Arguments:
        task: as it is registered here.
        headers: of the enqueued task.
        payload: as it came; one that is damaged is not complained of here.
    """
    newest, crypto = task.declared.version, task.submitter.crypto
    if headers.version > newest:
        what = f"version {headers.version} of the arguments of {task.name!r} (the newest here is {newest})"
        return Unknown(lack=VERSION, what=what)
    if headers.encrypted:
        return _missing_key(crypto, payload)
    if crypto is None and task.declared.encrypt:
        return Unknown(lack=KEY, what=f"key to encrypt the result of {task.name!r} with")
    return None


def late_limits(run: Run) -> tuple[Limit, ...]:
    """The limits of a task that whoever enqueued it by its name did not know of; () where there are none.

    Its arguments are opened for that alone, and once: it comes back with its limits.
    """
    task, delivery, version = run.task, run.delivery, run.headers.version
    if delivery.is_limited:
        return ()
    try:
        payload = plain_payload_of(task.submitter.crypto, delivery.id, task.name, run.headers, run.payload)
        return terms_of_version(task.terms, version, task.declared).limits(payload, delivery.tenant)
    except Exception:  # noqa: BLE001 - its run says what is wrong with them; the function of a key may raise anything
        return ()


def open_call(task: Task[..., Any], id: str, headers: Headers, payload: bytes) -> Call:
    """The arguments of a task, decrypted, and lifted to the version that it takes.

    Arguments:
        task: as it is registered here.
        id: of the enqueued task.
        headers: of the enqueued task.
        payload: its arguments as they came.

    Raises:
        KeyMissing, Tampered, CorruptRecord: they cannot be decrypted.
        InvalidPayload: they cannot be lifted, or do not fit its signature.
        ConfigError: its signature cannot be used.
    """
    declared = task.declared
    if headers.version == declared.version and not headers.encrypted:  # as nearly always
        return task.codec.decode(payload)
    plain = plain_payload_of(task.submitter.crypto, id, task.name, headers, payload)
    return task.codec.decode(lift(task.name, plain, headers.version, declared.version, declared.upcast))


def plain_payload_of(crypto: Crypto | None, id: str, name: str, headers: Headers, payload: bytes) -> bytes:
    """The arguments of a task as they were enqueued.

    Raises:
        KeyMissing, Tampered, CorruptRecord: they cannot be decrypted.
    """
    return decrypt(crypto, payload, about_payload(id, name)) if headers.encrypted else payload


def seal_outcome(task: Task[..., Any], delivery: Delivery, headers: Headers, outcome: Outcome) -> Outcome:
    """An outcome as it is stored: its result encrypted where the task, its call or the application wants that."""
    if not isinstance(outcome, Succeeded):
        return outcome
    sealed = seal_result(task, delivery, headers, outcome.result)
    return outcome if sealed is outcome.result else Succeeded(sealed)


def seal_result(task: Task[..., Any], delivery: Delivery, headers: Headers, result: bytes) -> bytes:
    """A result as it is stored.

    Arguments:
        task: as it is registered here.
        delivery: the run that it is the result of.
        headers: of the enqueued task.
        result: JSON.
    """
    crypto = task.submitter.crypto
    # One that arrived in plain, from who knew no better, has a secret result still.
    if crypto is None or not (headers.encrypted or crypto.wants(task.declared.encrypt)):
        return escaped(result)
    return crypto.encrypt(result, about_result(delivery.id, delivery.name, delivery.fence))


def _missing_key(crypto: Crypto | None, payload: bytes) -> Unknown | None:
    try:
        check_key(crypto, payload)
    except KeyMissing as error:
        return unknown_key(error)
    except CorruptRecord:
        pass
    return None


def unknown_key(error: KeyMissing) -> Unknown:
    """What a missing key means: the task is put off, for a worker that has it."""
    return Unknown(lack=KEY, what=f"key {error.key_id!r}{' of that content' * error.is_another}")
