"""States with a right checksum that say nonsense: one line, and no traceback."""

import json
from contextlib import suppress

import pytest
import torch
from latent_map.edict.latents_file import KIND, load_latents
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.state_file import load_state, save_state
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.result import Cancel
from latent_map.map_estimation.resume import STATE_KIND
from latent_map.map_estimation.settings import MapSettings

from .toys import PRIOR, ToyBackbone, edict, picture

TENSORS = {"x": torch.zeros(1, 48, 4, 4), "y": torch.zeros(1, 48, 4, 4), "picture": picture()}
METADATA = {
    "backbone": "pocket 2",
    "recipe": {"name": "pocket"},
    "options": {"steps": 6, "bijection": {"name": "edict"}},
}


def refused(path):
    with pytest.raises(ValueError, match=r"\.state") as caught:
        load_latents(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", [*TENSORS, "backbone", "options"])
def test_what_is_missing_is_refused(lost, tmp_path):
    path = tmp_path / "a.state"
    tensors = {k: v for k, v in TENSORS.items() if k != lost}
    save_state(path, KIND, tensors, {k: v for k, v in METADATA.items() if k != lost})
    refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": 3},
        {"recipe": {"name": []}},
        {"recipe": [1]},
        {"backbone": []},
        {"options": {"steps": [1]}},
    ],
)
def test_what_is_of_another_type_is_refused(changes, tmp_path):
    path = tmp_path / "a.state"
    save_state(path, KIND, TENSORS, METADATA | changes)
    refused(path)


def test_noise_that_is_no_number_is_refused(tmp_path):
    path = tmp_path / "a.state"
    save_state(path, KIND, TENSORS | {"x": TENSORS["x"] * float("nan")}, METADATA)
    refused(path)


@pytest.mark.parametrize("metadata", ["[]", "{}", "3", '"a"', "NaN"])
def test_metadata_that_is_no_table_is_refused(metadata, tmp_path):
    from latent_map.files import state_file
    from safetensors.torch import save_file

    path = tmp_path / "a.state"
    digest = state_file._digest(TENSORS, metadata)
    header = {"format": state_file.FORMAT, "metadata": metadata, "sha256": digest}
    save_file(TENSORS, path, header)
    json.loads(metadata)
    with pytest.raises(ValueError, match=r"a\.state"):
        load_state(path, KIND)


DAMAGE = {
    "lost": lambda _: None,
    "of another shape": lambda _: torch.zeros(3, 5),
    "no number": lambda tensor: (
        torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else None
    ),
    "of another type": lambda tensor: torch.zeros(tensor.shape, dtype=torch.int8),
    "huge": lambda _: torch.zeros(7, 11, 13),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_a_damaged_optimiser_s_state_ends_in_one_line(tmp_path, optimizer, damage):
    settings = MapSettings(inversion=edict(2), iterations=4, optimizer=optimizer, memory="store")

    def go_on(path, callback=None):
        measure = load_fidelity("low_resolution")
        return enhance(picture(), ToyBackbone(), PRIOR, measure, settings, callback, path)

    def stop(step):
        if step.row.iteration == 2:
            raise Cancel

    go_on(tmp_path / "whole.state", stop)
    tensors, metadata = load_state(tmp_path / "whole.state", STATE_KIND)
    names = [name for name in tensors if name.startswith("optimizer.")]
    assert names
    for number, name in enumerate(names):
        path = tmp_path / f"{number}.state"
        broken = DAMAGE[damage](tensors[name])
        rest = {key: value for key, value in tensors.items() if key != name}
        save_state(path, STATE_KIND, rest if broken is None else {**rest, name: broken}, metadata)
        with suppress(ValueError, RuntimeError):  # of which commands make one line
            go_on(path)
