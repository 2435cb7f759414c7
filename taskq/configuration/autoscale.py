"""The section `autoscale`: within which bounds workers are hinted at, and which queues one deployment serves."""

from __future__ import annotations

from functools import partial
from typing import Self

from pydantic import Field, field_validator, model_validator

from taskq.config import check_identifier
from taskq.configuration.section import Number, Seconds, Section, Texts, Whole, asked
from taskq.domain.autoscale import Autoscale as Told
from taskq.domain.autoscale import Group as ToldGroup
from taskq.domain.autoscale import Scaling
from taskq.errors import ConfigError
from taskq.scaling_rules import scaling_of

_USUAL = Scaling()


class Group(Section):
    """Queues that the same workers serve; what is not said of them is as of all."""

    queues: Texts = Field(min_length=1, max_length=100)
    min: Whole | None = None
    max: Whole | None = None
    target: Seconds | None = None
    busy: Number | None = None
    up_after: Seconds | None = None
    down_after: Seconds | None = None
    down_every: Seconds | None = None
    down_share: Number | None = None
    tolerance: Number | None = None

    @field_validator("queues")
    @classmethod
    def _are_names(cls, queues: list[str]) -> list[str]:
        for queue in queues:
            asked(partial(check_identifier, "queue", queue))
        return queues

    def told(self, usual: Scaling) -> ToldGroup:
        """The group, with what is usual where it says nothing.

        Raises:
            ConfigError: both do not fit together.
        """
        said = {name: getattr(self, name) for name in Scaling.__slots__}
        own = {name: value for name, value in said.items() if value is not None}
        return ToldGroup(tuple(sorted(set(self.queues))), scaling_of(usual, **own))


class Autoscale(Section):
    """How many workers there may be, and how soon that changes (docs/autoscale.md)."""

    min: Whole = _USUAL.min
    """Workers at least."""
    max: Whole = _USUAL.max
    """Workers at the most."""
    target: Seconds = _USUAL.target
    """How long a task may wait, and within which time what waits is to be gone."""
    busy: Number = _USUAL.busy
    """The share of its time that a worker should work."""
    up_after: Seconds = _USUAL.up_after
    down_after: Seconds = _USUAL.down_after
    down_every: Seconds = _USUAL.down_every
    down_share: Number = _USUAL.down_share
    tolerance: Number = _USUAL.tolerance
    groups: dict[str, Group] = Field(default_factory=dict)
    """Queues that one deployment serves, by a name."""

    @field_validator("groups", mode="before")
    @classmethod
    def _may_be_empty_too(cls, groups: object) -> object:
        """In YAML a table without any key is null."""
        return {} if groups is None else groups

    @field_validator("groups")
    @classmethod
    def _have_names(cls, groups: dict[str, Group]) -> dict[str, Group]:
        for name in groups:
            asked(partial(check_identifier, "group", name))
        return groups

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        asked(lambda: self.scaling)
        for name, group in self.groups.items():
            asked(partial(_told, name, group, self.scaling))
        return self

    @property
    def scaling(self) -> Scaling:
        """What holds where no group says otherwise."""
        return scaling_of(**{name: getattr(self, name) for name in Scaling.__slots__})

    @property
    def told(self) -> Told:
        """The same as plain data."""
        scaling = self.scaling
        return Told(scaling, {name: group.told(scaling) for name, group in self.groups.items()})


def _told(name: str, group: Group, usual: Scaling) -> None:
    try:
        group.told(usual)
    except ConfigError as error:
        raise ConfigError(f"group {name}: {error}") from None
