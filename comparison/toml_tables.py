"""Tables of a TOML file read into frozen dataclasses: their fields' types say what is allowed."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST = 2**63  # what other programs take for a whole number
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def read_table(kind: type[T], table: object, where: str) -> T:
    """An instance of a dataclass from a table.

    Args:
        kind: its fields are the keys; those without a default must be given.
        table: what the file says.
        where: of it, for errors.
    Raises: ValueError for keys it does not have, values of another type, or out of range.
    """
    given = read_fields(kind, table, where)
    needed = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]  # pyright: ignore
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"{where} lacks {', '.join(missing)}: add it")
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def read_fields(
    kind: type, table: object, where: str, without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values that a table has for a dataclass's fields, of the right types.

    Args:
        without: fields that it may not give.
    Raises: ValueError for keys that are no fields, or values of another type.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} is {_short(table)}: make it a table")
    known = [f.name for f in fields(kind) if f.name not in without]  # pyright: ignore
    if unknown := [name for name in table if name not in known]:
        raise ValueError(
            f"{where} does not know {', '.join(map(_short, unknown))}: it takes {', '.join(known)}"
        )
    hints = get_type_hints(kind)
    return {name: _value(value, hints[name], f"{where}: {name}") for name, value in table.items()}


def _value(value: Any, hint: Any, where: str) -> Any:
    """The value as its field holds it. Raises ValueError if it is of another type."""
    for kind in _alternatives(hint):
        if _is(value, kind):
            return _as(value, kind)
    allowed = " or ".join(_describe(kind) for kind in _alternatives(hint) if kind is not NoneType)
    raise ValueError(f"{where} is {_short(value)}: give {allowed}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(_is(each, get_args(kind)[0]) for each in value)
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) < LARGEST and math.isfinite(value)
    if kind is int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and abs(value) < LARGEST
    if kind is Path:
        return isinstance(value, str) and value != "" and "\0" not in value
    return get_origin(kind) is None and kind is not NoneType and isinstance(value, kind)


def _as(value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(_as(each, get_args(kind)[0]) for each in value)
    return kind(value) if kind in (float, Path) else value


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list, each {_describe(get_args(kind)[0])}"
    if kind is Path:
        return "a path"
    return WORDS.get(kind, "a table")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
