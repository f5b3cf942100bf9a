"""What the ComfyUI registry asks of the pack, and what an install from it must hold."""

import json
import subprocess
from pathlib import Path

import pytest
from latent_map.files.toml_files import parse_toml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = parse_toml(ROOT / "pyproject.toml", "project", "restore it")
COMFY = PROJECT["tool"]["comfy"]
OF_0_1 = {  # whoever saved a workflow with version 0.1 has nodes of these ids
    "DLM_PostEnhance",
    "DLM_LoadBackbone",
    "DLM_BackboneFromModel",
    "DLM_EdictInvert",
    "DLM_LatentMapOptimizer",
    "DLM_EdictReconstruct",
    "DLM_IqaPrior",
    "DLM_CombinePriors",
    "DLM_FidelityLoss",
    "DLM_IqaScore",
}


def left_out(path: str) -> bool:
    """Whether .comfyignore, which git reads as its own, leaves a file out."""
    command = ["git", "-c", f"core.excludesFile={ROOT / '.comfyignore'}", "check-ignore", "-q"]
    done = subprocess.run([*command, "--no-index", path], cwd=ROOT, check=False)
    return done.returncode == 0


def test_the_pack_says_where_it_lives():
    """Their form, and that the pictures are there; the addresses are assumed: none is visited."""
    urls = PROJECT["project"]["urls"]
    assert urls["Repository"].startswith("https://")
    assert all(url.startswith("https://") for url in urls.values())
    for picture in (COMFY["Icon"], COMFY["Banner"]):
        place = picture.partition("/main/")[2]
        assert (ROOT / place).is_file(), place


def test_the_pack_is_named_and_says_which_core_it_needs():
    assert "comfyui" not in PROJECT["project"]["name"].lower()
    assert COMFY["PublisherId"]
    assert COMFY["requires-comfyui"] == ">=0.3.64"


def test_folders_that_are_named_exist():
    assert [name for name in COMFY["includes"] if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "path",
    [
        "__init__.py",
        "requirements.txt",
        "docs/sample.png",
        "web/docs/DLM_PostEnhance.md",
        "workflows/Enhance a picture.json",
        "workflows/Enhance a picture.jpg",
        "edict/backbones/pocket/denoiser.safetensors",
        "iqa_priors/pocket_prior.safetensors",
        "map_estimation/enhance.py",
    ],
)
def test_what_nodes_need_is_in_the_archive(path):
    assert (ROOT / path).is_file()
    assert not left_out(path)


def test_what_they_do_not_need_is_left_out():
    assert left_out("tests/test_edict.py")
    assert left_out("docs/sample_sheet.png")


def test_nodes_are_marked_as_experimental_until_1_0():
    nodes = json.loads((ROOT / "tests" / "data" / "object_info.json").read_text())["nodes"]
    before_1_0 = PROJECT["project"]["version"].startswith("0.")
    assert {node["experimental"] for node in nodes.values()} == {before_1_0}


def test_every_node_of_version_0_1_is_still_there():
    nodes = json.loads((ROOT / "tests" / "data" / "object_info.json").read_text())["nodes"]
    assert set(nodes) >= OF_0_1


@pytest.mark.parametrize(
    "workflow", sorted((ROOT / "workflows").glob("*.json")), ids=lambda p: p.stem
)
def test_templates_ask_for_this_version(workflow):
    """ComfyUI's managers install the version that a workflow's nodes name."""
    nodes = json.loads(workflow.read_text(encoding="utf-8"))["nodes"]
    versions = {
        node["properties"]["ver"]
        for node in nodes
        if node["properties"].get("cnr_id") == PROJECT["project"]["name"]
    }
    assert versions == {PROJECT["project"]["version"]}
