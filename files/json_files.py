"""JSON files of others: one way to read them, and rules for what is in them."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .reading import FETCH_AGAIN, FileError, reading, said

MOST_BYTES = 8_000_000  # of a file; the largest, a vocabulary, has 1
OF_A_STUDY = 400_000_000  # of a file that grows with the pictures and people of a study
SANE = 1e9  # no number of a configuration is larger
LONGEST = 4096  # entries of a list for which there is no rule


class Rule(NamedTuple):
    """What a value may be.

    Attributes:
        words: that, for the error, as "a whole number from 1 to 8".
        holds: whether a value is.
    """

    words: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int) -> Rule:
    """A whole number; true and false are none."""
    return Rule(f"a whole number from {least} to {most}", lambda v: _whole(v, least, most))


def number(least: float, most: float) -> Rule:
    """A finite number."""
    return Rule(f"a number from {least:g} to {most:g}", lambda v: _number(v, least, most))


def nonzero(rule: Rule) -> Rule:
    """The same, but not 0."""
    return Rule(f"{rule.words}, not 0", lambda v: rule.holds(v) and v != 0)


def text(*choices: str) -> Rule:
    """A string, or one of some."""
    if not choices:
        return Rule("a text", lambda v: isinstance(v, str))
    return Rule(" or ".join(choices), lambda v: isinstance(v, str) and v in choices)


def optional(rule: Rule) -> Rule:
    """The same or null."""
    return Rule(f"{rule.words}, or null", lambda v: v is None or rule.holds(v))


def either(*rules: Rule) -> Rule:
    """One of several."""
    words = ", or ".join(rule.words for rule in rules)
    return Rule(words, lambda v: any(rule.holds(v) for rule in rules))


def sequence(rule: Rule, least: int, most: int) -> Rule:
    """A list of `least` to `most` entries."""

    def holds(value: Any) -> bool:
        return (
            isinstance(value, list) and least <= len(value) <= most and all(map(rule.holds, value))
        )

    return Rule(f"a list of {least} to {most} entries, each {rule.words}", holds)


def table(rule: Rule) -> Rule:
    """An object of any names."""

    def holds(value: Any) -> bool:
        return isinstance(value, dict) and all(map(rule.holds, value.values()))

    return Rule(f"an object whose values are each {rule.words}", holds)


NAME = Rule("a text that is not empty", lambda v: isinstance(v, str) and bool(v.strip()))
TABLE = Rule("an object", lambda v: isinstance(v, dict))
FLAG = Rule("true or false", lambda v: isinstance(v, bool))


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: Any, least: float, most: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return least <= value <= most and math.isfinite(value)


def read_json(
    path: Path,
    what: str,
    rules: Mapping[str, Rule] | None = None,
    needed: tuple[str, ...] = (),
    remedy: str = FETCH_AGAIN,
) -> dict[str, Any]:
    """A JSON object, checked.

    Args:
        path: the file.
        what: what it should be, for the error.
        rules: what its values may be; those that have none are of any kind and sane size.
        needed: names that must be there.
        remedy: end of the error.
    Raises: FileError if the file is missing, too large, damaged, or breaks a rule.
    """
    content = parse_json(path, what, remedy)
    if not isinstance(content, dict):
        raise FileError(f"{path} is damaged or no {what} (it is no object): {remedy}")
    check_table(content, rules or {}, needed, f"{path} is no usable {what}", remedy)
    return content


def read_rows(
    path: Path, what: str, rules: Mapping[str, Rule], needed: tuple[str, ...], remedy: str
) -> list[dict[str, Any]]:
    """A list of JSON objects, each checked; a study's, of any length.

    Args:
        path, what, rules, needed, remedy: as in `read_json`.
    Raises: FileError as `read_json`, which names the row.
    """
    rows = parse_json(path, what, remedy, OF_A_STUDY)
    if not isinstance(rows, list):
        raise FileError(f"{path} is damaged or no {what} (it is no list): {remedy}")
    for number, row in enumerate(rows, 1):
        check_table(row, rules, needed, f"{path} is damaged, row {number} is no {what}", remedy)
    return rows


def parse_text(text: str | bytes, what: str) -> Any:
    """What JSON that is no file of its own holds, unchecked. Raises FileError if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{what} is no JSON ({said(error)})") from error


def parse_json(path: Path, what: str, remedy: str = FETCH_AGAIN, most: int = MOST_BYTES) -> Any:
    """Whatever a JSON file of at most `most` bytes holds, unchecked.

    Raises: FileError if it cannot be read.
    """
    with reading(path, what, remedy):
        size = path.stat().st_size
        if size > most:
            raise ValueError(f"it has {size} bytes, {most} are the most")
        if not path.is_file():
            raise ValueError("it is no file")
        return json.loads(path.read_text(encoding="utf-8"))


def check_table(
    content: Any,
    rules: Mapping[str, Rule],
    needed: tuple[str, ...],
    where: str,
    remedy: str,
) -> None:
    """Raise FileError, which begins with `where`, unless a table follows the rules."""
    if not isinstance(content, Mapping):
        raise FileError(f"{where} (it is no object): {remedy}")
    for name in needed:
        if name not in content:
            raise FileError(f"{where} ({name} is missing): {remedy}")
    for name, value in content.items():
        rule = rules.get(name, _ANY)
        if not rule.holds(value):
            problem = f"{name} is {_shown(value)} and should be {rule.words}"
            raise FileError(f"{where} ({problem}): {remedy}")


def _sane(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        inner = value.values() if isinstance(value, dict) else value
        return len(value) <= LONGEST and all(map(_sane, inner))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    return _number(value, -SANE, SANE)


_ANY = Rule(f"of numbers up to {SANE:g} and lists up to {LONGEST}", _sane)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
