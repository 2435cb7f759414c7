"""What the sections of the configuration are made of: strict tables, and values that their owners check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from taskq.configuration.values import parse_seconds
from taskq.errors import TaskqError


class Section(BaseModel):
    """A table of the configuration: no key beside its own, and nothing in it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _may_be_empty(cls, said: Any) -> Any:
        """In YAML a section without any key is null."""
        return {} if said is None else said


def refused(rule: str) -> PydanticCustomError:
    """The refusal of a value, with a rule in our own words."""
    return PydanticCustomError("taskq", "{rule}", {"rule": rule})


def asked(check: Callable[[], object]) -> None:
    """Ask the owner of a value whether it can be; what the owner says against it is what is told."""
    try:
        check()
    except TaskqError as error:
        raise refused(str(error)) from None


def _no_truth(value: object) -> object:
    """True would count as 1."""
    if isinstance(value, bool):
        raise refused(f"must be a number, not {str(value).lower()}")
    return value


def _seconds(value: object) -> object:
    try:
        return parse_seconds(_no_truth(value))
    except ValueError as error:
        raise refused(str(error)) from None


def listed(value: object) -> object:
    """A variable holds a list as text with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_no_truth)]
Number = Annotated[float, BeforeValidator(_no_truth), Field(allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False)]
Duration = Annotated[Seconds, Field(gt=0, le=10 * 365 * 86_400)]
"""Over 0, and at most ten years of seconds."""
Port = Annotated[Whole, Field(ge=0, le=65_535)]
"""0: any that is free."""
Texts = Annotated[list[str], BeforeValidator(listed)]
Secrets = Annotated[list[SecretStr], BeforeValidator(listed)]


def plain(value: Any) -> Any:
    """A secret as its owner needs it; anything else as it is."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value
