"""One way to read JSON, and one to tell what libraries say of files."""

import json

import pytest
from latent_map.files import json_files
from latent_map.files.reading import FileError, reading

from .told import told


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a": ' * 50_000, b"\xff\xfe", b"9" * 9_000, b"{" + b" " * 9_000_000],
)
def test_no_json_takes_long(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    told(lambda: json_files.read_json(tmp_path / "a.json", "table"), "a.json is damaged", "fetch")


def test_true_is_no_number_and_nothing_is_missing_unsaid(tmp_path):
    rules = {"n": json_files.whole(0, 5), "x": json_files.number(0, 1)}

    def read():
        return json_files.read_json(tmp_path / "a.json", "table", rules, ("n", "x"))

    for value in ({"n": True}, {"x": False}, {"n": 1.0}, {"x": float("nan")}, {}):
        (tmp_path / "a.json").write_text(json.dumps(value))
        told(
            lambda: json_files.read_json(tmp_path / "a.json", "table", rules, ("n", "x")), "a.json"
        )
    (tmp_path / "a.json").write_text('{"n": 5, "x": 1, "more": [null]}')
    assert json_files.read_json(tmp_path / "a.json", "table", rules, ("n", "x"))["n"] == 5


class PanicError(BaseException):
    """As compiled libraries raise it: no Exception."""


@pytest.mark.parametrize(
    "error",
    [PanicError("at line 3"), TypeError(), KeyError("x"), RecursionError(), OSError(5, "I/O")],
)
def test_whatever_a_library_raises_is_one_line(error):
    with (
        pytest.raises(FileError, match=r"/a/b is damaged or no list \(.+\): make it"),
        reading("/a/b", "list", "make it"),
    ):
        raise error


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), MemoryError(), FileError("it"), SystemExit()]
)
def test_what_is_not_the_files_fault_goes_through(error):
    with pytest.raises(type(error)) as caught, reading("/a/b", "list"):
        raise error
    assert caught.value is error
