"""A table once, written as CSV, JSON, Markdown or HTML."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

NOTHING = "\u2013"


class Column(NamedTuple):
    """A column.

    Attributes:
        name: in files.
        heading: for readers.
        text: how a value is shown.
        ends: whether readers see it beside the column before, as the other end of an interval.
    """

    name: str
    heading: str
    text: Callable[[Any], str] = str
    ends: bool = False


class Table(NamedTuple):
    """A table.

    Attributes:
        name: of its files.
        title: for readers.
        columns: of the rows.
        rows: values as they are; None and NaN are nothing.
        caption: what a reader must know, or "".
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


def number(digits: int, sign: bool = False) -> Callable[[Any], str]:
    """Shows numbers with so many digits after the point, with a true minus."""

    def text(value: Any) -> str:
        if math.isinf(value):
            return "+\u221e" if value > 0 else "\u2212\u221e"
        rounded = round(float(value), digits) + 0.0  # no minus before zero
        plus = "+" if sign and rounded else ""
        return f"{rounded:{plus}.{digits}f}".replace("-", "\u2212")

    return text


def percent(value: float) -> str:
    """Shows a share."""
    return f"{100 * value:.1f} %"


def p_value(value: float) -> str:
    """Shows a p-value: three digits after the point, and small ones as such."""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def shown(table: Table) -> list[list[str]]:
    """Headings, and rows, as readers see them: an interval is one column."""
    lines = [[column.heading for column in table.columns if not column.ends]]
    for row in table.rows:
        cells: list[str] = []
        for column, value in zip(table.columns, row, strict=True):
            if column.ends and cells[-1] != NOTHING:
                cells[-1] += f" to {cell(column, value)}"
            elif not column.ends:
                cells.append(cell(column, value))
        lines.append(cells)
    return lines


def cell(column: Column, value: Any) -> str:
    """A value as readers see it."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return NOTHING if missing else column.text(value)


def plain(value: Any) -> Any:
    """A value for JSON, which knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(table: Table) -> str:
    """All digits, one row a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.name for column in table.columns)
    writer.writerows(["" if plain(v) is None else v for v in row] for row in table.rows)
    return text.getvalue()


def as_records(table: Table) -> list[dict[str, Any]]:
    """A dictionary a row, for JSON."""
    keys = [column.name for column in table.columns]
    return [dict(zip(keys, map(plain, row), strict=True)) for row in table.rows]


def as_markdown(table: Table) -> str:
    """A heading, the table, and its caption."""
    escaped = [[text.replace("|", "\\|").replace("\n", " ") for text in r] for r in shown(table)]
    escaped.insert(1, ["---:" if right else "---" for right in _numeric(table)])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in escaped)
    return f"## {table.title}\n\n{rows}\n" + (f"\n{table.caption}\n" if table.caption else "")


def as_html(table: Table) -> str:
    """The table alone, with its caption below."""
    kinds = [' class="n"' if right else "" for right in _numeric(table)]
    headings, *rows = shown(table)
    head = _html_row(headings, kinds, 'th scope="col"', "th")
    body = "".join(_html_row(row, kinds, "td", "td") for row in rows)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    table_html = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table_html}</div>{caption}'


def _html_row(cells: Sequence[str], kinds: Sequence[str], opening: str, closing: str) -> str:
    inner = (
        f"<{opening}{kind}>{escape(text)}</{closing}>"
        for text, kind in zip(cells, kinds, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>"


def _numeric(table: Table) -> list[bool]:
    """For each column that readers see whether it holds numbers."""
    return [
        _all_numbers([row[place] for row in table.rows])
        for place, column in enumerate(table.columns)
        if not column.ends
    ]


def _all_numbers(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) for value in known)
