"""Interrupted runs of version 0.1 go on; test_enhance.py has those of today."""

from pathlib import Path

import pytest
import torch
from latent_map.edict.bijections.bdia import BdiaOptions
from latent_map.edict.inversion_options import InversionOptions, describe_options, options_from
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.state_file import load_state, save_state
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.resume import STATE_KIND
from latent_map.map_estimation.settings import MapSettings
from safetensors.torch import load_file

from .toys import PRIOR, ToyBackbone, edict, picture

# Interrupted at iteration 2, and the whole run's result, both made by version 0.1 with the toys.
DATA = Path(__file__).parent / "data" / "states_0_1"
RUNS = {
    "edict": {"inversion": edict(3), "optimizer": "adam"},
    "bdia": {
        "inversion": InversionOptions(3, bijection=BdiaOptions(0.9)),
        "optimizer": "lbfgs",
    },
    "no_fidelity": {
        "inversion": edict(3, 0.9, "alternate"),
        "optimizer": "adam",
        "use_fidelity": False,
    },
}
SAME = 1e-12  # float64; another machine's convolutions may add up in another order


def resume(path, **chosen):
    settings = MapSettings(iterations=5, learning_rate=0.02, memory="store", **chosen)
    fidelity = load_fidelity("low_resolution", reduction="mse")
    return enhance(picture(), ToyBackbone(), PRIOR, fidelity, settings, state=path)[0]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_version_0_1_goes_on_to_the_same_end(name, tmp_path):
    path = tmp_path / "run.state"
    path.write_bytes((DATA / f"{name}.state").read_bytes())
    wanted = load_file(DATA / f"{name}.safetensors")
    result = resume(path, **RUNS[name])
    energies = torch.tensor([row.energy for row in result.trace], dtype=torch.float64)
    torch.testing.assert_close(energies, wanted["energies"], rtol=SAME, atol=SAME)
    torch.testing.assert_close(result.x, wanted["x"])
    assert not path.exists()


def test_a_run_of_version_0_1_with_other_settings_is_refused(tmp_path):
    path = tmp_path / "run.state"
    path.write_bytes((DATA / "bdia.state").read_bytes())
    other = InversionOptions(3, bijection=BdiaOptions(0.8))
    with pytest.raises(ValueError, match="different settings"):
        resume(path, inversion=other, optimizer="lbfgs")


@pytest.mark.parametrize("settings", [None, 7, {}, {"inversion": {"steps": 3, "coupling": "x"}}])
def test_a_state_that_describes_no_run_is_refused(settings, tmp_path):
    path = tmp_path / "run.state"
    tensors, description = load_state(DATA / "edict.state", STATE_KIND)
    save_state(path, STATE_KIND, tensors, {**description, "settings": settings})
    with pytest.raises(ValueError, match=r"no state of a run .*: delete it|different settings"):
        resume(path, **RUNS["edict"])


@pytest.mark.parametrize("options", [run["inversion"] for run in RUNS.values()])
def test_described_options_are_read_again(options):
    assert options_from(describe_options(options)) == options


@pytest.mark.parametrize(
    "described",
    [
        {"steps": "many"},
        {"height": 3},
        {"bijection": {"name": "belm"}},
        {"bijection": {"name": "obelm", "gamma": 1}},
        {"bijection": 3},
        {"bijection": {}},
    ],
)
def test_what_describes_no_options_is_refused(described):
    with pytest.raises(ValueError, match=r"\w"):
        options_from(described)


@pytest.mark.parametrize("lost", ["variable.1", "variable.0", "trace", "best.images"])
def test_a_state_that_is_not_whole_is_refused_in_one_line(lost, tmp_path):
    path = tmp_path / "run.state"
    tensors, description = load_state(DATA / "edict.state", STATE_KIND)
    tensors.pop(lost)
    if lost == "best.images":
        tensors["iteration"] = torch.tensor(-3)
    save_state(path, STATE_KIND, tensors, description)
    with pytest.raises(ValueError, match=r"start anew|run.state") as caught:
        resume(path, **RUNS["edict"])
    assert "\n" not in str(caught.value)
