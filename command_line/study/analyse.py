"""latent-map study analyse: what the votes say."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...files.distinct import check_distinct, check_unnamed
from ..arguments import argument, option
from ..force import force_option

if TYPE_CHECKING:
    from ...comparison.vote_source import VoteSource

PAGE = "report.html"


@dataclass(frozen=True)
class Options:
    """Which votes, and how they are analysed."""

    study: Path = argument("a study (its TOML file, or its folder), or a CSV of votes")
    output: Path | None = option(
        "folder for tables and report (default: analysis/ in the study, VOTES-analysis beside a "
        "CSV, unless there is --json)",
        default=None,
    )
    json: Path | None = option("write all numbers to one file, too", default=None)
    srcc: Path | None = option(
        "CSV with columns entrant, srcc and, if known, n (pictures): compares the rank of each "
        "model by correlation with opinions with its rank by pictures",
        default=None,
    )
    level: float = option("of tests and intervals (default 0.05)", default=0.05)
    draws: int = option("of the bootstrap (default 1000; 0: none)", default=1000)
    seed: int = option("of the bootstrap", default=20240306)
    exclude: tuple[str, ...] = option("observers to leave out; the report says so", default=())
    force: bool = force_option()
    against: str = option("entrant to show against each other (default: the first)", default="")


def run(options: Options) -> int:
    """Rank a study's entrants by its votes, with tests, checks, and a report."""
    from ...comparison.analysis import AnalysisSettings, analyse
    from ...comparison.caveats import caveats
    from ...comparison.judging import SCORES, read_scores
    from ...comparison.rank_agreement import read_correlations
    from ...comparison.report.page import write_page
    from ...comparison.report.table import as_markdown
    from ...comparison.report.tables import ranking_table
    from ...comparison.report.text import as_json, text_files, write_text
    from ...comparison.staleness import fresh_scores, session_remarks
    from ...comparison.strata import read_strata
    from ...comparison.vote_source import PAIRS, find_source
    from ...comparison.votes import read_votes
    from ...files.written import check_folder, write_atomically

    settings = AnalysisSettings(
        options.level, options.draws, options.seed, options.exclude, options.against
    )
    settings.check()
    source = find_source(options.study)
    correlations = read_correlations(options.srcc) if options.srcc else None
    read = read_votes(source.votes, source.entrants)
    strata = read_strata(source.study / PAIRS) if source.study else None
    scores, remarks = [], []
    if source.study:
        scores, remarks = fresh_scores(source.study, read_scores(source.study / SCORES))
        remarks += session_remarks(source.study)
        remarks += _changed_since(options.study)
    output = options.output or (None if options.json and not source.study else source.output)
    if output is not None:
        check_folder(output)
    analysis = analyse(read, settings, source.entrants, correlations, strata, scores, remarks)
    texts = text_files(analysis) if output else {}
    _check_written(options, source, texts, output)
    print(as_markdown(ranking_table(analysis)))
    for sentence in caveats(analysis):
        print(f"Note: {sentence}")
    if options.json:
        write_atomically(options.json, as_json(analysis).encode())
        print(f"{options.json}: all numbers")
    if output:
        write_text(texts, output)
        write_page(analysis, source, output / PAGE)
        print(f"{output / PAGE}: report, with tables beside it")
    return 0


def _changed_since(study: Path) -> list[str]:
    """A sentence where a study's file describes other entrants than were voted on."""
    from ...comparison.staleness import entrants_changed
    from ...comparison.study_file import load_study

    if study.suffix.lower() != ".toml":
        return []
    loaded = load_study(study)
    changed = " and ".join(entrants_changed(loaded.folder, loaded.digests))
    told = f"{study.name} describes {changed} otherwise than when {loaded.pairs.name} was made"
    return [f"{told}: the votes are on what was shown then."] if changed else []


def _check_written(
    options: Options, source: "VoteSource", texts: dict[str, str], output: Path | None
) -> None:
    """Raise ValueError where a file would be overwritten that is no earlier analysis."""
    from ...comparison.report.text import is_analysis
    from ...comparison.vote_source import PAIRS
    from ...comparison.votes import find_vote_files
    from ...files.pictures import check_no_picture
    from ...files.written import check_writable

    files = [] if output is None else [output / name for name in (*texts, PAGE)]
    read = [options.srcc, *find_vote_files(source.votes)]
    read += [options.study] if options.study.is_file() else []
    read += [source.study / PAIRS] if source.study else []
    check_distinct([*files, *([options.json] if options.json else [])], read)
    if options.json:
        check_no_picture(options.json, "a table of numbers", ".json")
        check_writable(options.json, streams=True)
    if output is not None and not is_analysis(output):
        check_unnamed(files, options.force)
