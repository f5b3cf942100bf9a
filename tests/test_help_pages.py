"""The nodes' help pages: in each language they speak of the widgets that are there."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "web" / "docs"
NODES = json.loads((ROOT / "tests" / "data" / "object_info.json").read_text())["nodes"]
EXPLAINED_IN_CHINESE = {
    "DLM_EdictInvert",
    "DLM_EdictReconstruct",
    "DLM_FidelityLoss",
    "DLM_IqaPrior",
    "DLM_LatentMapOptimizer",
    "DLM_PostEnhance",
}
WIDTH = 40  # characters of code in ComfyUI's panel; the rest of a longer line is cut off
BOLD = re.compile(r"\*\*([a-z][a-z_0-9 +-]*)\*\*")


def known() -> set[str]:
    """Names of inputs, of what can be chosen in them, and of outputs, of all nodes."""
    words = set()
    for node in NODES.values():
        words.update(node["output_name"])
        for name, _, options in (entry for group in node["inputs"].values() for entry in group):
            words.add(name)
            words.update(map(str, options.get("options", ())))
    return words | {word.split(" (")[0] for word in words}  # "lpips (file missing)"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*/*.md")), ids=lambda path: path.parent.name)
def test_a_page_speaks_of_the_same_widgets_as_the_english_one(page):
    """Its place is what ComfyUI asks for first: NODE_ID/LANGUAGE.md."""
    assert (ROOT / "locales" / page.stem).is_dir()
    english = page.parent.with_suffix(".md").read_text(encoding="utf-8")
    words = set(BOLD.findall(page.read_text(encoding="utf-8")))
    assert words <= known()
    assert words >= set(BOLD.findall(english)) & known()


def test_the_main_nodes_are_explained_in_chinese():
    assert {page.parent.name for page in DOCS.glob("*/zh.md")} >= EXPLAINED_IN_CHINESE


@pytest.mark.parametrize("page", sorted(DOCS.glob("**/*.md")), ids=lambda path: path.stem)
def test_code_fits_into_the_panel(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("    ") and len(line) - 4 > WIDTH] == []
