"""Weight files fetched where the user is: the node, the script, the messages, the lists."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.files.weight_files import SCRIPT, WeightFile
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.loading import missing_prior

from .comfyui.write_catalogues import pages
from .simulated_comfyui import simulated_nodes

REPOSITORY = Path(__file__).resolve().parents[1]
FILE = "CNNIQA_koniq10k-e6f14c91.pth"


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """The nodes' modules, in a ComfyUI whose models/iqa is empty, on a machine without weights."""
    monkeypatch.setenv("LATENT_MAP_MODELS", str(tmp_path / "ours"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with simulated_nodes():
        folders = sys.modules["folder_paths"]
        folders.get_folder_paths = lambda _: [str(tmp_path / "models" / "iqa")]
        yield {
            name: sys.modules[f"latent_map.nodes.{name}"]
            for name in ("get_weights", "iqa_prior", "fidelity_loss", "weight_files")
        }


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A prior whose file is where a `file:` address says; the address."""
    (source := tmp_path / "served.pth").write_bytes(b"\x80\x02weights")
    file = WeightFile(FILE, 1, source.as_uri())
    monkeypatch.setitem(PRIORS, "cnniqa", replace(PRIORS["cnniqa"], files=(file,)))
    return file


def test_what_can_be_used_comes_first(nodes):
    options = nodes["weight_files"].marked(PRIORS, [])
    usable = [name for name, row in PRIORS.items() if not row.files and not row.packages]
    assert options[: len(usable)] == usable
    assert {nodes["weight_files"].unmarked(name) for name in options} == set(PRIORS)
    measures = nodes["weight_files"].marked(FIDELITIES, [])
    first_marked = next(i for i, name in enumerate(measures) if name.endswith(")"))
    assert all(name.endswith(")") for name in measures[first_marked:])


def test_what_needs_pyiqa_says_so_in_the_list(nodes, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    options = nodes["weight_files"].marked(PRIORS, [])
    assert {"piqe (needs pyiqa)", "dbcnn (needs pyiqa)"} <= set(options)
    assert "liqe (file missing)" in options
    assert nodes["weight_files"].unmarked("piqe (needs pyiqa)") == "piqe"


def test_a_tooltip_fits_a_screen(nodes):
    for module, node in (("iqa_prior", "IqaPrior"), ("fidelity_loss", "FidelityLoss")):
        schema = getattr(nodes[module], node).define_schema()
        assert all(len(item.as_dict()["tooltip"]) < 400 for item in schema.inputs)


def test_the_help_pages_hold_the_catalogues():
    for page, text in pages().items():
        assert page.read_text(encoding="utf-8") == text, f"{page.name}: run write_catalogues.py"


def test_the_message_has_address_file_folder_and_a_command_that_works(nodes, tmp_path):
    message = nodes["iqa_prior"].IqaPrior.validate_inputs(name="cnniqa (file missing)")
    (file,) = PRIORS["cnniqa"].files
    folder = tmp_path / "models" / "iqa"
    for word in (file.url, file.name, folder, "Get Weights", f'"{SCRIPT}" cnniqa --folder'):
        assert str(word) in message
    assert SCRIPT.is_file()
    assert nodes["iqa_prior"].IqaPrior.validate_inputs(name="pocket") is True


def test_the_node_fetches_what_is_chosen_and_then_it_can_be_used(nodes, served, tmp_path):
    node, folder = nodes["get_weights"].GetWeights, tmp_path / "models" / "iqa"
    choices = nodes["get_weights"]._choices()
    assert "prior: cnniqa" in choices
    assert node.validate_inputs(name="prior: cnniqa") is True
    (report,) = node.execute(name="prior: cnniqa")
    assert str(folder / FILE) in report
    assert "which is not pinned" in report
    assert "licence: pyiqa: noncommercial" in report
    assert missing_prior("cnniqa", [folder]) == ""
    assert nodes["get_weights"]._choices()[-1] == "prior: cnniqa (there)"
    assert node.validate_inputs(name="prior: cnniqa (there)") is True
    bars = sys.modules["comfy.utils"].ProgressBar.made
    assert bars[-1].values[-1] == bars[-1].total


def test_a_wrong_file_is_refused(nodes, served, tmp_path, monkeypatch):
    pinned = replace(PRIORS["cnniqa"], files=(served._replace(sha256="00ff"),))
    monkeypatch.setitem(PRIORS, "cnniqa", pinned)
    with pytest.raises(OSError, match="should begin with 00ff"):
        nodes["get_weights"].GetWeights.execute(name="prior: cnniqa")
    assert not (tmp_path / "models" / "iqa" / FILE).exists()


def test_an_interruption_leaves_what_came(nodes, served, tmp_path, monkeypatch):
    class Interrupted(Exception):
        """As ComfyUI's."""

    def interrupt():
        raise Interrupted

    management = sys.modules["comfy.model_management"]
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", interrupt)
    with pytest.raises(Interrupted):
        nodes["get_weights"].GetWeights.execute(name="prior: cnniqa")
    assert [path.name for path in (tmp_path / "models" / "iqa").iterdir()] == [FILE + ".part"]


def test_a_name_that_is_none_is_refused(nodes):
    assert "no files are known" in nodes["get_weights"].GetWeights.validate_inputs(name="prior: x")


# The script, in a folder of any name among ComfyUI's custom nodes.


@pytest.fixture
def script(tmp_path):
    """download.py of the pack, installed as a custom node under a name of its own."""
    (installed := tmp_path / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    (installed / "any-name 2").symlink_to(REPOSITORY)
    return installed / "any-name 2" / "download.py"


def run_script(script: Path, *arguments: str) -> subprocess.CompletedProcess:
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=bare,
    )


def test_the_script_lists_what_there_is(script):
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert "liqe_mix" in done.stdout
    assert "lpips" in done.stdout
    assert "ms_liqe" not in done.stdout  # nobody publishes it


def test_the_script_puts_files_into_comfyuis_models_folder(script):
    """What is there already is checked: here a file that is none, since nothing is fetched."""
    folder = script.parents[2] / "models" / "iqa"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"")
    done = run_script(script, "cnniqa")
    assert done.returncode == 3
    assert f"{folder / FILE} is not the file" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_script_says_what_it_does_not_know(script):
    done = run_script(script, "pocket")
    assert done.returncode == 2
    assert "nothing to fetch" in done.stderr
