"""Types that the tests annotate parameters with."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pydantic
import pydantic.dataclasses

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: int
    at: datetime | None = None


@dataclass
class Track:
    points: list[Point]
    tags: dict[int, str]


@dataclass
class Measure:
    value: float | None
    note: Any = None


class Address(TypedDict):
    street: str
    number: int


class Pair(NamedTuple):
    key: str
    value: int = 0


class Record(msgspec.Struct):
    name: str
    weight: float | None = None


class Model(pydantic.BaseModel):
    a: int
    note: Any = None


class Aliased(pydantic.BaseModel):
    own: int = pydantic.Field(alias="other")
    read: int = pydantic.Field(0, validation_alias="readAs")
    written: int = pydantic.Field(0, serialization_alias="writtenAs")


class Computed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    side: int

    @pydantic.computed_field
    def area(self) -> int:
        return self.side**2


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


@dataclass
class WithModel:
    model: Model
    path: Path


@dataclass
class WithRule:
    age: Annotated[int, pydantic.Field(ge=0)]


@pydantic.dataclasses.dataclass
class Checked:
    age: Annotated[int, pydantic.Field(ge=0)]


Positive = Annotated[int, pydantic.Field(gt=0)]
