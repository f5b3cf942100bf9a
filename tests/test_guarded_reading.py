"""One way to read JSON, and one to tell what libraries say of files."""

import ast
import json
from pathlib import Path

import pytest
from latent_map.comparison import jobs, preparation, session_record, viewing
from latent_map.comparison.report.sheets import selection_words
from latent_map.comparison.session_settings import SessionSettings
from latent_map.files import json_files
from latent_map.files.reading import FileError, reading

from .told import told

PACK = Path(__file__).resolve().parents[1]
# What reads a file in a way of its own; `files/` has the one way for each.
READERS = {
    *("json.load", "json.loads", "Image.open", "torch.load", "torch.jit.load", "load_file"),
    *("safe_open", "pickle.load", "pickle.loads", "pickle.Unpickler", "read_image"),
}
# Folders that read nothing but what they themselves made a moment ago.
EXEMPT = {"files", "tests", "benchmarks", ".venv", ".git", "node_modules"}
SOURCES = [f for f in PACK.rglob("*.py") if not EXEMPT & set(f.relative_to(PACK).parts)]
CRAFTED = {
    "cut": b'{"a": ',
    "deep": b"[" * 100_000,
    "no text": b"\xff\xfe\x00",
    "a number": b"7",
    "a list of lists": b"[[], 1, null]",
    "a list of objects": b'[{"picture": 7}]',
    "wrong types": b'{"key": 5, "status": [], "settings": 7, "note": {}, "material": 1}',
    "no numbers": b'{"key": "a", "status": "done", "seconds": NaN, "run": [1]}',
}


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


def called(file):
    """What a file calls, as `module.name` or `name`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_files_are_read_in_one_way():
    assert len(SOURCES) > 200
    found = {
        f"{file.relative_to(PACK)}: {name}"
        for file in SOURCES
        for name in called(file)
        if name in READERS or name.rpartition(".")[2] == "load_file"
    }
    assert found == set()


@pytest.mark.parametrize("what", CRAFTED)
def test_damaged_files_of_a_study_are_made_again_or_named(tmp_path, what):
    file = tmp_path / "a.json"
    for name in (preparation.MANIFEST, "selection.json", session_record.FILE, "a.json"):
        (tmp_path / name).write_bytes(CRAFTED[what])
    assert preparation.read_inputs(tmp_path) == []
    assert jobs.read_record(file) == {}
    assert selection_words(tmp_path) == ""
    told(lambda: viewing.add_viewing(file, "ann", {}), "a.json", "move it away")
    told(
        lambda: session_record.open_record(tmp_path, tmp_path, SessionSettings()),
        "session.json is damaged",
        "begin another",
    )


def test_what_a_browser_sends_is_read_by_the_same_reader():
    for content in CRAFTED["cut"], CRAFTED["deep"], CRAFTED["no text"]:
        with pytest.raises(FileError, match="the body is no JSON"):
            json_files.parse_text(content, "the body")
