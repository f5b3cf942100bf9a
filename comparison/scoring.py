"""Results scored by every judge of a study: what `judging` puts together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from ..files.pictures import read_picture
from ..files.weight_files import find_file, standard_folders
from ..iqa_priors.catalog import PRIORS
from ..iqa_priors.loading import load_prior, missing_prior
from .entrants.restorer import Restorer
from .hashing import description_hash, file_hash
from .judging import SCORES, Score, read_scores
from .study_file import Study


def check_judges(
    study: Study, further: Sequence[str], sizes: Mapping[str, tuple[int, int]]
) -> list[str]:
    """The priors of a study's entrants and further ones, each once.

    Args:
        sizes: (width, height) of each picture.
    Raises: ValueError if there are none, or one lacks a file, or a picture is too small for it.
    """
    own = [prior for entrant in study.entrants for prior in priors_of(study, entrant)]
    judges = list(dict.fromkeys([*own, *further]))
    if not judges:
        raise ValueError(f"no entrant of {study.file} has a prior: name judges with --judges")
    for judge in judges:
        if missing := missing_prior(judge):
            raise ValueError(missing)
        for picture, (width, height) in sizes.items():
            if min(width, height) < PRIORS[judge].min_side:
                raise ValueError(
                    f"judge {judge!r} needs {PRIORS[judge].min_side} pixels a side, {picture} is "
                    f"{width}x{height}: leave one of them out"
                )
    return judges


def priors_of(study: Study, entrant: str) -> tuple[str, ...]:
    """The judges that an entrant climbed; none of ready pictures."""
    found = study.entrants.get(entrant)
    return found.priors if isinstance(found, Restorer) else ()


def score_results(
    study: Study, results: Mapping[str, Mapping[str, str]], judges: Iterable[str], device: str
) -> Iterator[Score]:
    """Score results by every judge, one judge at a time; what is known already is not done again.

    Args:
        results: hash of each result file, by entrant and picture.
    """
    known = {score.key: score.quality for score in read_scores(study.folder / SCORES)}
    for judge in judges:
        files, prior = _file_hashes(judge), None
        for entrant, hashes in results.items():
            for picture, result in hashes.items():
                key = description_hash({"judge": judge, "files": files, "result": result})
                if key not in known:
                    prior = prior or load_prior(judge, device).as_published()
                    pixels = read_picture(study.result(entrant, picture)).pixels.to(device)
                    with torch.no_grad():
                        known[key] = float(prior(pixels))
                own = judge in priors_of(study, entrant)
                yield Score(entrant, picture, judge, own, known[key], key, result)


def _file_hashes(judge: str) -> dict[str, str]:
    found = [find_file(file, standard_folders()) for file in PRIORS[judge].files]
    return {path.name: file_hash(path) for path in found if path is not None}
