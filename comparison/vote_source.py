"""Which votes a path means: those of a study, or a file of votes alone."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .votes import find_vote_files

VOTES, RESULTS, ANALYSIS, PAIRS = "votes", "results", "analysis", "pairs.csv"  # in a study


@dataclass(frozen=True)
class VoteSource:
    """Where votes are, and what is known of their study.

    Attributes:
        title: the study's or the file's name.
        votes: a file or folder for `read_votes`.
        entrants: of the study; empty if only its votes are known.
        study: the study's folder, with pictures; None for votes alone.
        output: where the analysis goes unless told otherwise.
    """

    title: str
    votes: Path
    entrants: tuple[str, ...]
    study: Path | None
    output: Path

    def digests(self) -> list[tuple[str, str]]:
        """Name and sha256 of each file of votes."""
        files = find_vote_files(self.votes)
        return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


def find_source(path: Path) -> VoteSource:
    """What a path means.

    Args:
        path: a study's TOML file or folder, a CSV of votes, or a folder of such.
    Raises: ValueError if there are no votes.
    """
    if path.suffix.lower() == ".toml":
        from .study_file import load_study

        study = load_study(path)
        return _of_study(study.folder, tuple(study.entrants))
    if (path / VOTES).is_dir() or (path / RESULTS).is_dir():
        results = path / RESULTS
        found = sorted(entrant.name for entrant in results.glob("*") if entrant.is_dir())
        return _of_study(path, tuple(found))
    find_vote_files(path)
    return VoteSource(path.stem, path, (), None, path.with_name(f"{path.stem}-analysis"))


def _of_study(folder: Path, entrants: tuple[str, ...]) -> VoteSource:
    votes = folder / VOTES
    if not votes.is_dir() or not any(votes.glob("*.csv")):
        raise ValueError(f"{votes} holds no votes yet: latent-map study serve asks for them")
    return VoteSource(folder.resolve().name, votes, entrants, folder, folder / ANALYSIS)
