"""The configuration file, from bytes to plain data: YAML or TOML, small, and without anything ambiguous."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskq.errors import ConfigError

if TYPE_CHECKING:
    import yaml

NAMES = ("taskq.yaml", "taskq.yml", "taskq.toml")
"""Looked for in the current directory where no file is named."""
MOST_BYTES = 256 * 1024
MOST_VALUES = 20_000
"""Keys and values that a file may come to: one that refers to itself again and again has no end."""
DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file says."""

    data: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    """The line of each key, from 1, where the parser tells."""


def find(folder: Path) -> Path | None:
    """The configuration file of a folder; None where there is none.

    Raises:
        ConfigError: there are two, and nobody can tell which one is meant.
    """
    found = [name for name in NAMES if (folder / name).exists()]
    if len(found) > 1:
        raise ConfigError(f"{' and '.join(found)} are both here: keep one, or name one with --config")
    return folder / found[0] if found else None


def read(path: Path, name: str = "") -> Parsed:
    """Read a file.

    Arguments:
        path: where it is.
        name: as people know it; "": by its path.

    Raises:
        ConfigError: it cannot be read, or is neither YAML nor TOML; the message says where, and shows nothing of it.
    """
    name = name or str(path)
    text = _text(path, name)
    return _toml(name, text) if path.suffix == ".toml" else _yaml(name, text)


def _text(path: Path, name: str) -> str:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{name} is a directory: give a file, such as {name}/{NAMES[0]}")
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{name} is no ordinary file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the configuration file {name} cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{name} is larger than {MOST_BYTES // 1024} KiB: that is no configuration of taskq")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: the file is not written in UTF-8") from None


def _toml(name: str, text: str) -> Parsed:
    import tomllib

    try:
        return Parsed(tomllib.loads(text))
    except ValueError as error:  # also of a number with thousands of digits
        raise ConfigError(f"{name} is no TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply") from None


def _yaml(name: str, text: str) -> Parsed:
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return Parsed({})
        lines: dict[tuple[str, ...], int] = {}
        data = _Reader(name, yaml.SafeLoader("")).value(node, (), lines)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise ConfigError(f"{name}{line}: this is no YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = f"{name}:{text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(f"{line}: a character that YAML does not allow (#x{error.character:04x})") from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name} must be sections with keys, such as worker: {{concurrency: 50}}")
    return Parsed(data, lines)


class _Reader:
    """From the nodes of YAML to plain data; each key is said once, and is text.

    Arguments:
        name: of the file, for refusals.
        loader: makes values of scalars.
    """

    def __init__(self, name: str, loader: yaml.SafeLoader) -> None:
        self._name = name
        self._loader = loader
        self._count = 0

    def value(self, node: yaml.Node, key: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> Any:
        """The value of a node, and the lines of the keys below it."""
        import yaml

        self._count += 1
        if self._count > MOST_VALUES or len(key) > DEEPEST:
            raise ConfigError(f"{self._where(node)}: too much for a configuration, or too deep")
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, key, lines))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*key, str(index)), {}) for index, each in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except (ValueError, TypeError, AttributeError, KeyError):  # as of the 31st of February, or of `!!int x`
            raise ConfigError(f"{self._where(node)}: a value that cannot be read: write it in quotes") from None

    def _items(
        self, node: yaml.MappingNode, key: tuple[str, ...], lines: dict[tuple[str, ...], int]
    ) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for named, value in node.value:
            name = self.value(named, (*key, ""), {})
            if not isinstance(name, str):
                raise ConfigError(f"{self._where(named)}: a key must be text: write it in quotes")
            if name in seen:
                raise ConfigError(f"{self._where(named)}: {'.'.join((*key, name))} is said twice")
            seen.add(name)
            lines[(*key, name)] = named.start_mark.line + 1
            yield name, self.value(value, (*key, name), lines)

    def _where(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"
