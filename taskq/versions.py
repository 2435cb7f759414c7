"""Versions of a payload: arguments that an older release enqueued are lifted step by step to what the task takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any

import msgspec

from taskq.config import is_whole, shown
from taskq.errors import InvalidOption, InvalidPayload
from taskq.frames import summary
from taskq.payload import plain_payload

FIRST = 1
"""The version of a payload that names none."""
NEWEST = 1_000_000

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""From the arguments of one version, by name and as plain JSON data, to those of the next."""


def check_version(version: object) -> None:
    """Refuse what cannot be a version.

    Raises:
        InvalidOption: it is no whole number from 1 on.

    >>> check_version(2)
    """
    if not (is_whole(version) and FIRST <= version <= NEWEST):
        raise InvalidOption(f"version must be a whole number from 1 to {NEWEST:,}, not {shown(version)}")


def check_upcasts(version: int, upcasts: object) -> None:
    """Refuse steps that do not lead to the version without a gap.

    Arguments:
        version: where the steps lead.
        upcasts: version → function from its arguments to those of the next.

    Raises:
        InvalidOption: a step is missing, leads nowhere or is no function.

    >>> check_upcasts(3, {1: dict, 2: dict})
    >>> check_upcasts(3, {1: dict})
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: upcast must have every step from its first up to version 3: 2 is missing
    """
    if not isinstance(upcasts, Mapping):
        raise InvalidOption(f"upcast must be a mapping of a version to a function, not {shown(upcasts)}")
    for step, function in upcasts.items():
        if not (is_whole(step) and FIRST <= step < version):
            raise InvalidOption(f"upcast: a step leads from a version from 1 to {version - 1}, not from {shown(step)}")
        if not callable(function) or iscoroutinefunction(function):
            raise InvalidOption(f"upcast: the step from version {step} must be a plain function, not {shown(function)}")
    missing = sorted(set(range(min(upcasts, default=version), version)) - set(upcasts))
    if missing:
        raise InvalidOption(
            f"upcast must have every step from its first up to version {version}: {missing[0]} is missing"
        )


def lift(name: str, payload: bytes, version: int, newest: int, upcasts: Mapping[int, Upcast]) -> bytes:
    """A payload as the newest version has it.

    Arguments:
        name: the task's name, for messages.
        payload: the arguments as JSON.
        version: which version they are of.
        newest: which version is wanted, no older one.
        upcasts: the steps, version → function from its arguments to those of the next.

    Returns:
        The payload of the newest version, not checked against the task's signature.

    Raises:
        InvalidPayload: a step is missing, raises, or gives no arguments; the message says which.

    >>> lift("mail.send", b'{"to":"a@b.c"}', 1, 2, {1: lambda old: {"recipients": [old["to"]]}})
    b'{"recipients":["a@b.c"]}'
    >>> lift("mail.send", b'{"to":"a@b.c"}', 1, 3, {2: dict})
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidPayload: mail.send: these are arguments of version 1, and there is no upcast from version 1 to 2
    """
    if version == newest:
        return payload
    arguments = _read(name, payload)
    for step in range(version, newest):
        if step not in upcasts:
            between = f"there is no upcast from version {step} to {step + 1}"
            raise InvalidPayload(f"{name}: these are arguments of version {version}, and {between}")
        arguments = _step(name, step, upcasts[step], arguments)
    try:
        return plain_payload(name, arguments)
    except InvalidPayload as error:
        raise InvalidPayload(f"{error} (lifted from version {version})", parameter=error.parameter) from error


def _read(name: str, payload: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InvalidPayload(f"{name}: the payload is no JSON object: {error}") from None


def _step(name: str, version: int, upcast: Upcast, arguments: dict[str, Any]) -> dict[str, Any]:
    which = f"{name}: the upcast from version {version} to {version + 1}"
    try:
        lifted: object = upcast(arguments)
    except Exception as error:  # the user's own code may raise anything
        raise InvalidPayload(f"{which} raised {summary(error)}") from error
    if not (isinstance(lifted, dict) and all(isinstance(key, str) for key in lifted)):
        raise InvalidPayload(f"{which} gave no dict of arguments by name, but {type(lifted).__name__}")
    return lifted
