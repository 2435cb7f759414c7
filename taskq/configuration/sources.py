"""Where the configuration is said: arguments before variables, variables before the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskq.configuration import files
from taskq.variables import PRIVATE

if TYPE_CHECKING:
    from taskq.configuration.shape import Model

PREFIX = "TASKQ_"
FILE_VARIABLE = "TASKQ_CONFIG"
READ_ALREADY = ("TASKQ_BACKEND", "TASKQ_APP")
"""Variables that are read where there is no configuration too."""
_READ_ALREADY_BELOW = ("TASKQ_CRYPTO__", "TASKQ_WEBHOOKS__")
OF_OTHER_USE = ("TASKQ_DEBUG", FILE_VARIABLE, *PRIVATE)
_OF_TESTS = "TASKQ_TEST_"

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said a value."""

    kind: str
    """argument, environment, file or default."""
    where: str = ""
    """The name of the option or of the variable, or the file and, where its parser tells it, the line."""

    def __str__(self) -> str:
        return self.where or self.kind


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Source:
    """What one of them says, and where each of its values stands."""

    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    origins: Mapping[Key, Origin] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def has_any(environment: Mapping[str, str], folder: Path) -> bool:
    """Whether anything is said that is not read without a configuration too: most processes are told nothing."""
    if any((folder / name).exists() for name in files.NAMES):
        return True
    return any(
        value and name.startswith(PREFIX) and not _is_read_already(name)
        for name, value in environment.items()
        if name not in OF_OTHER_USE or name == FILE_VARIABLE
    )


def _is_read_already(name: str) -> bool:
    return name in READ_ALREADY or name.startswith((*_READ_ALREADY_BELOW, _OF_TESTS))


def file_path(given: Path | str | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    """Which file is read: the one that was given, else the one of TASKQ_CONFIG, else the one of the folder.

    Raises:
        ConfigError: the folder has two.
    """
    named = given or environment.get(FILE_VARIABLE)
    return files.find(folder) if not named else folder / named


def of_file(path: Path | None, shown_as: str = "") -> Source:
    """What a file says.

    Arguments:
        path: None: there is none.
        shown_as: its name as people know it.

    Raises:
        ConfigError: it cannot be read.
    """
    if path is None:
        return Source()
    name = shown_as or str(path)
    parsed = files.read(path, name)
    data = _with_url(parsed.data)
    origins = {}
    for key in _leaves(data):
        line = next((parsed.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in parsed.lines), None)
        origins[key] = Origin("file", name if line is None else f"{name}:{line}")
    return Source(data, origins)


def of_arguments(given: Mapping[Key, tuple[str, Any]]) -> Source:
    """What arguments say.

    Arguments:
        given: by key, the name of the option and its value.
    """
    data: dict[str, Any] = {}
    for key, (_, value) in given.items():
        _put(data, key, value)
    return Source(data, {key: Origin("argument", option) for key, (option, _) in given.items()})


def of_environment(environment: Mapping[str, str], model: Model) -> Source:
    """What variables say; one that belongs to no section is warned of: it may be another program's."""
    data: dict[str, Any] = {}
    origins: dict[Key, Origin] = {}
    warnings = []
    for name, value in sorted(environment.items(), key=lambda item: (item[0].count("__"), item[0])):
        if not name.startswith(PREFIX) or not value or name in OF_OTHER_USE or name.startswith(_OF_TESTS):
            continue
        key = _key_of(name, model)
        if key is None:
            warnings.append(_unknown(name, model))
            continue
        found = _value(value)
        if key == ("backend",) and isinstance(found, str):
            key = ("backend", "url")
        _put(data, key, found)
        for leaf in _leaves(found) if isinstance(found, Mapping) else [()]:
            origins[(*key, *leaf)] = Origin("environment", name)
    return Source(data, origins, warnings)


class Origins:
    """Who said what holds.

    Arguments:
        sources: the one that goes before first.
    """

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self._own: dict[Key, Origin] = {}
        self._first: dict[Key, Origin] = {}
        """Of each section or table that something is said of, who said the first part of it."""
        for source in reversed(sources):
            before = set(self._first)
            for key, origin in source.origins.items():
                self._take(key, origin, is_whole=key in before)

    def of(self, key: Key) -> Origin:
        """Who said a value: for itself, as a part of something, or at least a part of it."""
        wholes = (self._own[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self._own)
        return next(wholes, None) or self._first.get(key, DEFAULT)

    def _take(self, key: Key, origin: Origin, *, is_whole: bool) -> None:
        """Note who said a value, in place of those that it hides: what it is a part of, and its own parts."""
        for end in range(1, len(key)):
            self._own.pop(key[:end], None)
            self._first.setdefault(key[:end], origin)
        if is_whole:
            for part in [known for known in self._own if known[: len(key)] == key]:
                del self._own[part]
        self._own[key] = origin


def _with_url(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A backend may be given by its URL alone."""
    url = data.get("backend")
    return {**data, "backend": {"url": url}} if isinstance(url, str) else data


def _value(text: str) -> Any:
    """The value of a variable; a section or list may be given in JSON."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _key_of(name: str, model: Model) -> Key | None:
    """The key that a variable is for; None where it is for no section."""
    from taskq.configuration import shape

    first, *rest = name.removeprefix(PREFIX).split("__")
    if first.lower() not in shape.keys(model):
        return None
    key: Key = (first.lower(),)
    annotation = shape.keys(model)[first.lower()]
    for part in rest:
        # The names of tables are their owner's: queues, the ids of keys.
        is_ours = shape.table_in(annotation) is None
        part = part.lower() if is_ours else part
        key, annotation = (*key, part), shape.below(annotation, part)
    return key


def _unknown(name: str, model: Model) -> str:
    import difflib

    from taskq.configuration import shape

    first, mark, rest = name.removeprefix(PREFIX).partition("__")
    near = difflib.get_close_matches(first.lower(), list(shape.keys(model)), 1)
    hint = f", did you mean {PREFIX}{near[0].upper()}{mark}{rest}?" if near else ""
    return f"the variable {name} is not one of taskq's{hint or ': it is ignored'}"


def _put(data: dict[str, Any], key: Key, value: Any) -> None:
    for part in key[:-1]:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    data[key[-1]] = value


def _leaves(data: Any, key: Key = ()) -> Iterator[Key]:
    if isinstance(data, Mapping) and data:
        for name, value in data.items():
            yield from _leaves(value, (*key, str(name)))
    elif key:
        yield key
