"""Files that cannot be read, each refused in a line that says where; none of them shows what stands in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskq.configuration.files import MOST_BYTES, read
from taskq.errors import ConfigError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 10)}]\n" for before, one in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("x.yaml", "worker: {}\nworker: {}\n", "x.yaml:2: worker is said twice"),
        ("x.yaml", "a:\n  b: {c: 1, c: 2}\n", "x.yaml:2: a.b.c is said twice"),
        (
            "x.yaml",
            "worker:\n\tlease: 1\n",
            "x.yaml:2: this is no YAML: found character '\\t' that cannot start any token",
        ),
        ("x.yaml", "a: [}\n", "x.yaml:1: this is no YAML: expected the node content, but found '}'"),
        ("x.yaml", "a: 1\n---\nb: 1\n", "x.yaml:2: this is no YAML: but found another document"),
        ("x.yaml", "a: *b\n", "x.yaml:1: this is no YAML: found undefined alias 'b'"),
        ("x.yaml", BOMB, "x.yaml:1: too much for a configuration, or too deep"),
        ("x.yaml", "a: &a\n  b: *a\n", "x.yaml:2: too much for a configuration, or too deep"),
        ("x.yaml", "a: " + "[" * 10_000, "x.yaml is nested too deeply"),
        (
            "x.yaml",
            "a: !!python/object/apply:os.system [ls]\nb: !!python/name:os.system\n",
            "x.yaml:2: this is no YAML: "
            "could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("x.yaml", "on: 1\n", "x.yaml:1: a key must be text: write it in quotes"),
        ("x.yaml", "? [a]\n: 1\n", "x.yaml:1: a key must be text: write it in quotes"),
        ("x.yaml", "a: 2030-02-31\n", "x.yaml:1: a value that cannot be read: write it in quotes"),
        ("x.yaml", "a: !!timestamp x\n", "x.yaml:1: a value that cannot be read: write it in quotes"),
        ("x.yaml", "- a\n", "x.yaml must be sections with keys, such as worker: {concurrency: 50}"),
        ("x.yaml", "hunter2\n", "x.yaml must be sections with keys, such as worker: {concurrency: 50}"),
        ("x.yaml", "a: 1\n\x00", "x.yaml:2: a character that YAML does not allow (#x0000)"),
        (
            "x.toml",
            "[worker]\nlease = 1\nlease = 2\n",
            "x.toml is no TOML: Cannot overwrite a value (at line 3, column 10)",
        ),
        ("x.toml", "lease 1", "x.toml is no TOML: Expected '=' after a key in a key/value pair (at line 1, column 7)"),
        (
            "x.toml",
            "a = " + "9" * 5_000,
            "x.toml is no TOML: Exceeds the limit (4300 digits) for integer string conversion",
        ),
        ("x.toml", "a = " + "[" * 10_000, "x.toml is nested too deeply"),
    ],
)
def test_what_is_neither_yaml_nor_toml(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path / name, name)
    assert str(refusal.value).partition(": value has 5000")[0] == complaint


def test_what_is_no_text_in_utf_8(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("worker:\n  name: Zürich\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^x.yaml:2: the file is not written in UTF-8$"):
        read(tmp_path / "x.yaml", "x.yaml")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "shut.yaml").symlink_to(tmp_path / "nothing")
    for path, complaint in (
        (tmp_path, f"{tmp_path} is a directory: give a file, such as {tmp_path}/taskq.yaml"),
        (tmp_path / "fifo.yaml", f"{tmp_path}/fifo.yaml is no ordinary file"),
        (
            tmp_path / "shut.yaml",
            f"the configuration file {tmp_path}/shut.yaml cannot be read: No such file or directory",
        ),
        (tmp_path / "shut.yaml" / "x", f"the configuration file {tmp_path}/shut.yaml/x cannot be read: No such file"),
    ):
        with pytest.raises(ConfigError) as refusal:
            read(path)
        assert str(refusal.value).startswith(complaint)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "x.yaml").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(ConfigError, match=r"x.yaml is larger than 256 KiB: that is no configuration of taskq$"):
        read(tmp_path / "x.yaml")
    (tmp_path / "y.yaml").write_text("#" * (MOST_BYTES - 1) + "\n")
    assert read(tmp_path / "y.yaml").data == {}


def test_where_each_key_stands(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("# a comment\na:\n  b: {c: 1,\n      d: [1, {e: 2}]}\n")
    found = read(tmp_path / "x.yaml")
    assert found.data == {"a": {"b": {"c": 1, "d": [1, {"e": 2}]}}}
    assert found.lines == {("a",): 2, ("a", "b"): 3, ("a", "b", "c"): 3, ("a", "b", "d"): 4}
