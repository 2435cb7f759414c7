"""Schedules that code declares, and the tasks that any schedule fires."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict, cast

import msgspec

from taskq.by_name import ByName
from taskq.config import is_label, shown
from taskq.crypto import Crypto, about_payload, decrypt
from taskq.domain.message import Message
from taskq.domain.retry import BuiltinRetry, from_dict, to_dict
from taskq.domain.schedule import Rules, put_off
from taskq.errors import ConfigError, InvalidOption
from taskq.headers import check_depth
from taskq.ids import derived_id, new_id
from taskq.options import NOTHING_SAID, CallKeywords, CallOptions, PriorityLike, as_priority, as_seconds
from taskq.schedule_spec import Definition, Spec, plain, plain_timing
from taskq.task import Task

OPTIONS = frozenset(
    {
        *("queue", "priority", "expires", "timeout", "soft_timeout", "retry", "retention", "tenant", "metadata"),
        *("version", "encrypt", "tags"),
    }
)
"""The options of a call that a schedule may have."""
_SEALED = ("arguments", "is_sealed")


class ScheduleKeywords(TypedDict, total=False):
    """The options of `app.periodic` for type checkers, beside when it fires; taskq.options.CallOptions says what they
    mean."""

    queue: str | None
    priority: PriorityLike | None
    expires: float | timedelta | None
    timeout: float | None
    soft_timeout: float | None
    retry: BuiltinRetry | Mapping[str, Any] | None
    retention: float | None
    tenant: str
    metadata: Mapping[str, Any] | None
    tags: Sequence[str]
    version: int | None
    encrypt: bool | None


def define(task: str, rules: Rules, arguments: bytes, options: Mapping[str, Any]) -> Definition:
    """What a store is told of a schedule.

    Raises:
        InvalidOption: an option is unknown or out of its range, or the timing none of ours.
    """
    return Definition(
        task=task,
        timing=plain_timing(rules.timing),
        arguments=arguments,
        misfire=str(rules.misfire),
        overlap=str(rules.overlap),
        jitter=float(rules.jitter),
        start=rules.start,
        end=rules.end,
        options=plain_options(options),
    )


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of each call as plain data.

    Raises:
        InvalidOption: one is unknown, out of its range or no plain data.

    >>> plain_options({"priority": "high", "expires": timedelta(minutes=1), "queue": None})
    {'priority': 2, 'expires': 60.0}
    >>> plain_options({"prority": "high"})
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: a schedule has no option 'prority', did you mean 'priority'?
    """
    for name in options.keys() - OPTIONS:
        near = difflib.get_close_matches(name, OPTIONS, 1)
        raise InvalidOption(f"a schedule has no option {name!r}" + "".join(f", did you mean {one!r}?" for one in near))
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(given.get("expires"), datetime):
        raise InvalidOption("expires of a schedule must be seconds or a timedelta: each call has its own")
    call = CallOptions(**given)
    if call.priority is not None:
        given["priority"] = int(as_priority(call.priority))
    if call.expires is not None:
        given["expires"] = as_seconds(cast("float | timedelta", call.expires))
    if call.retry is not None:
        given["retry"] = to_dict(call.retry if isinstance(call.retry, BuiltinRetry) else from_dict(call.retry))
    try:
        data = msgspec.json.encode(given)
        check_depth(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"the metadata of a schedule cannot be written as JSON: {error}") from None
    return cast("dict[str, Any]", msgspec.json.decode(data))


def check_name(name: object) -> str:
    """The name of a schedule, 1 to 255 printable characters.

    Raises:
        InvalidOption: it cannot be one.
    """
    if not isinstance(name, str) or not is_label(name):
        raise InvalidOption(f"the name of a schedule must have 1 to 255 printable characters, not {shown(name)}")
    return name


