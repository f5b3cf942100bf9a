"""An analysis as files: a CSV a table, one JSON, one Markdown."""

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from ...files.json_files import OF_A_STUDY, parse_json
from ...files.written import write_atomically
from ..analysis import Analysis
from ..caveats import caveats
from ..thurstone import GoodnessOfFit
from .further_tables import (
    design_effect,
    per_picture_table,
    planning_table,
    rank_agreement_table,
    rows_table,
    starks_table,
    strata_table,
)
from .judges_table import judges_table
from .table import Table, as_csv, as_markdown, as_records, plain
from .tables import (
    against_table,
    comparisons_table,
    counts_table,
    observers_table,
    ranking_table,
    shares_table,
)

SUMMARY = "analysis.json"
KNOWN_BY = {"scores", "covariance", "caveats", "tables"}  # of what it holds
TABLES = (
    ranking_table,
    comparisons_table,
    counts_table,
    against_table,
    shares_table,
    observers_table,
    rank_agreement_table,
    strata_table,
    judges_table,
    starks_table,
    per_picture_table,
    planning_table,
    rows_table,
)


def all_tables(analysis: Analysis) -> list[Table]:
    """Every table that there is something to put in."""
    tables = (maker(analysis) for maker in TABLES)
    return [table for table in tables if table.rows]


def as_json(analysis: Analysis) -> str:
    """All numbers: "scores" maps entrants to numbers, the highest first."""
    ballots, fit, settings = analysis.ballots, analysis.fit, analysis.settings
    content = {
        "scores": analysis.scores,
        "connected": fit.connected,
        "regularised": [n for n, r in zip(ballots.entrants, fit.regularised, strict=True) if r],
        "caveats": caveats(analysis),
        "votes": len(ballots),
        "observers": len(ballots.observers),
        "pictures": len(ballots.pictures),
        "entrants": list(ballots.entrants),
        "covariance": analysis.covariance.matrix.tolist(),
        "clustering": analysis.covariance.clustering,
        "independent_covariance": analysis.independent.matrix.tolist(),
        "design_effect": plain(design_effect(analysis)),
        "groups": [[ballots.entrants[i] for i in group] for group in analysis.groups],
        "goodness_of_fit": {
            "clustered": as_record(analysis.goodness_clustered),
            "independent_votes": as_record(analysis.goodness),
        },
        "settings": {
            "level": settings.level,
            "draws": settings.draws,
            "seed": settings.seed,
            "exclude": list(settings.exclude),
        },
        "versions": versions(),
        "tables": {table.name: as_records(table) for table in all_tables(analysis)},
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_record(goodness: GoodnessOfFit) -> dict[str, float | None]:
    """For JSON."""
    return {name: plain(value) for name, value in goodness._asdict().items()}


def versions() -> dict[str, str]:
    """Of the packages that worked the numbers out."""
    found = {}
    for name in ("latent-map", "numpy", "scipy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "(not installed)"
    return found


def as_text(analysis: Analysis, tables: Sequence[Table]) -> str:
    """The whole analysis as Markdown."""
    ballots = analysis.ballots
    lines = [
        "# Analysis\n",
        f"Votes: {len(ballots)}. Observers: {len(ballots.observers)}. Entrants: "
        f"{len(ballots.entrants)}. Pictures: {len(ballots.pictures)}.\n",
    ]
    if found := caveats(analysis):
        lines.append("".join(f"- {sentence}\n" for sentence in found))
    return "\n".join([*lines, *map(as_markdown, tables)])


def text_files(analysis: Analysis) -> dict[str, str]:
    """TABLE.csv, analysis.json and analysis.md: text by the file's name.

    The summary is written first: by it an analysis that was stopped halfway is known.
    """
    tables = all_tables(analysis)
    files = {f"{table.name}.csv": as_csv(table) for table in tables}
    return {SUMMARY: as_json(analysis), **files, "analysis.md": as_text(analysis, tables)}


def is_analysis(folder: Path) -> bool:
    """Whether a folder holds an earlier analysis, or what a stopped one left."""
    try:
        content = parse_json(folder / SUMMARY, "analysis", "make it again", OF_A_STUDY)
    except ValueError:
        return False
    return isinstance(content, dict) and content.keys() >= KNOWN_BY


def write_text(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write text by the file's name into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    return [folder / name for name in files]
