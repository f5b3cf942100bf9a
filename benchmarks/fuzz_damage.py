"""Damage to files: flipped, cut and moved bytes, false numbers, and values that do not belong."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\x00", "../../../etc/passwd", "1e9", "\ud83d\ude00" * 9, "false", 1_000_000, 64),
    *([], [1], [[]], {}, {"a": 1}, [0] * 9, ["x"] * 9),
)
NUMBERS = (b"0", b"-1", b"99999999999", b"1e309", b"NaN", b"1" * 5000)


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        folder: with whole files; one of them at a time is damaged.
        files: which, below the folder.
        use: reads them as the program does.
    """

    folder: Path
    files: list[str]
    use: Callable[[], object]


def damaged(content: bytes, name: str, rng: random.Random) -> bytes:
    """A file's content, damaged in one way or several."""
    if name.endswith(".json") and rng.random() < 0.7:
        return _another_json(content, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        content = rng.choice(WAYS)(bytearray(content), rng)
    return content


def _another_json(content: bytes, rng: random.Random) -> bytes:
    value = json.loads(content)
    places = list(_places(value))
    if not places or rng.random() < 0.05:
        return json.dumps(rng.choice(NASTY)).encode()
    for _ in range(rng.choice((1, 1, 2))):
        holder, key = rng.choice(places)
        if rng.random() < 0.15 and isinstance(holder, dict):
            holder.pop(key, None)
        else:
            holder[key] = rng.choice(NASTY)
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _flip(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(min(len(content), rng.choice((1, 3, 30)))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _head_flip(content: bytearray, rng: random.Random) -> bytes:
    if content:
        content[rng.randrange(min(len(content), 400))] = rng.randrange(256)
    return bytes(content)


def _cut(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(len(content) + 1)])


def _longer(content: bytearray, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return bytes(content[:place]) + rng.randbytes(rng.choice((1, 9, 999))) + bytes(content[place:])


def _zeros(content: bytearray, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    stop = min(len(content), place + rng.choice((4, 8, 64)))
    content[place:stop] = bytes([rng.choice((0, 255))]) * (stop - place)
    return bytes(content)


def _moved(content: bytearray, rng: random.Random) -> bytes:
    first, second = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return bytes(content[second:] + content[first:second] + content[:first])


def _number(content: bytearray, rng: random.Random) -> bytes:
    digits = [place for place, byte in enumerate(content[:4000]) if 48 <= byte < 58]
    if not digits:
        return _head_flip(content, rng)
    place = rng.choice(digits)
    return bytes(content[:place]) + rng.choice(NUMBERS) + bytes(content[place + 1 :])


def _word(content: bytearray, rng: random.Random) -> bytes:
    """Four or eight bytes as a large number."""
    if len(content) > 8:
        place, width = rng.randrange(len(content) - 8), rng.choice((4, 8))
        most = rng.choice((2**31 - 1, 2**30, 2**20, 0xFFFFFFFF))
        content[place : place + width] = most.to_bytes(width, "little")
    return bytes(content)


WAYS = (_flip, _head_flip, _cut, _longer, _zeros, _moved, _number, _word)
