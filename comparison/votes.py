"""Votes: a row of a CSV each, in pwcmp's columns and some of ours; written at once, read warily."""

import csv
import io
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

COLUMNS = (
    "observer",
    "session",
    "scene",
    "condition_A",
    "condition_B",
    "is_A_selected",
    "side",
    "rt_ms",
    "trial",
    "kind",
    "time",
)
NEEDED = ("observer", "scene", "condition_A", "condition_B", "is_A_selected")
DELIMITERS = (",", ";", "\t")  # ours first; spreadsheets of some countries write the others
CHOICES = {"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}
SPOILT = "trap"  # what a trap's row calls its obviously worse picture, in place of an entrant

Side = Literal["left", "right", ""]
Kind = Literal["study", "trap", "repeat", "training"]


@dataclass(frozen=True)
class Vote:
    """One observer's choice between two pictures.

    Attributes:
        observer, session: who, and when: names, not empty (the session may be).
        scene: the picture that both entrants worked on.
        condition_a, condition_b: the two entrants; a trap's worse picture is `SPOILT`.
        is_a_selected: whether A was preferred.
        side: where A was shown; empty if not recorded.
        rt_ms: from both pictures shown to the choice, in milliseconds.
        trial: number in the observer's session, from 0.
        kind: only "study" votes are ranked; "repeat" asks a pair again, "trap" an obvious one.
        time: when, as ISO 8601.
    """

    observer: str
    session: str
    scene: str
    condition_a: str
    condition_b: str
    is_a_selected: bool
    side: Side = ""
    rt_ms: float | None = None
    trial: int | None = None
    kind: Kind = "study"
    time: str = ""

    @property
    def winner(self) -> str:
        """The preferred entrant."""
        return self.condition_a if self.is_a_selected else self.condition_b

    @property
    def loser(self) -> str:
        """The other entrant."""
        return self.condition_b if self.is_a_selected else self.condition_a


class Flaw(NamedTuple):
    """Something wrong with a row.

    Attributes:
        file, line: where, from line 1.
        text: what, in words.
        counted: whether the vote counts all the same.
    """

    file: str
    line: int
    text: str
    counted: bool


class VotesRead(NamedTuple):
    """What vote files hold: the votes in the order of the files, and what is wrong with rows."""

    votes: tuple[Vote, ...]
    flaws: tuple[Flaw, ...]


def append_vote(path: Path, vote: Vote) -> None:
    """Write one vote as one row, on the disk when this returns.

    A file that is not there is begun with a header. A row that was cut off by a crash stays, and
    the new one begins on a line of its own.

    Raises: ValueError if the file's header is not ours, or a text of the vote spans lines;
        OSError if it cannot be written: then try again, nothing written before is touched.
    """
    row = _row(_written(getattr(vote, field.name)) for field in fields(vote))
    if row.count("\n") > 1 or "\r" in row or "\0" in row:
        raise ValueError(f"a vote is one line, but a text of {vote!r} has several")
    with path.open("a+b") as file:
        file.write((_before_next_row(path, file) + row).encode())
        file.flush()
        os.fsync(file.fileno())


def _before_next_row(path: Path, file: io.BufferedRandom) -> str:
    """What must be written before a row: the header, the rest of it, or the end of a line."""
    header = _row(COLUMNS)
    file.seek(0)
    first = file.read(len(header)).decode(errors="replace")
    if len(first) < len(header) and header.startswith(first):
        return header[len(first) :]
    if first != header:
        raise ValueError(f"{path} does not begin with the line {header.strip()}: use another file")
    file.seek(-1, os.SEEK_END)
    return "" if file.read(1) == b"\n" else "\n"


def _row(values: Iterator[str] | Collection[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def find_vote_files(path: Path) -> list[Path]:
    """The vote files that a path means: itself, or all *.csv in it, sorted.

    Raises: ValueError if there are none.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        what = "holds no *.csv" if path.is_dir() else "is no file"
        raise ValueError(f"{path} {what}: give a file of votes, or a study in which was voted")
    return files


def read_votes(path: Path, entrants: Collection[str] = ()) -> VotesRead:
    """Read a file of votes, or a folder of them; rows that cannot be used are named.

    Args:
        path: a CSV with at least the columns observer, scene, condition_A, condition_B and
            is_A_selected, in any order, or a folder of such files.
        entrants: who may be voted for; empty: whoever is named.
    Raises: ValueError if there is no file, or one's first line does not name the columns.
    """
    votes: list[Vote] = []
    flaws: list[Flaw] = []
    seen: set[tuple[str, str, int | None] | None] = set()
    for file in find_vote_files(path):
        for line, vote, text in _rows(file, entrants):
            number = vote and (vote.observer, vote.session, vote.trial)
            if number in seen:
                again = "this trial has a vote already; the first one counts"
                flaws.append(Flaw(file.name, line, again, counted=False))
                continue
            if vote and vote.trial is not None:
                seen.add(number)
            if text:
                flaws.append(Flaw(file.name, line, text, counted=vote is not None))
            if vote:
                votes.append(vote)
    return VotesRead(tuple(votes), tuple(flaws))


def _rows(file: Path, entrants: Collection[str]) -> Iterator[tuple[int, Vote | None, str]]:
    """(line number, vote or None, what is wrong or "") of a file's rows that are not empty."""
    # Line by line, so that a stray quotation mark spoils its own row only.
    text = file.read_bytes().decode("utf-8-sig", errors="replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    delimiter, columns = _header(file, lines[0])
    for line, text in enumerate(lines[1:], 2):
        if text.strip():
            try:
                vote, flaw = _read(_cells(text, delimiter, columns), entrants)
                yield line, vote, flaw
            except ValueError as error:
                yield line, None, str(error)


def _header(file: Path, line: str) -> tuple[str, list[str]]:
    """The delimiter and the columns that a first line names."""
    known = {name.lower(): name for name in COLUMNS}
    for delimiter in DELIMITERS:
        cells = [cell.strip().strip('"').lower() for cell in line.split(delimiter)]
        columns = [known.get(cell, cell) for cell in cells]
        if set(NEEDED) <= set(columns):
            if doubled := {name for name in columns if name in COLUMNS and columns.count(name) > 1}:
                raise ValueError(f"{file}: the column {min(doubled)} is there twice: remove one")
            return delimiter, columns
    missing = [name for name in NEEDED if name.lower() not in line.lower()]
    raise ValueError(
        f"{file} is no file of votes: its first line must name the columns {', '.join(NEEDED)}"
        + (f"; it lacks {', '.join(missing)}" if missing and len(missing) < len(NEEDED) else "")
    )


def _cells(line: str, delimiter: str, columns: list[str]) -> dict[str, str]:
    try:
        (cells,) = csv.reader([line.replace("\0", "\ufffd")], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"not a row of a CSV ({error})") from error
    if len(cells) != len(columns):
        cut = " (cut off?)" if len(cells) < len(columns) else ""
        raise ValueError(f"{len(cells)} values for {len(columns)} columns{cut}")
    return {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}


def _read(cells: dict[str, str], entrants: Collection[str]) -> tuple[Vote, str]:
    """A vote, and what of its row could not be used.

    Raises: ValueError if the row is no vote.
    """
    if empty := [name for name in NEEDED if not cells[name]]:
        raise ValueError(f"{' and '.join(empty)} empty")
    chosen = CHOICES.get(cells["is_A_selected"].lower())
    if chosen is None:
        raise ValueError(f"is_A_selected is {cells['is_A_selected']!r}, not 1 or 0")
    kind = cells.get("kind") or "study"
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}, not one of {', '.join(get_args(Kind))}")
    pair = cells["condition_A"], cells["condition_B"]
    _check_pair(pair, kind, entrants)
    flaws: list[str] = []
    side = _optional(cells, "side", _side, flaws)
    rt_ms = _optional(cells, "rt_ms", _duration, flaws)
    trial = _optional(cells, "trial", int, flaws)
    who = cells["observer"], cells.get("session", "")
    seen = side or "", rt_ms, trial, kind, cells.get("time", "")
    vote = Vote(*who, cells["scene"], *pair, chosen, *seen)  # pyright: ignore[reportArgumentType]
    return vote, "; ".join(flaws)


def _check_pair(pair: tuple[str, str], kind: str, entrants: Collection[str]) -> None:
    if pair[0] == pair[1]:
        raise ValueError(f"{pair[0]!r} against itself")
    if (SPOILT in pair) != (kind == "trap"):
        raise ValueError(
            f"a row of kind {kind} with {' and '.join(pair)}: a trap has one {SPOILT!r}"
        )
    if unknown := [name for name in pair if entrants and name not in (*entrants, SPOILT)]:
        raise ValueError(f"{unknown[0]!r} is no entrant of the study")


def _optional(
    cells: dict[str, str], name: str, read: Callable[[str], Any], flaws: list[str]
) -> Any:
    """What an optional cell says; None, and a flaw, if that is not possible."""
    text = cells.get(name, "")
    try:
        return read(text) if text else None
    except ValueError:
        flaws.append(f"{name} {text!r} left out")
        return None


def _side(text: str) -> str:
    if text not in get_args(Side):
        raise ValueError(text)
    return text


def _duration(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value
