"""Write the catalogues of priors and measures into the nodes' help pages, from the rows themselves.

python tests/comfyui/write_catalogues.py
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from latent_map.fidelity.catalog import FIDELITIES, REFUSED
from latent_map.files.catalog import CatalogRow
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.prior_row import PriorRow

PAGES = Path(__file__).resolve().parents[2] / "web" / "docs"
START, END = "<!-- catalogue -->", "<!-- end of the catalogue -->"


def pages() -> dict[Path, str]:
    """The help pages as they should be."""
    tables = {"DLM_IqaPrior": _priors(), "DLM_FidelityLoss": _measures()}
    return {
        page: _with(page, lines)
        for node, lines in ((node, tuple(rows)) for node, rows in tables.items())
        for page in (PAGES / f"{node}.md", *PAGES.glob(f"{node}/*.md"))
    }


def _with(page: Path, lines: Iterable[str]) -> str:
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return "\n".join([before + START, *lines, END + rest.split(END)[1]])


def _priors() -> Iterable[str]:
    yield "| name | what it is | scores | memory | licence | file |"
    yield "|---|---|---|---|---|---|"
    for name, row in PRIORS.items():
        yield _row(name, _summary(row), row.range, _memory(row), row.licence, _files(row))


def _measures() -> Iterable[str]:
    yield "| name | what it is | range | licence | file |"
    yield "|---|---|---|---|---|"
    for name, row in FIDELITIES.items():
        yield _row(name, row.summary, row.range, row.licence, _files(row))
    yield ""
    yield from (f"Not offered: *{name}*: {reason}." for name, reason in REFUSED.items())


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _summary(row: PriorRow) -> str:
    remarks = [f"for IQA Score only: {row.no_gradient}"] if row.no_gradient else []
    remarks += [] if row.calibrated else ["provisional calibration"]
    return "; ".join([row.summary, *remarks])


def _memory(row: PriorRow) -> str:
    memory = row.memory_mb_per_mpixel
    return f"{memory} MB a megapixel" if memory else "not measured"


def _files(row: CatalogRow) -> str:
    needed = [f"the package {name}" for name in row.packages]
    for file in row.files:
        size = f", {file.size_mb:.3g} MB" if file.size_mb else ""
        needed.append(f"[{file.name}]({file.url}){size}" if file.url else f"{file.name}, your own")
    return "; ".join(needed) or "none"


def main(found: Mapping[Path, str]) -> None:
    """Write them."""
    for page, text in found.items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(pages())
