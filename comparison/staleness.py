"""What was made of results that have changed since: left out or refused, and always told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.json_files import (
    OF_A_STUDY,
    TABLE,
    check_table,
    parse_json,
    read_json,
    sequence,
    table,
    text,
)
from ..files.natural_order import natural, natural_paths
from .hashing import file_hash
from .judging import SCORES, Score

SELECTION = "selection.json"  # of `study select`, written when pairs.csv is there
AGAIN = "run latent-map study run and study select again"
NAMED = 3  # results named in a sentence; the others are counted
RECORDS = {
    **dict.fromkeys(("results", "pictures"), table(table(text()))),  # hashes by entrant, picture
    "entrants": table(text()),
    "pairs_sha256": text(),
    **dict.fromkeys(("settings", "material"), TABLE),
    "pairs": sequence(TABLE, 0, 10_000_000),
}

log = logging.getLogger(__name__)


def result_file(folder: Path, picture: str, entrant: str) -> Path:
    """Where an entrant's result of a picture lies in a study's folder."""
    return folder / "results" / entrant / f"{picture}.png"


def fresh_scores(folder: Path, scores: Iterable[Score]) -> tuple[list[Score], list[str]]:
    """The scores whose results are still what was scored, and a sentence about the others."""
    fresh, stale, unknown = [], set(), 0
    for score in scores:
        file = result_file(folder, score.picture, score.entrant)
        if score.result and not _is(file, score.result):
            stale.add(f"{score.entrant}, {score.picture}")
        else:
            fresh.append(score)
            unknown += not score.result
    again = "run latent-map study score again"
    said = []
    if stale:
        some = _some(sorted(stale, key=natural))
        said.append(f"{some} changed since {SCORES}, left out: {again}.")
    if unknown:
        said.append(f"{unknown} scores of {SCORES} do not say which results they are of: {again}.")
    return fresh, said


def session_remarks(folder: Path) -> Iterator[str]:
    """A sentence for each session of a study that showed results which have changed since."""
    for file in natural_paths((folder / "sessions").glob("*/session.json")):
        changed = _changed(folder, _read(file, "pictures"))
        if changed:
            yield (
                f"{_some(changed)} changed since being shown in session {file.parent.name}: its "
                "votes are on what was shown then."
            )


def check_selection(folder: Path) -> None:
    """Raise ValueError unless pairs.csv, if `study select` made it, is of the present results."""
    file, pairs = folder / SELECTION, folder / "pairs.csv"
    if not file.exists():
        return
    remedy = f"run latent-map study select again, or delete it if {pairs.name} is your own"
    told = read_json(file, "record of a selection", RECORDS, remedy=remedy)
    digest = told.get("pairs_sha256")
    if not digest:
        log.warning("%s does not say which results it is of: select again to be sure", file)
        return
    if not _is(pairs, digest):
        raise ValueError(
            f"{pairs} is not what {SELECTION} beside it tells of: run latent-map study select "
            f"again, or delete {SELECTION} if {pairs.name} is your own"
        )
    if changed := _changed(folder, told.get("results", {})):
        raise ValueError(f"{_some(changed)} changed since {pairs} was made: {AGAIN}")


def entrants_changed(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """Entrants that the study file describes otherwise than when pairs.csv was made.

    Args:
        digests: of their tables now, by name.
    """
    before = _read(folder / SELECTION, "entrants")
    return [name for name in before if digests.get(name) != before[name]]


def _read(file: Path, name: str) -> Any:
    """A value of a record; empty where there is none, or it is damaged, which others tell."""
    try:
        content = parse_json(file, "record", "make it again", OF_A_STUDY)
        check_table(content, RECORDS, (), str(file), "make it again")
        return content.get(name, {})
    except ValueError as error:
        log.debug("%s", error)
        return {}


def _changed(folder: Path, results: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [
        f"{entrant}, {picture}"
        for entrant, pictures in results.items()
        for picture, digest in pictures.items()
        if not _is(result_file(folder, picture, entrant), digest)
    ]


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and file_hash(file) == digest


def _some(names: Sequence[str]) -> str:
    shown = "; ".join(names[:NAMED])
    more = len(names) - NAMED
    listed = f"({shown}{f'; and {more} more' if more > 0 else ''})"
    return f"1 result {listed} has" if len(names) == 1 else f"{len(names)} results {listed} have"
