"""Whether the server keeps what it has acknowledged, by its settings."""

from __future__ import annotations

from collections.abc import Mapping

from taskq.errors import ConfigError, UnsafeStore

LEVELS = ("process", "disk", "replica")


def look(settings: Mapping[str, str], durability: str) -> list[str]:
    """What a crash may cost, a sentence each.

    Arguments:
        settings: fsync, full_page_writes, synchronous_commit and synchronous_standby_names, as the server has them.
        durability: what an acknowledged task must survive: the server's process, its machine, or its disk.

    Raises:
        UnsafeStore: the settings do not give that.
        ConfigError: there is no such durability.

    >>> safe = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": ""}
    >>> look(safe, "disk")
    []
    """
    if durability not in LEVELS:
        raise ConfigError(f"durability={durability!r}: write one of {', '.join(LEVELS)}")
    if settings["synchronous_commit"] == "off":
        raise UnsafeStore("synchronous_commit is off: a crash loses the tasks acknowledged last; set it to on")
    warnings = [
        f"{name} is off: a crash of the machine may lose or damage tasks"
        for name in ("fsync", "full_page_writes")
        if settings[name] == "off"
    ]
    if warnings and durability != "process":
        raise UnsafeStore(warnings[0])
    if durability == "replica" and not (
        settings["synchronous_standby_names"] and settings["synchronous_commit"] in ("on", "remote_apply")
    ):
        raise UnsafeStore(
            "durability=replica needs synchronous_standby_names, and synchronous_commit on or remote_apply"
        )
    return warnings
