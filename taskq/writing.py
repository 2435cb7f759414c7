"""From the arguments of a call to the messages that a store is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import repeat
from typing import Any, NamedTuple

from msgspec.structs import replace

from taskq.context import correlation
from taskq.crypto import Crypto, about_payload
from taskq.depends import edges_of
from taskq.domain.envelope import seal
from taskq.domain.message import Message, Priority
from taskq.domain.retry import BuiltinRetry, from_dict, to_dict
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge
from taskq.errors import InvalidOption, InvalidPayload, PayloadTooLarge
from taskq.headers import Headers, encode_headers
from taskq.ids import derived_id, digest, new_id
from taskq.limits import Debounce
from taskq.middleware import Draft
from taskq.options import CallOptions, as_priority, as_seconds, expires_in
from taskq.task import Task
from taskq.terms import named_key


class Place(NamedTuple):
    """Where tasks go, and what their ids are made of."""

    namespace: str
    queue: str
    shard: int


Shared = tuple[str, Priority, str, float | None, float | None, float | None, int, bool, float, str]
"""The fields of a message from `queue` to `tenant`."""


class Limits(NamedTuple):
    """What a call may not exceed."""

    max_payload: int
    has_detached_results: bool


class Related(NamedTuple):
    """What one task has to do with others."""

    flow: str = ""
    """The workflow or batch of which it is a member."""
    node: str = ""
    """Its name in a workflow."""
    place: int | None = None
    """Its place in it; None: it is added later."""
    parents: tuple[Edge, ...] = ()
    names: tuple[str, ...] | None = None
    """Of the tasks among its parents, where they have names; None: it waits for nobody."""
    inputs: tuple[str, ...] = ()
    """Parameters that hold a template."""
    about: str = ""
    """A flow of which it is no member, but a callback."""


ALONE = Related()


class Writer:
    """Writes the messages of one call, or of many that are alike.

    Arguments:
        task: what is enqueued.
        call: its options.
        place: where it goes.
        crypto: the keys to encrypt with, None where it is not to be.
        hooks: the `on_enqueue` of the application's middleware.
        limits: what the arguments may take, and whether results are kept apart from the records.
        related: what all of them have to do with others.

    Attributes:
        place: where it goes.
        encrypts: whether the arguments are encrypted.
    """

    def __init__(
        self,
        task: Task[..., Any],
        call: CallOptions,
        place: Place,
        crypto: Crypto | None,
        hooks: Sequence[Callable[..., Any]],
        limits: Limits,
        related: Related = ALONE,
    ) -> None:
        self._task = task
        self._name = task.name
        self._call = call
        self.place = place
        self._crypto = crypto
        self.encrypts = crypto is not None
        self._hooks = hooks
        self._limits = limits
        self._debounce = _debounce(task, call)
        self._shared = _shared(task, call, place, self._debounce)
        edges = edges_of(call.depends_on, call.on_parent_failure)
        self._related = related._replace(parents=edges, names=()) if edges else related
        self._tags = tuple(dict.fromkeys((*task.declared.tags, *call.tags)))
        is_unlimited = task.terms.are_none and call.unique_key is None
        self._known: tuple[str, bytes] | None = None
        """A correlation id, and the headers with it."""
        self._is_plain = is_unlimited and self._related is ALONE and not self._tags
        self.replaces = task.terms.replaces and call.unique_key is None
        """Whether a newer call replaces the arguments of the task that waits."""

    def messages(self, payloads: Sequence[bytes]) -> tuple[list[Message], list[bytes]]:
        """A message for each payload, with its headers.

        Raises:
            PayloadTooLarge: one takes too much.
            InvalidOption: one idempotency key for several tasks.
        """
        if self._call.idempotency_key is not None and len(payloads) != 1:
            raise InvalidOption(f"{self._task.name}: one idempotency_key is for one task, not for {len(payloads)}")
        messages, written = [], []
        most, identity, message = self._limits.max_payload, self._identity, self._message
        for payload, headers in zip(payloads, self._headers(count=len(payloads)), strict=False):
            size = len(payload) + len(headers)
            if size > most:
                raise PayloadTooLarge(self._task.name, size, most)
            messages.append(message(*identity(payload), payload, headers))
            written.append(headers)
        return messages, written

    def message(self, id: str, payload: bytes, related: Related | None = None, *, is_derived: bool = False) -> Message:
        """One message with an id that is given.

        Arguments:
            related: what it has to do with others, beyond what all messages have.
            is_derived: whether the id may come again, so that other arguments under it are to be told from these.

        Raises:
            PayloadTooLarge: it takes too much.
        """
        headers = next(self._headers(related))
        size = len(payload) + len(headers)
        if size > self._limits.max_payload:
            raise PayloadTooLarge(self._task.name, size, self._limits.max_payload)
        return self._message(id, self._digest(id, payload) if is_derived else "", payload, headers, related)

    def replacement(self, holder: str, payload: bytes, headers: bytes) -> Message:
        """What takes the place of the arguments of the task that waits under the key."""
        return self._message(holder, "", payload, headers)._replace(replaces=True)

    def _message(
        self, id: str, known_by: str, payload: bytes, headers: bytes, related: Related | None = None
    ) -> Message:
        name = self._name
        sealed = payload if self._crypto is None else self._crypto.encrypt(payload, about_payload(id, name))
        message = Message(id, name, seal(id, name, sealed, headers), *self._shared, known_by)
        if self._is_plain and related is None:
            return message
        flow, parents = (related or self._related).flow, (related or self._related).parents
        asked, unique = self._task.terms, self._unique(payload)
        longest = None if self._debounce is None else self._debounce.longest
        limits = asked.limits(payload, self._call.tenant)
        message = message._replace(unique=unique, limits=limits, longest_wait=longest)
        return message._replace(parents=parents, flow=flow, tags=self._tags)

    def _unique(self, payload: bytes) -> UniqueKey | None:
        call = self._call
        if call.unique_key is None:
            return self._task.terms.unique_key(payload, call.tenant)
        return UniqueKey(named_key(self._task.name, call.tenant, f"key:{call.unique_key}"))

    def _identity(self, payload: bytes) -> tuple[str, str]:
        key, place, call = self._call.idempotency_key, self.place, self._call
        if key is None:
            return new_id(place.shard), ""
        id = derived_id(place.shard, place.namespace, call.tenant, self._task.name, key)
        return id, self._digest(id, payload)

    def _digest(self, id: str, payload: bytes) -> str:
        return digest(payload) if self._crypto is None else self._crypto.digest(id, payload)

    def _headers(self, related: Related | None = None, count: int = 1) -> Iterator[bytes]:
        """The headers of each task in turn: all alike, unless a hook makes them."""
        if self._hooks:
            return self._drafted(related, count)
        if related is not None:
            return repeat(self._common(related))
        # A writer serves calls of many requests and runs, of the same one mostly many.
        reason = correlation()
        if self._known is None or self._known[0] != reason:
            self._known = reason, self._common(self._related)
        return repeat(self._known[1])

    def _common(self, related: Related) -> bytes:
        return _encoded(self._name, self._said(related), dict(self._call.metadata or {}), {})

    def _drafted(self, related: Related | None, count: int) -> Iterator[bytes]:
        said = self._said(related or self._related)
        name, queue, shared = self._name, self.place.queue, dict[str, Any]()
        while True:
            draft = Draft(name, queue, _copied(name, self._call.metadata), count=count, shared=shared)
            for hook in self._hooks:
                hook(draft)
            yield _encoded(name, said, draft.metadata, draft.trace)

    def _said(self, related: Related) -> Headers:
        call, (delay, eta) = self._call, self._shared[3:5]
        return Headers(
            retry=_plain_retry(call.retry),
            timeout=call.timeout,
            soft_timeout=call.soft_timeout,
            # Where the record has the retention of its result too, it is not said twice.
            retention=call.retention if self._limits.has_detached_results else None,
            version=self._task.declared.version,
            encrypted=self._crypto is not None,
            flow=related.flow or related.about,
            node=related.node,
            parents=None if related.names is None else list(related.names),
            inputs=list(related.inputs),
            place=related.place,
            delay=delay if related.node else None,
            eta=eta if related.node else None,
            correlation=correlation(),
        )


def _debounce(task: Task[..., Any], call: CallOptions) -> Debounce | None:
    """How the call is put off, where that is not for its own unique key to say."""
    unique = task.terms.unique
    return unique if isinstance(unique, Debounce) and call.unique_key is None else None


def _shared(task: Task[..., Any], call: CallOptions, place: Place, debounce: Debounce | None) -> Shared:
    """The fields that all messages of a call share."""
    declared = task.declared
    delay = as_seconds(call.delay)
    if delay is None and call.eta is None and debounce is not None:
        delay = debounce.delay
    priority: Priority = as_priority(declared.priority if call.priority is None else call.priority)
    return (
        place.queue,
        priority,
        call.tenant,  # tenants have lanes of their own
        delay,
        None if call.eta is None else call.eta.timestamp(),
        expires_in(call.expires) or declared.expires,
        declared.max_lost_leases,
        declared.dead_letter,
        declared.retention if call.retention is None else call.retention,
        call.tenant,
    )


def _plain_retry(policy: BuiltinRetry | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A retry policy as it travels: one that was given as plain data is completed."""
    if policy is None:
        return None
    return to_dict(policy if isinstance(policy, BuiltinRetry) else from_dict(policy))


def _encoded(name: str, said: Headers, metadata: dict[str, Any], trace: dict[str, str]) -> bytes:
    try:
        return encode_headers(replace(said, metadata=metadata, trace=trace))
    except (TypeError, ValueError, RecursionError) as error:
        raise _unwritable(name, error) from None


def _copied(name: str, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The metadata for one draft to change: neither the caller's own nor that of the next task."""
    try:
        return deepcopy(dict(metadata or {}))
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
        raise _unwritable(name, error) from None


def _unwritable(name: str, error: Exception) -> InvalidPayload:
    return InvalidPayload(f"{name}: the metadata cannot be written as JSON: {error}")
