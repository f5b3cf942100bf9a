"""What a session began with, session.json: settings, pairs and pictures, which stay as they were.

Observers of one session must have seen the same: whatever has changed since ends in an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files.json_files import OF_A_STUDY, TABLE, check_table, parse_json, table, text
from ..files.reading import reading
from ..files.written import check_folder, write_atomically
from .hashing import file_hash
from .material import gather_material
from .session_settings import SessionSettings
from .staleness import check_selection, result_file
from .trials import Material, Pair

FILE = "session.json"
REMEDY = "put back what was, or begin another with --session NAME"
RULES = {
    **dict.fromkeys(("settings", "material"), TABLE),
    "pairs_sha256": text(),
    "pictures": table(table(text())),
}


@dataclass(frozen=True)
class SessionRecord:
    """What a session began with.

    Attributes:
        material: what its trials are drawn from.
        pictures: hash of each result that is shown, by entrant and picture.
    """

    material: Material
    pictures: Mapping[str, Mapping[str, str]]


def open_record(place: Path, folder: Path, settings: SessionSettings) -> SessionRecord:
    """The record of a session: what was written when it began, or new.

    Args:
        place: the session's folder.
        folder: the study's.
    Raises: ValueError if there is nothing to compare, or anything has changed since it began.
    """
    if (place / FILE).exists():
        return _unchanged(place, folder, settings)
    check_selection(folder)
    check_folder(place)
    material = gather_material(folder, place / "traps", settings)
    pictures = {
        entrant: {scene: file_hash(result_file(folder, scene, entrant)) for scene in sorted(scenes)}
        for entrant, scenes in _shown(material).items()
    }
    content = {
        "settings": asdict(settings),
        "pairs_sha256": _hash(folder / "pairs.csv"),
        "material": asdict(material),
        "pictures": pictures,
    }
    write_atomically(place / FILE, json.dumps(content, indent=1, ensure_ascii=False).encode())
    return SessionRecord(material, pictures)


def _unchanged(place: Path, folder: Path, settings: SessionSettings) -> SessionRecord:
    file, pairs = place / FILE, folder / "pairs.csv"
    with reading(file, "record of a session", REMEDY):
        content = parse_json(file, "record of a session", REMEDY, OF_A_STUDY)
        check_table(content, RULES, tuple(RULES), f"{file} is damaged", REMEDY)
        before, digest, pictures = (content[k] for k in ("settings", "pairs_sha256", "pictures"))
        material = Material(
            tuple(Pair(*each) for each in content["material"]["pairs"]),
            tuple(Pair(*each) for each in content["material"]["training"]),
            tuple((scene, name) for scene, name in content["material"]["traps"]),
        )
        shown = [
            (result_file(folder, scene, entrant), pictures[entrant][scene])
            for entrant, scenes in _shown(material).items()
            for scene in sorted(scenes)
        ]
        changed = sorted(key for key, now in asdict(settings).items() if before[key] != now)
    if changed:
        raise ValueError(f"{file}: session {place.name} began with other {changed}: {REMEDY}")
    if not pairs.is_file() or _hash(pairs) != digest:
        raise ValueError(has_changed(pairs, place.name))
    for picture, hashed in shown:
        if not picture.is_file() or file_hash(picture) != hashed:
            raise ValueError(has_changed(picture, place.name))
    return SessionRecord(material, pictures)


def has_changed(file: Path, session: str) -> str:
    """What to say of a file that is not what it was when a session began."""
    return f"{file} has changed since session {session} began: {REMEDY}"


def _shown(material: Material) -> dict[str, set[str]]:
    """The pictures of each entrant that are shown, by the names of both."""
    shown: dict[str, set[str]] = {}
    for pair in (*material.pairs, *material.training):
        for entrant in (pair.a, pair.b):
            shown.setdefault(entrant, set()).add(pair.scene)
    return shown


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
