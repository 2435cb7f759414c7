"""Which keys there are, read off the models: for variables, for what was mistyped, and to show all of them."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

Model = type[BaseModel]


def keys(model: Model) -> Mapping[str, Any]:
    """The keys of a section, as they are written, with the annotation of each."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def section_in(annotation: Any) -> Model | None:
    """The section that an annotation allows, None where it allows none."""
    found = [arm for arm in _arms(annotation) if isinstance(arm, type) and issubclass(arm, BaseModel)]
    return found[0] if found else None


def table_in(annotation: Any) -> Any:
    """The annotation of the values of a table, None where it is no table."""
    found = [get_args(arm)[1] for arm in _arms(annotation) if get_origin(arm) is dict]
    return found[0] if found else None


def is_secret(annotation: Any) -> bool:
    """Whether nobody may see what stands there."""
    return any(
        arm is SecretStr or (get_origin(arm) is not None and any(is_secret(inner) for inner in get_args(arm)))
        for arm in _arms(annotation)
    )


def below(annotation: Any, key: str) -> Any:
    """The annotation of what a key of a section or table holds, None where there is no such key."""
    section = section_in(annotation)
    return table_in(annotation) if section is None else keys(section).get(key)


def known_part(model: Model, path: Sequence[object]) -> tuple[tuple[str, ...], Any]:
    """The part of a path that leads through sections and tables, and the annotation at its end."""
    annotation, known = model, tuple[str, ...]()
    for key in path:
        found = below(annotation, str(key))
        if found is None:
            break
        annotation, known = found, (*known, str(key))
    return known, annotation


def all_keys(model: Model, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all keys, with <name> for those of tables."""
    found = []
    for key, annotation in keys(model).items():
        section, table = section_in(annotation), table_in(annotation)
        inner = None if table is None else section_in(table)
        found.append((*path, key))
        if section is not None:
            found += all_keys(section, (*path, key))
        elif inner is not None:
            found += all_keys(inner, (*path, key, "<name>"))
    return found


def _arms(annotation: Any) -> list[Any]:
    """What may stand there: the arms of a union, without what is noted of them."""
    if get_origin(annotation) is Annotated:
        return _arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for arm in get_args(annotation) for inner in _arms(arm)]
    return [annotation]
