"""One page of HTML that holds the whole report, pictures and all."""

from html import escape
from pathlib import Path

import numpy as np

from ...files.written import write_atomically
from ..analysis import Analysis
from ..caveats import caveats, names
from ..significance import degrees_of_freedom
from ..thurstone import SCALE, SIGMA
from ..vote_source import VoteSource
from .check_figures import fit_figure, observers_figure, ranks_figure
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
from .matrix_figure import matrix_figure
from .ranking_figure import ranking_figure
from .sheets import selection_words, sheets
from .table import Table, as_html, p_value
from .tables import (
    against_table,
    clustering_words,
    comparisons_table,
    counts_table,
    observers_table,
    ranking_table,
    shares_table,
)
from .text import versions


def write_page(analysis: Analysis, source: VoteSource, path: Path) -> None:
    """Write the report; it needs no network and no other file."""
    write_atomically(path, as_page(analysis, source).encode())


def as_page(analysis: Analysis, source: VoteSource) -> str:
    """The report as HTML."""
    style = Path(__file__).with_name("report.css").read_text("utf-8")
    parts = (
        *(_head(analysis, source), _ranking(analysis), _pairs(analysis), _against(analysis)),
        *(_agreement(analysis), _strata(analysis), _pictures(analysis, source), _checks(analysis)),
        *(_observers(analysis), _planning(analysis), _rows(analysis), _method(analysis, source)),
    )
    title = escape(source.title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: which pictures are preferred</title><style>{style}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _section(title: str, *parts: str) -> str:
    body = "".join(parts)
    return f"<h2>{escape(title)}</h2>{body}" if body else ""


def _paragraph(words: str, kind: str = "") -> str:
    return f"<p{f' class={kind}' if kind else ''}>{escape(words)}</p>"


def _figure(drawing: str, caption: str) -> str:
    if not drawing:
        return ""
    return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>"


def _folded(table: Table, title: str = "") -> str:
    if not table.rows:
        return ""
    return f"<details><summary>{escape(title or table.title)}</summary>{as_html(table)}</details>"


def _head(analysis: Analysis, source: VoteSource) -> str:
    ballots, found = analysis.ballots, caveats(analysis)
    effect = design_effect(analysis)
    tiles = [
        (f"{len(ballots):,}", "votes"),
        (len(ballots.entrants), "entrants"),
        (len(ballots.pictures), "pictures"),
        (len(ballots.observers), "observers"),
        (len(analysis.groups), "groups"),
        ("\u2013" if np.isnan(effect) else f"{effect:.1f}", "design effect"),
    ]
    numbers = "".join(f"<div><b>{n}</b><span>{words}</span></div>" for n, words in tiles)
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in found)
    box = f'<div class="notes"><h2>Know this first</h2><ul>{notes}</ul></div>' if found else ""
    return (
        f"<h1>{escape(source.title)}</h1>{_paragraph(_answer(analysis), 'lead')}"
        f'<div class="tiles">{numbers}</div>{box}'
    )


def _answer(analysis: Analysis) -> str:
    """What came out, in a sentence or two."""
    best = analysis.groups[0]
    if not analysis.fit.connected:
        return "The votes fall into parts that nothing links: there is no common ranking."
    if all(np.isnan(row.p) for row in analysis.comparisons):
        first = names(analysis, analysis.order[:1])
        return f"{first} has the highest score, but these votes cannot test differences."
    if len(best) == len(analysis.order):
        return f"No entrant is told apart from another at the {analysis.settings.level:g} level."
    others = len(analysis.order) - len(best)
    rest = "the other one" if others == 1 else f"all {others} others"
    if len(best) == 1:
        beaten = "beats" if others == 1 else "leads; it beats"
        return f"{names(analysis, best)} {beaten} {rest}, at the {analysis.settings.level:g} level."
    return (
        f"{names(analysis, best[:-1])} and {names(analysis, best[-1:])} lead and are not told "
        f"apart; {names(analysis, best[:1])} has the highest score."
    )


def _ranking(analysis: Analysis) -> str:
    level = 100 * (1 - analysis.settings.level)
    caption = (
        f"Thurstone scores with {level:g} % intervals, {clustering_words(analysis.covariance)}. "
        "The short thick bar is what would be claimed if every vote were independent. Entrants in "
        "one box are not told apart (Holm-corrected tests of all pairs); boxes may overlap. Hollow "
        "dots are regularised."
    )
    return _section(
        "Ranking", _figure(ranking_figure(analysis), caption), as_html(ranking_table(analysis))
    )