class Declaration:
    """A schedule that code declares.

    Its arguments are encoded when a beat first needs them: annotations may name what its module defines further down.

    Arguments:
        name: of the schedule.
        task: what it fires.
        rules: when.
        args, kwargs: the arguments of each call.
        options: of each call.

    Raises:
        InvalidOption: an option, or the name, cannot be what it is.
    """

    def __init__(
        self,
        name: str,
        task: Task[..., Any],
        rules: Rules,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> None:
        self.name = check_name(name)
        if task.call_options != NOTHING_SAID:
            raise InvalidOption(
                f"schedule {name!r}: give the options of its calls to app.periodic(…), not to {task.name}.options(…)"
            )
        self.task = task
        self._arguments = _checked_arguments(args, {} if kwargs is None else kwargs)
        self._definition = define(task.name, rules, b"", options)

    def definition(self) -> Definition:
        """What the store is told of it.

        Raises:
            InvalidPayload: the arguments do not fit the task.
        """
        args, kwargs = self._arguments
        return msgspec.structs.replace(self._definition, arguments=self.task.codec.encode(args, kwargs))


def _checked_arguments(args: object, kwargs: object) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    # A string is a sequence too, of what nobody means by args=("x").
    if not isinstance(args, tuple | list):
        raise InvalidOption(f"args must be a tuple, such as (7,), not {shown(args)}")
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise InvalidOption(f"kwargs must be a mapping of names to values, not {shown(kwargs)}")
    return tuple(args), kwargs


class Declarations:
    """The schedules that the code of an application declares."""

    def __init__(self) -> None:
        self._by_name: dict[str, Declaration] = {}

    def add(self, declaration: Declaration) -> None:
        """One more; that of a module which is loaded again takes the place of its predecessor.

        Raises:
            ConfigError: another one has its name.
        """
        other = self._by_name.get(declaration.name)
        # What a module declares when it is loaded again belongs to a function that is new, of the same name.
        if other is not None and (other.task.name != declaration.task.name or other.task is declaration.task):
            raise ConfigError(
                f"two schedules want the name {declaration.name!r}: give one of them another, @app.periodic(…, name=…)"
            )
        self._by_name[declaration.name] = declaration

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str) -> Declaration | None:
        """The one of that name."""
        return self._by_name.get(name)


class Fires:
    """Makes the tasks that schedules fire.

    Arguments:
        by_name: the tasks.
        namespace: part of their ids.
        crypto: the keys of the application.
    """

    def __init__(self, by_name: ByName, namespace: str, crypto: Crypto | None) -> None:
        self._by_name = by_name
        self._namespace = namespace
        self._crypto = crypto

    def queue_of(self, definition: Definition) -> str:
        """The queue that its tasks go to."""
        return definition.options.get("queue") or self._by_name.queue_of(definition.task)

    def encode(self, definition: Definition, payload: Mapping[str, Any] | None) -> tuple[Task[..., Any], bytes]:
        """The task of a definition, and arguments for it.

        Raises:
            InvalidPayload: they do not fit.
        """
        return self._by_name.call(definition.task, payload, cast("CallKeywords", definition.options))

    def message(self, name: str, queue: str, definition: Definition, instant: datetime | None) -> Message:
        """The task of one fire. That of an instant has always the same id, so that it is stored once.

        Arguments:
            name: of the schedule.
            queue: where it is kept.
            definition: what holds.
            instant: for which it fires; None: at once, because somebody asked for it.

        Raises:
            TaskqError: the call cannot be made: the arguments fit no more, a key is missing, a hook refuses it.
        """
        options = cast("CallKeywords", {**definition.options, "queue": queue})
        if instant is not None and definition.jitter:
            options["eta"] = instant + timedelta(seconds=put_off(name, instant, definition.jitter))
        payload = msgspec.json.decode(self.opened(name, definition).arguments)

        def id_in(shard: int) -> str:
            if instant is None:
                return new_id(shard)
            return derived_id(shard, self._namespace, "schedule", name, instant.isoformat())

        return self._by_name.message(definition.task, payload, options, id_in)

    def sealed(self, name: str, definition: Definition) -> Definition:
        """The definition as a store may keep it: encrypted where its tasks are."""
        if definition.is_sealed:
            return definition
        crypto = self._by_name.crypto_for(definition.task, cast("CallKeywords", definition.options))
        if crypto is None:
            return definition
        sealed = crypto.encrypt(definition.arguments, about_payload(f"schedule:{name}", definition.task))
        return msgspec.structs.replace(definition, arguments=sealed, is_sealed=True)

    def sealed_spec(self, name: str, spec: Spec) -> Spec:
        """A whole spec as a store may keep it."""
        changes = spec.changes
        if "arguments" in changes:
            effective = plain(self.sealed(name, spec.effective))
            changes = {**changes, **{field: effective[field] for field in _SEALED if field in effective}}
        return msgspec.structs.replace(spec, definition=self.sealed(name, spec.definition), changes=changes)

    def opened_spec(self, name: str, spec: Spec) -> Spec:
        """The spec with its arguments as they were given, those of its changes too.

        Raises:
            KeyMissing, Tampered: they cannot be read here.
        """
        definition = self.opened(name, spec.definition)
        changes = {field: value for field, value in spec.changes.items() if field != "is_sealed"}
        if "arguments" in changes:
            changes["arguments"] = plain(self.opened(name, spec.effective))["arguments"]
        return msgspec.structs.replace(spec, definition=definition, changes=changes)

    def opened(self, name: str, definition: Definition) -> Definition:
        """The definition with its arguments as they were given.

        Raises:
            KeyMissing, Tampered: they cannot be read here.
        """
        if not definition.is_sealed:
            return definition
        about = about_payload(f"schedule:{name}", definition.task)
        arguments = decrypt(self._crypto, definition.arguments, about)
        return msgspec.structs.replace(definition, arguments=arguments, is_sealed=False)
