"""The documents: what they point to is there."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from latent_map.comparison import jobs, selection
from latent_map.edict.backbones import load_backbone
from latent_map.map_estimation.settings import PRESETS, MapSettings
from latent_map.map_estimation.work import work_of
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *REPOSITORY.glob("docs/**/*.md"),
    ]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = ("http://", "https://", "mailto:", "#")
# What documents call a file of this repository: a path with a folder of it, and a suffix.
NAMED = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|mjs|toml|json|png|safetensors))`")
PLACEHOLDER = re.compile(r"NAME|NODE_ID")

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[str(file.relative_to(REPOSITORY)) for file in DOCUMENTS]
)


def links(document):
    """The files that a document links to, without the places in them."""
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    return [target.split("#")[0] for target in targets if not target.startswith(ELSEWHERE)]


@every_document
def test_links_lead_to_files(document):
    dead = [link for link in links(document) if not (document.parent / link).exists()]
    assert not dead


@every_document
def test_files_that_are_named_are_there(document):
    text = document.read_text(encoding="utf-8")
    folders = {path.name for path in REPOSITORY.iterdir() if path.is_dir()}
    ours = [
        name
        for name in NAMED.findall(text)
        if name.split("/")[0] in folders and not PLACEHOLDER.search(name)
    ]
    missing = [name for name in ours if not (REPOSITORY / name).exists()]
    assert not missing


def test_the_readme_fits_a_screen_or_two():
    words = len((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    assert words < 650


def test_the_first_two_commands_of_the_readme_stay_where_they_are():
    """Its second block is what .ci/run runs, its first what makes its picture."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    first, second, *_ = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert "latent-map enhance docs/sample.png" in first
    assert "-m pytest" in second
    assert "block == 2" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", ["README.md", "docs/comfyui.md"])
def test_every_node_is_in_the_tables_of_nodes(document):
    recorded = json.loads((REPOSITORY / "tests" / "data" / "object_info.json").read_text("utf-8"))
    names = {node["display_name"].partition(" (")[0] for node in recorded["nodes"].values()}
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z].*?) \|", text, re.MULTILINE)
    listed = {name for row in rows for name in re.split(", | / ", row)}
    assert names <= listed


COLUMNS = "preset, start, blend, draws, T, strength, iterations, by (rate), lambda, expectation"


def described(name: str, settings: MapSettings) -> str:
    """A row of the table of presets; what does not concern one is a dash."""
    moved, from_model = settings.inversion, settings.start != "input"
    start = settings.start if settings.space == "diffusion" else "input, in pixels"
    blend, draws = (settings.blend, settings.draws) if from_model else ("-", "-")
    way = (moved.steps, moved.strength) if settings.space == "diffusion" else ("-", "-")
    by = f"{settings.optimizer} ({settings.learning_rate:g})"
    lam = settings.lam if settings.use_fidelity else "no fidelity"
    cells = (start, blend, draws, *way, settings.iterations, by, lam, settings.expectation)
    return row(f"`{name}`", *(f"{c:g}" if isinstance(c, float) else str(c) for c in cells))


def row(*cells: str) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def preset_table() -> str:
    """All presets, as docs/command_line.md has them."""
    rows = [described(name, settings) for name, settings in PRESETS.items()]
    head = COLUMNS.split(", ")
    return "\n".join((row(*head), "|---" * len(head) + "|", *rows))


def test_the_table_of_presets_is_theirs():
    text = (REPOSITORY / "docs" / "command_line.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- presets -->\n(.*?)\n<!-- end of presets -->", text, re.DOTALL)
    assert table == preset_table()


def test_the_table_of_network_calls_is_what_is_planned():
    """Those of the presets, and of the preset for few steps with fewer of them or more noise."""
    text = (REPOSITORY / "docs" / "measurements.md").read_text(encoding="utf-8")
    section = text.partition("## Few steps")[2].partition("## ")[0]
    a_row = re.compile(r"^\|.*?\| (\d+), ([\d.]+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
    found = a_row.findall(section)
    turbo, backbone = PRESETS["turbo"], load_backbone("pocket")
    few = [
        replace(turbo, inversion=replace(turbo.inversion, steps=steps, strength=strength))
        for steps, strength in ((4, 1.0), (2, 1.0), (2, 0.5))
    ]
    runs = [*(PRESETS[name] for name in ("paper", "fast", "gentle", "turbo")), *few]
    for numbers, settings in zip(found, runs, strict=True):
        work, way = work_of(backbone, settings), settings.inversion
        planned = way.steps, way.strength, work.reconstruction, work.iterations, work.calls
        assert tuple(map(float, numbers)) == planned
    assert PRESETS["strong"].iterations == PRESETS["fast"].iterations


def test_what_a_study_costs_is_as_it_was_computed():
    text = (REPOSITORY / "docs" / "study.md").read_text(encoding="utf-8")
    computed = REPOSITORY / "benchmarks" / "results" / "study_scale.md"
    rows = re.findall(r"^\| (?:paper|fast) \|.*? h \|$", text, re.MULTILINE)
    assert len(rows) == 4
    assert set(rows) <= set(computed.read_text(encoding="utf-8").splitlines())


def test_every_file_of_a_study_is_described():
    sources = (REPOSITORY / "comparison" / "report").glob("*.py")
    made = {name for file in sources for name in re.findall(r'Table\("(\w+)"', file.read_text())}
    described = (REPOSITORY / "docs" / "study_analysis.md").read_text(encoding="utf-8")
    assert {name for name in made if f"`{name}.csv`" not in described} == set()
    study = (REPOSITORY / "docs" / "study.md").read_text(encoding="utf-8")
    for columns in (jobs.COLUMNS, selection.COLUMNS):
        assert f"`{', '.join(columns)}`" in study


def test_the_python_of_the_documents_runs(tmp_path, monkeypatch, capsys):
    """The page on Python in the order in which it is read; the README's with its picture."""
    monkeypatch.chdir(tmp_path)
    sample = Image.open(REPOSITORY / "docs" / "sample.png").convert("RGB")
    sample.crop((120, 120, 184, 168)).save("in.png")
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    known: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), known)
    assert Path("out.png").is_file()
    assert "all iterations done True" in capsys.readouterr().out
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    known = {"image": known["picture"].pixels}  # pyright: ignore
    exec(compile(block, "README.md", "exec"), known)
    assert known["better"].shape == known["image"].shape  # pyright: ignore
