"""Arguments declared as the fields of a frozen dataclass, and read into an instance of it.

A field's type says how it is read: a Literal is a choice, a bool a switch, a tuple takes several
words, and a dataclass brings its own fields. Any field with a "help" in its metadata is an
argument, unless it is "internal".
"""

import argparse
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def argument(help: str, default: Any = MISSING) -> Any:
    """A field that is given by its position; with a default it may be left out."""
    return field(default=default, metadata={"help": help, "positional": True})


def option(help: str, *flags: str, default: Any = MISSING, one_of: str = "", **reading: Any) -> Any:
    """A field that is given by its name.

    Args:
        help: for --help.
        flags: how it is written; default --NAME.
        default: without one the option is required.
        one_of: a name shared by options of which exactly one must be given.
        reading: of `argparse.ArgumentParser.add_argument`, before what the type says.
    """
    more = {"flags": flags, "one_of": one_of, "reading": reading}
    return field(default=default, metadata={"help": help, **more})


def options_of(kinds: Callable[[], Iterable[type]]) -> Any:
    """A field for the options of several dataclasses: a dictionary of those that were given."""
    return field(metadata={"kinds": kinds})


def add_arguments(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add a dataclass's arguments to a parser."""
    groups: dict[str, Any] = {}
    for each in _arguments(kind):
        group = each.metadata.get("one_of")
        if group and group not in groups:
            groups[group] = parser.add_mutually_exclusive_group(required=True)
        target = groups[group] if group else parser
        target.add_argument(*_flags(each), **_words(each))


def read_arguments(kind: type[T], given: argparse.Namespace) -> T:
    """An instance of the dataclass with what was given."""
    return kind(**{name: _value(name, hint, meta, given) for name, hint, _, meta in _fields(kind)})


class _Argument(NamedTuple):
    name: str
    hint: Any
    default: Any
    metadata: Mapping[str, Any]


def _fields(kind: type) -> Iterator[_Argument]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        yield _Argument(each.name, hints[each.name], each.default, each.metadata)


def _arguments(kind: type) -> Iterator[_Argument]:
    """All arguments that a dataclass brings."""
    for each in _fields(kind):
        if "kinds" in each.metadata:
            yield from _united(each.metadata)
        elif is_dataclass(each.hint):
            yield from _arguments(each.hint)  # pyright: ignore[reportArgumentType]
        elif "help" in each.metadata and not each.metadata.get("internal"):
            yield each


def _united(metadata: Mapping[str, Any]) -> Iterable[_Argument]:
    """Arguments of several dataclasses, each name once; None where not given."""
    united: dict[str, _Argument] = {}
    for kind in metadata["kinds"]():
        for each in _arguments(kind):
            united.setdefault(each.name, each._replace(default=None))
    return united.values()


def _value(name: str, hint: Any, metadata: Mapping[str, Any], given: argparse.Namespace) -> Any:
    if "kinds" in metadata:
        values = {each.name: getattr(given, each.name) for each in _united(metadata)}
        return {key: value for key, value in values.items() if value is not None}
    if is_dataclass(hint):
        return read_arguments(hint, given)  # pyright: ignore[reportArgumentType]
    value = getattr(given, name)
    return tuple(value) if isinstance(value, list) else value


def _flags(each: _Argument) -> tuple[str, ...]:
    if each.metadata.get("positional"):
        return (each.name,)
    return each.metadata.get("flags") or (f"--{each.name.replace('_', '-')}",)


def _words(each: _Argument) -> dict[str, Any]:
    """How argparse is told of an argument."""
    reading = each.metadata.get("reading", {})
    words = {**({} if "type" in reading else _reading(each.hint)), **reading}
    words["help"] = _help(each)
    if each.metadata.get("kind") == "path":
        words |= {"metavar": "PATH", "type": lambda text: str(named_path(text))}
    optional = each.default is not MISSING
    if optional:
        words["default"] = each.default
    if each.metadata.get("positional"):
        return words | ({"nargs": "?"} if optional else {})
    return words | {"dest": each.name} | ({} if optional else {"required": True})


def _help(each: _Argument) -> str:
    """What --help says of an argument, with its default unless that is nothing or said already."""
    text = each.metadata["help"]
    nothing = each.default in (MISSING, None, "", ()) or each.default is False  # 0 is something
    if nothing or "default" in text:
        return text
    return f"{text} (default: {each.default})"


def _reading(hint: Any) -> dict[str, Any]:
    """How argparse reads a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (hint,) = (kind for kind in inner if kind is not NoneType)
        return _reading(hint)
    if origin is Literal:
        return {"choices": inner}
    if origin is tuple:
        return {**_reading(inner[0]), "nargs": "+" if Ellipsis in inner else len(inner)}
    if hint is Path:
        return {"type": named_path}
    return {"action": "store_true"} if hint is bool else {"type": hint}


def named_path(text: str) -> Path:
    """A path as an argument gives it: an empty one, which would be the folder one is in, is none.

    Raises: argparse.ArgumentTypeError for an empty one, or one that no system can hold.
    """
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path: give a file or folder")
    try:
        Path(text).stat()
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise argparse.ArgumentTypeError(f"{text[:60]}: {error.strerror}") from None
    return Path(text)
