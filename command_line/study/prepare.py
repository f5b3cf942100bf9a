"""latent-map study prepare: the pictures that all entrants of a study begin with."""

from dataclasses import dataclass
from pathlib import Path

from ..arguments import argument


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which study."""

    study: Path = argument("STUDY.toml: see docs/study.md")


def run(options: Options) -> int:
    """Scale and crop the pictures of a study into inputs/, which other restorers begin with.

    Returns: 0.
    """
    from ...comparison.study_file import load_study
    from .inputs import prepare

    study = load_study(options.study)
    inputs = prepare(study)
    print(f"{study.inputs}: {len(inputs)} pictures")
    return 0