def _pairs(analysis: Analysis) -> str:
    caption = (
        "Share of votes for the row against the column: blue where the row is preferred, orange "
        "where the column is. A dark frame: told apart."
    )
    return _section(
        "Pairs",
        _figure(matrix_figure(analysis), caption),
        _folded(comparisons_table(analysis)),
        _folded(counts_table(analysis)),
        _folded(shares_table(analysis)),
    )


def _against(analysis: Analysis) -> str:
    table = against_table(analysis)
    return _section(table.title, as_html(table)) if table.rows else ""


def _agreement(analysis: Analysis) -> str:
    table = rank_agreement_table(analysis)
    return _section(table.title, as_html(table)) if table.rows else ""


def _strata(analysis: Analysis) -> str:
    table = strata_table(analysis)
    return _section(table.title, as_html(table)) if table.rows else ""


def _pictures(analysis: Analysis, source: VoteSource) -> str:
    rows = sheets(analysis, source.study) if source.study else ""
    if not rows:
        return ""
    words = (
        "For each pair of entrants the pictures shown first, and the votes on them. Shown small "
        "here; observers saw actual pixels."
    )
    return _section("Pictures", _paragraph(words), f'<div class="pairs">{rows}</div>')


def _checks(analysis: Analysis) -> str:
    plain, fair = analysis.goodness, analysis.goodness_clustered
    fit = "Points off the line: pairs that one scale does not hold. "
    if fair.degrees_of_freedom:
        fit += (
            f"Deviance {plain.deviance:.2f} on {degrees_of_freedom(plain.degrees_of_freedom)} (p "
            f"{p_value(plain.p)} if votes were independent); allowing for pictures that differ, "
            f"{fair.deviance:.2f} (p {p_value(fair.p)})."
        )
    else:
        fit += "There are no more pairs than scores, so the fit cannot be tested."
    figures = _figure(fit_figure(analysis), fit) + _figure(
        ranks_figure(analysis),
        "How often each entrant has each rank when pictures and observers are drawn anew, in "
        "percent of draws.",
    )
    return _section(
        "Checks",
        f'<div class="side">{figures}</div>',
        _folded(judges_table(analysis)),
        _folded(starks_table(analysis)),
        _folded(per_picture_table(analysis)),
    )


def _observers(analysis: Analysis) -> str:
    caption = "Red: look into it. Nobody is left out unasked."
    return _section(
        "Observers",
        _figure(observers_figure(analysis), caption),
        as_html(observers_table(analysis)),
    )


def _planning(analysis: Analysis) -> str:
    table = planning_table(analysis)
    return _section(table.title, as_html(table))


def _rows(analysis: Analysis) -> str:
    table = rows_table(analysis)
    return _section(table.title, _folded(table, f"{len(table.rows)} rows")) if table.rows else ""


def _method(analysis: Analysis, source: VoteSource) -> str:
    settings = analysis.settings
    model = (
        "Thurstone's Case V: an entrant i is preferred to j with probability "
        f"Φ((μi \u2212 μj) / {SCALE:.6f}), the divisor being √2 · {SIGMA}: a difference of 1 is "
        "a preference of 3 to 1. Scores maximise the sum of Cij log Φ(·), Cij counting the votes "
        "for i over j, and sum to zero."
    )
    errors = (
        "Errors: the sandwich H⁻¹MH⁻¹, H being the observed information and M summing the votes' "
        "pulls on the scores within pictures, plus within observers, less within both. Tests: "
        "Wald, two-sided, Student's t with one degree of freedom less than there are clusters "
        "(pictures of a typical pair, or observers), Holm's correction."
    )
    boot = f"{settings.draws} draws, seed {settings.seed}" if settings.draws else "none"
    rows = [
        ("model", model),
        ("errors and tests", errors),
        ("bootstrap", f"{boot}; observers and pictures with replacement"),
        ("level", f"{settings.level:g}"),
        ("left out", ", ".join(analysis.excluded) or "nobody"),
        ("votes", "; ".join(f"{name} (sha256 {digest})" for name, digest in source.digests())),
        ("made with", ", ".join(f"{n} {v}" for n, v in versions().items())),
    ]
    if source.study and (words := selection_words(source.study)):
        rows.insert(2, ("pictures", words))
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)
    return _section("How it was worked out", f"<dl>{listed}</dl>")
