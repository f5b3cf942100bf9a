"""The judges' table: does what was made with a judge come out best by it?"""

from collections.abc import Iterator

from ..analysis import Analysis
from ..judging import Judged
from .table import Column, Table, number


def judges_table(analysis: Analysis) -> Table:
    """Every judge's mean score of every entrant."""
    found = analysis.judged
    title = "Judges: mean score of each entrant's results"
    columns = [Column("entrant", "entrant"), Column("made_with", "made with")]
    if found is None:
        return Table("judges", title, columns, [])
    columns += [Column(judge, judge, number(4)) for judge in found.judges]
    ranked = [name for name in analysis.scores if name in found.entrants]
    others = [name for name in found.entrants if name not in ranked]
    rows = [
        (
            *(name, ", ".join(judge for judge in found.judges if (name, judge) in found.own)),
            *(found.means[name, judge] for judge in found.judges),
        )
        for name in (*ranked, *others)
    ]
    caption = (
        f"Quality in [0, 1] by each judge's published rule, over {found.pictures} pictures, all of "
        "which have results of all entrants, shown or not. No votes. A result made with a judge "
        f"should be best by that judge: {'; '.join(_verdicts(found))}."
    )
    return Table("judges", title, columns, rows, caption)


def _verdicts(found: Judged) -> Iterator[str]:
    for judge in found.judges:
        best = max(found.entrants, key=lambda name: found.means[name, judge])
        own = [name for name in found.entrants if (name, judge) in found.own]
        verdict = "no entrant's own" if not own else "its own" if best in own else "NOT its own"
        yield f"{judge} prefers {best} ({verdict})"
