"""latent-map study analyse: what the votes say."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import argument, option

if TYPE_CHECKING:
    from ...comparison.analysis import Analysis
    from ...comparison.vote_source import VoteSource


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
    against: str = option("entrant to show against each other (default: the first)", default="")


def run(options: Options) -> int:
    """Rank a study's entrants by its votes, with tests, checks, and a report."""
    from ...comparison.analysis import AnalysisSettings, analyse
    from ...comparison.caveats import caveats
    from ...comparison.rank_agreement import read_correlations
    from ...comparison.report.table import as_markdown
    from ...comparison.report.tables import ranking_table
    from ...comparison.report.text import as_json
    from ...comparison.strata import read_strata
    from ...comparison.vote_source import PAIRS, find_source
    from ...comparison.votes import read_votes
    from ...files.state_file import write_atomically

    settings = AnalysisSettings(
        options.level, options.draws, options.seed, options.exclude, options.against
    )
    settings.check()
    source = find_source(options.study)
    correlations = read_correlations(options.srcc) if options.srcc else None
    read = read_votes(source.votes, source.entrants)
    strata = read_strata(source.study / PAIRS) if source.study else None
    analysis = analyse(read, settings, source.entrants, correlations, strata)
    print(as_markdown(ranking_table(analysis)))
    for sentence in caveats(analysis):
        print(f"Note: {sentence}")
    if options.json:
        write_atomically(options.json, as_json(analysis).encode())
        print(f"Numbers: {options.json}")
    output = options.output or (None if options.json and not source.study else source.output)
    if output:
        _write(analysis, source, output)
    return 0


def _write(analysis: "Analysis", source: "VoteSource", output: Path) -> None:
    from ...comparison.report.page import write_page
    from ...comparison.report.text import write_text

    write_text(analysis, output)
    write_page(analysis, source, output / "report.html")
    print(f"Report: {output / 'report.html'}, tables beside it")
