"""States with a right checksum that say nonsense: one line, and no traceback."""

import json

import pytest
import torch
from latent_map.edict.latents_file import KIND, load_latents
from latent_map.files.state_file import load_state, save_state

from .toys import picture

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
