"""2,000 damaged files: all used, or refused in one line, soon, in little memory."""

import random

import pytest

from benchmarks.fuzz_damage import WAYS, damaged
from benchmarks.fuzz_files import SHARES, fuzz, outcome, table


def test_two_thousand_damaged_files_are_handled():
    counts = fuzz(2000, seed=0)
    assert counts.keys() == SHARES.keys()
    assert [bad for count in counts.values() for bad in count.unhandled] == []
    assert sum(count.tried for count in counts.values()) == 2000
    assert all(count.told for count in counts.values()), table(counts)


def test_the_same_seed_damages_alike():
    content = b'{"a": [1, {"b": 2.5}], "c": "text"}' * 20
    for way in WAYS:
        once, twice = (way(bytearray(content), random.Random(3)) for _ in range(2))
        assert once == twice
    assert damaged(b"[1, 2]", "a.json", random.Random(1)) == damaged(
        b"[1, 2]", "a.json", random.Random(1)
    )


class PanicError(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (KeyError("x"), "KeyError"),
        (PanicError("at"), "PanicError"),
        (ValueError("two\nlines"), "not one line"),
        (ValueError("nothing named"), "not one line"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_is_not_handled_is_counted(tmp_path, error, word):
    def use():
        raise error

    assert outcome(use, tmp_path).word.startswith(word)


def test_much_memory_and_much_time_are_counted(tmp_path):
    assert "MB" in outcome(lambda: bytearray(400_000_000), tmp_path).word
    assert outcome(lambda: None, tmp_path).word == "used"
