"""What a task asks for beside its run, and what comes of it for one call: its gates and its unique key."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import msgspec

from taskq.domain.limits import Limit, Slots
from taskq.domain.unique import UniqueKey
from taskq.errors import ConfigError, InvalidOption, InvalidPayload
from taskq.limits import Breaker, Concurrency, Debounce, KeepLatest, Key, RateLimit, Unique, Uniqueness
from taskq.options import TaskOptions
from taskq.payload import write_rich
from taskq.signature import annotations_of, missing_part, parameters_of
from taskq.versions import lift

One = TypeVar("One", RateLimit, Concurrency)
_CONTEXT = re.compile(r"\bTaskContext\b")
_EXACT = 2.0**53
"""Below it every whole number is a float of its own."""


@dataclass(frozen=True, slots=True)
class Terms:
    """All that a task asks for: what its decorator was told, checked against its signature.

    Attributes:
        task: the task's name.
        defaults: what its parameters are where a call says nothing, as plain JSON data.
        lift: makes of the arguments those that its keys speak of; None: they are.
    """

    task: str
    defaults: Mapping[str, Any]
    rates: tuple[RateLimit, ...] = ()
    slots: tuple[Concurrency, ...] = ()
    breaker: Breaker | None = None
    unique: Uniqueness | None = None
    lift: Callable[[bytes], bytes] | None = None
    has_limits: bool = field(init=False)
    """Whether its runs must pass gates."""

    def __post_init__(self) -> None:
        has = bool(self.rates or self.slots or self.breaker or isinstance(self.unique, KeepLatest))
        object.__setattr__(self, "has_limits", has)

    @property
    def are_none(self) -> bool:
        """Whether it asks for nothing."""
        return not (self.rates or self.slots or self.breaker or self.unique)

    @property
    def replaces(self) -> bool:
        """Whether a newer call replaces the arguments of the one that waits."""
        return isinstance(self.unique, Debounce | KeepLatest)

    @property
    def are_by_tenant(self) -> bool:
        """Whether nothing that it counts is counted of two tenants together."""
        counted: list[RateLimit | Concurrency] = [*self.rates, *self.slots]
        keys = [(one.key,) if isinstance(one.key, str) else one.key for one in counted]
        return self.breaker is None and all(isinstance(key, tuple) and "tenant" in key for key in keys)

    @property
    def shared_names(self) -> frozenset[str]:
        """What its limits are called that other tasks may share."""
        named = (*self.rates, *self.slots, *((self.breaker,) if self.breaker else ()))
        return frozenset(one.name for one in named if one.name is not None)

    def speak_of(self, names: Sequence[str], *, is_unique_otherwise: bool = False) -> bool:
        """Whether a key is made of one of these parameters, or may be.

        Arguments:
            is_unique_otherwise: whether the call has a unique key of its own.
        """
        counted: list[Any] = [*self.rates, *self.slots]
        keys: list[Any] = [one.key for one in counted if one.key is not None]
        if self.unique is not None and not (is_unique_otherwise and isinstance(self.unique, Unique | Debounce)):
            keys.append((self.unique.key or ()) if self.replaces else self.unique.key)
        roots = [(key,) if isinstance(key, str) else key for key in keys]
        return bool(names) and any(
            not isinstance(key, tuple) or any(name.partition(".")[0] in names for name in key) for key in roots
        )

    def limits(self, payload: bytes, tenant: str) -> tuple[Limit, ...]:
        """The gates of one task: a breaker first, then what frees itself, then what is used up."""
        values = self._values(payload, tenant) if self.has_limits else None
        if values is None:
            return ()
        found: list[Limit] = []
        if self.breaker is not None:
            found.append(self.breaker.circuit(self.breaker.name or self.task))
        found += (one.slots(key) for one, key in self._counted(self.slots, values))
        if isinstance(self.unique, KeepLatest):
            place = named_key(self.task, tenant, values.digest(self.unique.key or ()))
            found.append(Slots(f"{self.task}:latest:{place}", 1))
        found += (one.limit(key) for one, key in self._counted(self.rates, values))
        return tuple(found)

    def gates(self) -> tuple[str, ...]:
        """The gates of its runs; of a limit by keys with "*" for the key, as an override for all of them is named."""
        circuits = [] if self.breaker is None else [f"b:{self.breaker.name or self.task}"]
        named: list[tuple[str, str, Key | None]] = [("c", place, one.key) for one, place in self._placed(self.slots)]
        named += [("r", place, one.key) for one, place in self._placed(self.rates)]
        return (*circuits, *(f"{kind}:{place}{'' if key is None else ':*'}" for kind, place, key in named))

    def _counted(self, given: Sequence[One], values: _Values) -> Iterator[tuple[One, str]]:
        """Each limit with the key that it counts under."""
        for one, place in self._placed(given):
            yield one, place if one.key is None else f"{place}:{values.digest(one.key)}"

    def _placed(self, given: Sequence[One]) -> Iterator[tuple[One, str]]:
        """Each limit with the name that it counts under: two of one task never count under the same."""
        before: Counter[tuple[str, bool]] = Counter()
        for one in given:
            scope, is_keyed = one.name or self.task, one.key is not None
            before[scope, is_keyed] += 1
            which = before[scope, is_keyed]
            yield one, scope if which == 1 else f"{scope}#{which}"

    def unique_key(self, payload: bytes, tenant: str) -> UniqueKey | None:
        """The key of one task."""
        if self.unique is None or (values := self._values(payload, tenant)) is None:
            return None
        key = (self.unique.key or ()) if self.replaces else self.unique.key
        return self.unique.unique_key(named_key(self.task, tenant, values.digest(key)))

    def _values(self, payload: bytes, tenant: str) -> _Values | None:
        """What keys speak of; None where the arguments cannot be lifted, of which the worker says what is wrong."""
        try:
            return _Values(payload if self.lift is None else self.lift(payload), tenant, self.defaults)
        except InvalidPayload:
            return None


def terms_of(name: str, function: Callable[..., Any], options: TaskOptions) -> Terms:
    """What a task asks for.

    Raises:
        InvalidOption: a key names no parameter of the function.
        ConfigError: the function has no signature.
    """
    rates, slots = options.rate_limits, options.concurrencies
    if not (rates or slots or options.breaker or options.unique):
        return Terms(name, {})
    defaults = _plain({p.name: p.default for p in _arguments_of(function, name).values() if p.default is not p.empty})
    terms = Terms(name, defaults, rates, slots, options.breaker, options.unique)
    check_keys(function, terms)
    return terms


def terms_of_version(terms: Terms, version: int, newest: TaskOptions) -> Terms:
    """What a task asks for where its arguments are of another version.

    Its keys speak of what they are lifted to. What newer arguments would be nobody here knows: for them it asks for
    nothing, and a worker that knows them gives them their limits.

    Arguments:
        terms: of the version that is known here.
        version: of the arguments.
        newest: what that task declares.
    """
    if version > newest.version:
        return Terms(terms.task, {})
    lifting = partial(lift, terms.task, version=version, newest=newest.version, upcasts=newest.upcast)
    return replace(terms, lift=lifting)


def named_key(task: str, tenant: str, text: str) -> str:
    """What a unique key is in the store: nobody can read off it what the values were.

    >>> named_key("mail.send", "", "o-17") == named_key("mail.send", "acme", "o-17")
    False
    """
    return _hash("\0".join((task, tenant, text)).encode("utf-8", "surrogatepass"))


def check_keys(function: Callable[..., Any], given: Terms) -> None:
    """Refuse keys that name no parameter of the function, or a part that none of its values has.

    Raises:
        InvalidOption: names it.
    """
    parameters = _arguments_of(function, given.task)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for one in (*given.rates, *given.slots, given.unique):
        key: object = getattr(one, "key", None)
        for name in (key,) if isinstance(key, str) else key if isinstance(key, tuple) else ():
            root, *path = name.split(".")
            what = f"task {given.task}: {type(one).__name__}(key={name!r})"
            if not (root in parameters or root == "tenant" or takes_any):
                raise InvalidOption(f"{what}: it has no parameter {root!r}")
            if root in parameters and (missing := missing_part(_annotation(function, root), path)) is not None:
                raise InvalidOption(f"{what}: its parameter {root!r} has no part {missing!r}")


def _annotation(function: Callable[..., Any], parameter: str) -> Any:
    """What a parameter is annotated with; Any where that is not said, or nobody can know yet."""
    try:
        return annotations_of(function, "").get(parameter, Any)
    except ConfigError:
        return Any


def _arguments_of(function: Callable[..., Any], task: str) -> dict[str, inspect.Parameter]:
    """The parameters that a call gives: not the one that the worker fills in.

    It is told by its annotation as it is written, which may name what its module has yet to define.
    """
    parameters = parameters_of(function, task)
    return {name: one for name, one in parameters.items() if not _CONTEXT.search(str(one.annotation))}


class _Values:
    """The values of one call that keys speak of."""

    def __init__(self, payload: bytes, tenant: str, defaults: Mapping[str, Any]) -> None:
        self._tenant = tenant
        self._given = {**defaults, **msgspec.json.decode(payload)}

    def digest(self, key: Key | None) -> str:
        """A hash of the tuple of values."""
        if key is None:
            value: Any = self._given
        elif isinstance(key, str | tuple):
            names = (key,) if isinstance(key, str) else key
            value = [self._value(*name.split(".")) for name in names]
        else:
            value = self._called(key)
        try:
            text = msgspec.json.encode(_alike(value), order="deterministic", enc_hook=write_rich)
        except (TypeError, ValueError, RecursionError) as error:
            # Not as text instead: what shows where it lies in memory is no two times alike.
            raise InvalidOption(f"the function of a key must return plain data: {error}") from None
        return _hash(text)

    def _called(self, key: Callable[..., Any]) -> Any:
        try:
            return key(**self._given)
        except Exception as error:
            raise InvalidOption(f"the function of a key raised {type(error).__name__}") from error

    def _value(self, name: str, *path: str) -> Any:
        value = self._given.get(name, self._tenant if name == "tenant" else None)
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value


def _plain(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults as the arguments of a call would arrive; one that could not be an argument is no value."""
    found = {}
    for name, value in defaults.items():
        with suppress(Exception):  # a value's own code may raise anything
            found[name] = msgspec.json.decode(msgspec.json.encode(value, enc_hook=write_rich))
    return found


def _alike(value: Any) -> Any:
    """The same with one way to write each number: a parameter that is a float may be given, or default to, an int.

    >>> _alike({"x": [2.0, 2.5, True]})
    {'x': [2, 2.5, True]}
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: _alike(item) for key, item in value.items()}
    return [_alike(item) for item in value] if isinstance(value, list | tuple) else value


def _hash(text: bytes) -> str:
    from hashlib import blake2b  # loads OpenSSL, which is a tenth of the time that `import taskq` takes

    return blake2b(text, digest_size=16).hexdigest()
