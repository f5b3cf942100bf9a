"""What the trials of a session are drawn from: a study's pairs, and the pictures behind them."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files.pictures import picture_size
from ..files.reading import reading
from .picture_names import flaw_of_name
from .session_settings import SessionSettings
from .staleness import result_file
from .traps import make_traps
from .trials import Material, Pair
from .votes import SPOILT

NEEDED = ("picture", "model_a", "model_b")


def gather_material(folder: Path, traps: Path, settings: SessionSettings) -> Material:
    """The study's pairs, others to practise on, and traps, whose copies are written.

    Args:
        folder: the study's, with pairs.csv and results/ENTRANT/PICTURE.png.
        traps: folder for the worsened copies.
    Raises: ValueError if there are no pairs, or a picture is missing or of another size.
    """
    pairs = read_pairs(folder / "pairs.csv")
    chance = random.Random(f"{settings.seed} material")
    training = _training(folder, pairs, settings.training, chance)
    check_pictures(folder, [*pairs, *training])
    made = make_traps(
        sorted({(pair.scene, name) for pair in pairs for name in (pair.a, pair.b)}),
        settings.traps,
        lambda scene, entrant: result_file(folder, scene, entrant),
        lambda scene, entrant: traps / entrant / f"{scene}.png",
        chance,
    )
    return Material(tuple(pairs), tuple(training), tuple(made))


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of pairs.csv, each once, in the file's order.

    Raises: ValueError if the file is missing, lacks columns or rows, or names something odd.
    """
    if not path.is_file():
        raise ValueError(f"there is no {path}: run latent-map study select first")
    with (
        reading(path, "list of pairs", "run latent-map study select again"),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        rows = csv.DictReader(file)
        missing = [name for name in NEEDED if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} lacks the column {missing[0]}: it needs {', '.join(NEEDED)}")
        found: dict[tuple[str, frozenset[str]], Pair] = {}
        for row in rows:
            pair = Pair(*(_name(row[name], path, rows.line_num) for name in NEEDED))
            if pair.a == pair.b or SPOILT in pair[1:]:
                raise ValueError(f"{path}, line {rows.line_num}: {pair.a} against {pair.b}")
            found.setdefault((pair.scene, frozenset(pair[1:])), pair)
    if not found:
        raise ValueError(f"{path} holds no pairs: nothing is left to compare")
    return list(found.values())


def _name(text: str | None, path: Path, line: int) -> str:
    if not text or flaw_of_name(text):
        raise ValueError(f"{path}, line {line}: {text!r} is no name of a picture or an entrant")
    return text


def _training(folder: Path, pairs: Sequence[Pair], count: int, chance: random.Random) -> list[Pair]:
    """Pairs of pictures that the study does not show, as far as there are; else some of its own."""
    entrants = sorted({name for pair in pairs for name in (pair.a, pair.b)})
    shown = {pair.scene for pair in pairs}
    files = [(file.stem, name) for name in entrants for file in _pictures(folder, name)]
    spare: list[Pair] = []
    for scene in sorted({stem for stem, _ in files} - shown):
        names = [name for stem, name in files if stem == scene]
        if len(names) > 1:
            spare.append(Pair(scene, *sorted(chance.sample(names, 2))))
    chance.shuffle(spare)
    own = chance.sample(pairs, min(count, len(pairs)))
    return [*spare, *own][:count]


def _pictures(folder: Path, entrant: str) -> list[Path]:
    return sorted((folder / "results" / entrant).glob("*.png"))


def check_pictures(folder: Path, pairs: Iterable[Pair]) -> None:
    """Raise ValueError unless both pictures of every pair are there, readable and of equal size."""
    sizes: dict[Path, tuple[int, int]] = {}
    for pair in pairs:
        files = [result_file(folder, pair.scene, name) for name in pair[1:]]
        for file in files:
            if file not in sizes:
                if not file.is_file():
                    raise ValueError(f"there is no {file}: run latent-map study run again")
                sizes[file] = picture_size(file)
        if sizes[files[0]] != sizes[files[1]]:
            words = " and ".join(f"{file} is {'x'.join(map(str, sizes[file]))}" for file in files)
            raise ValueError(f"{words}: results of one picture must have one size")
