"""Whether a process lives, and whether it is ready for work: what probes ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe is told.

    >>> Health(True, False, {"store": "does not answer"}).is_ready
    False
    """

    is_live: bool
    """Whether it would be in vain to wait longer for it: False is a reason to kill it."""
    is_ready: bool
    """Whether it does what it is there for."""
    checks: Mapping[str, str] = field(default_factory=dict)
    """What was found, by what was looked at."""


STARTING = Health(True, False, {"worker": "starts"})
"""Of a process that has said nothing yet."""


def of_several(children: Sequence[Health]) -> Health:
    """Of processes that stand for each other: one that is left is enough.

    >>> of_several([Health(True, True), Health(False, False)]).is_ready
    True
    """
    checks = {
        f"{number}.{what}": found for number, each in enumerate(children) for what, found in sorted(each.checks.items())
    }
    live = not children or any(each.is_live for each in children)
    return Health(live, any(each.is_ready for each in children), checks)
