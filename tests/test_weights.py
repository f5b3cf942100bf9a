import pytest
import torch
from latent_map.edict.backbones.pocket import backbone as pocket
from latent_map.edict.backbones.pocket.network import PocketNetwork
from latent_map.files.weights import load_module, read_tensors, what_is_wrong
from safetensors.torch import save, save_file
from torch import nn


@pytest.fixture(scope="module")
def whole():
    """What a pocket denoiser's file holds, with random weights."""
    torch.manual_seed(0)
    tensors = {f"network.{k}": v for k, v in PocketNetwork().state_dict().items()}
    tensors["correction_scale"] = torch.tensor(0.05)
    tensors["condition_mean"] = torch.zeros(48)
    tensors["condition_deviation"] = torch.ones(48)
    return tensors


def refused(path, *words):
    with pytest.raises(ValueError, match=path.name) as caught:
        pocket.load_pocket(weights=path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    for word in words:
        assert word in text


def changed(whole, path, **changes):
    tensors = whole | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    return path


def test_whole_weights_are_loaded_frozen(whole, tmp_path):
    save_file(whole, tmp_path / "a.safetensors")
    backbone = pocket.load_pocket(weights=tmp_path / "a.safetensors")
    state = backbone.network.state_dict()
    assert all(torch.equal(whole[f"network.{name}"], tensor) for name, tensor in state.items())
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    assert not backbone.network.training


def test_half_precision_weights_are_loaded_as_float32(tmp_path):
    module = load_module(
        nn.Linear(2, 1), {"a.weight": torch.ones(1, 2).half(), "a.bias": torch.ones(1)}, "a.", "f"
    )
    assert module.weight.dtype == torch.float32


def test_missing_weights_are_named(tmp_path):
    refused(tmp_path / "a.safetensors", "no pocket denoiser", "restore")
    refused(tmp_path, "restore")


@pytest.mark.parametrize("share", [0, 0.00001, 0.001, 0.5, 0.999999])
def test_truncated_weights_are_named(whole, tmp_path, share):
    content = save(whole)
    (tmp_path / "a.safetensors").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "a.safetensors", "damaged", "restore")


@pytest.mark.parametrize("content", [b"no weights at all", b"\0" * 64, b"PK\3\4" + bytes(500)])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors", "damaged", "restore")


def test_a_wrong_shape_is_named(whole, tmp_path):
    path = changed(whole, tmp_path / "a.safetensors", network__first__weight=torch.ones(64, 3))
    refused(path, "network.first.weight", "(64, 3)", "restore")


def test_a_missing_tensor_is_named(whole, tmp_path):
    path = changed(whole, tmp_path / "a.safetensors", network__first__weight=None)
    refused(path, "network.first.weight", "missing")


def test_another_architecture_is_named(tmp_path):
    other = {f"network.layer{i}.weight": torch.ones(3, 3) for i in range(300)}
    save_file(other, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "does not fit this network", "restore")


def test_the_denoiser_of_version_0_1_is_named(whole, tmp_path):
    old = {
        "network__conv_in__weight": torch.ones(64, 96, 3, 3),
        "restorer__last__bias": torch.ones(48),
    }
    path = changed(whole, tmp_path / "a.safetensors", **old)
    refused(path, "version 0.1", "restore")


def test_a_tensor_too_many_is_named(whole, tmp_path):
    path = changed(whole, tmp_path / "a.safetensors", network__extra=torch.ones(3))
    refused(path, "network.extra", "not part of it")


def test_weights_that_are_not_finite_are_named(whole, tmp_path):
    bias = whole["network.first.bias"].clone()
    bias[3] = float("nan")
    path = changed(whole, tmp_path / "a.safetensors", network__first__bias=bias)
    refused(path, "network.first.bias", "NaN")


@pytest.mark.parametrize("name", ["correction_scale", "condition_mean", "condition_deviation"])
@pytest.mark.parametrize("value", [None, torch.tensor(float("nan")), torch.ones(5)])
def test_unusable_constants_are_named(whole, tmp_path, name, value):
    refused(changed(whole, tmp_path / "a.safetensors", **{name: value}), name, "restore")


def test_reading_says_what_was_wanted(tmp_path):
    with pytest.raises(ValueError, match="no quality model"):
        read_tensors(tmp_path / "a.safetensors", "quality model")


def test_no_header_is_taken_for_a_pickle(tmp_path):
    """One safetensors header in 32 has a length that begins with a pickle's first byte."""
    lengths = set()
    for padding in range(0, 256, 8):
        file = tmp_path / "weights.safetensors"
        file.write_bytes(save({"x": torch.zeros(2)}, {"padding": "." * padding}))
        lengths.add(file.read_bytes()[0])
        assert what_is_wrong(file) is None
    assert 0x80 in lengths
