"""Checkpoints of all layouts, and what is said of those that cannot work."""

import json
from pathlib import Path

import pytest
import torch
from latent_map.edict.backbones.stable_diffusion.backbone import (
    find_diffusers,
    load_diffusers,
)
from latent_map.edict.backbones.stable_diffusion.options import DiffusersOptions
from latent_map.edict.backbones.stable_diffusion.schedule import noise_levels
from safetensors.torch import load_file, save_file

from . import tiny_diffusers as tiny
from .tiny_pictures import inverted, load


def test_v_prediction_is_recognised_in_single_files(models, tmp_path):
    def predicted(path, **options):
        scheduler = find_diffusers(DiffusersOptions(str(path), **options)).base.scheduler
        return noise_levels(scheduler, path)[1]

    assert predicted(models / "sd2_v.safetensors") == "v"
    assert predicted(models / "sd2.safetensors") == "eps"
    assert predicted(models / "sd2.safetensors", prediction="v") == "v"
    tensors = load_file(models / "sd2.safetensors")
    name = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias"
    assert name in tensors
    tensors[name] *= 0.2 / tensors[name].std()
    save_file(tensors, tmp_path / "a.safetensors")
    assert predicted(tmp_path / "a.safetensors") == "v"
    assert predicted(tmp_path / "a.safetensors", prediction="eps") == "eps"


# Files that cannot work


def refused(path, *words, **options):
    with pytest.raises(ValueError, match=r"\w") as caught:
        find_diffusers(DiffusersOptions(str(path), **options))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def broken(folder: Path, name: str, content: bytes | None) -> Path:
    """A folder with one file replaced, or deleted."""
    tiny.write_folder(folder, tiny.SD15)
    file = folder / name
    file.unlink() if content is None else file.write_bytes(content)
    return folder


UNET = "unet/diffusion_pytorch_model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3463726504\n"
BROKEN = {
    "a file is missing": (UNET, None, "no weights in"),
    "a pointer": (UNET, POINTER, "git lfs pull"),
    "a web page": (UNET, b"<!DOCTYPE html><html>", "web page"),
    "empty": (UNET, b"", "empty"),
    "a pickle with the wrong name": (UNET, b"PK\3\4" + bytes(600), "pickle"),
    "something else": (UNET, bytes(range(256)) * 9, "no safetensors"),
    "no index": ("model_index.json", None, "model_index.json is missing"),
    "a damaged index": ("model_index.json", b"{", "is damaged"),
    "no configuration": ("vae/config.json", None, "config.json is missing"),
    "another network": ("unet/config.json", b'{"_class_name": "FluxTransformer2DModel"}', "Flux"),
    "no network": (
        "unet/config.json",
        b'{"_class_name": "UNet2DConditionModel", "down_block_types": ["X"],'
        b' "cross_attention_dim": 64}',
        "can be built",
    ),
    "no vocabulary": ("tokenizer/vocab.json", None, "vocab.json"),
    "no scheduler": ("scheduler/scheduler_config.json", None, "scheduler_config.json is missing"),
    "another scheduler": (
        "scheduler/scheduler_config.json",
        b'{"prediction_type": "flow"}',
        "flow",
    ),
}


@pytest.mark.parametrize(("name", "content", "word"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_named(models, tmp_path, name, content, word):
    refused(broken(tmp_path / "model", name, content), "model", word)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.9999])
@pytest.mark.parametrize("layout", ["folder", "single"])
def test_a_truncated_file_is_told_with_its_size(models, tmp_path, share, layout):
    whole = models / "sd15" / UNET if layout == "folder" else models / "sd15.safetensors"
    content = whole.read_bytes()
    content = content[: int(share * len(content))]
    path = tmp_path / "cut.safetensors"
    if layout == "folder":
        path = broken(tmp_path / "model", UNET, content)
    else:
        path.write_bytes(content)
    refused(path, "cut off", str(len(content)), "fetch it again")


def test_a_missing_folder_is_named(models, tmp_path):
    tiny.write_folder(tmp_path / "model", tiny.SD15)
    (tmp_path / "model" / "vae").rename(tmp_path / "vae")
    refused(tmp_path / "model", "vae is missing")
    refused(tmp_path / "nowhere", "no checkpoint at", "model_index.json")
    (tmp_path / "plain").mkdir()
    refused(tmp_path / "plain", "model_index.json is missing", "diffusers folder")


def test_weights_of_another_architecture_are_refused(models, tmp_path):
    folder = tmp_path / "model"
    content = (models / "sd2" / UNET).read_bytes()
    refused(broken(folder, UNET, content), "does not fit this UNet", "instead of")


def test_weights_that_are_not_finite_are_named(models, tmp_path):
    tensors = load_file(models / "sd15" / UNET)
    tensors["conv_in.bias"][0] = float("nan")
    tiny.write_folder(tmp_path / "model", tiny.SD15)
    save_file(tensors, tmp_path / "model" / UNET)
    with pytest.raises(ValueError, match=r"conv_in.bias has NaN"):
        load_diffusers(path=tmp_path / "model")


class Harmful:
    def __reduce__(self):
        return print, ("this code ran",)


def test_pickles_are_read_only_as_weights(models, tmp_path, capsys):
    tensors = load_file(models / "sd15" / UNET)
    folder = broken(tmp_path / "model", UNET, None)
    pickle = (folder / UNET).with_suffix(".bin")
    torch.save(tensors, pickle)
    expected = inverted(load(models, "sd15")).noise.x
    assert torch.equal(inverted(load_diffusers(path=folder)).noise.x, expected)
    torch.save({**tensors, "extra": Harmful()}, pickle)
    refused(folder, str(pickle), "could run its code")
    assert "this code ran" not in capsys.readouterr().out
    pickle.write_bytes(pickle.read_bytes()[:5000])
    refused(folder, str(pickle), "fetch it again")


def test_sharded_weights_are_joined(models, tmp_path):
    tensors = load_file(models / "sd15" / UNET)
    folder = broken(tmp_path / "model", UNET, None)
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in shards.items():
        save_file({name: tensors[name] for name in own}, folder / "unet" / file)
    index = {"weight_map": {name: file for file, own in shards.items() for name in own}}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))
    expected = inverted(load(models, "sd15")).noise.x
    assert torch.equal(inverted(load_diffusers(path=folder)).noise.x, expected)


@pytest.mark.parametrize(
    ("prefix", "word"),
    [
        ("model.diffusion_model.", "no diffusion network"),
        ("first_stage_model.", "no autoencoder"),
        ("cond_stage_model.", "no text encoder"),
        ("model.diffusion_model.input_blocks.1.0.", "is missing"),
    ],
)
def test_an_incomplete_single_file_is_named(models, tmp_path, prefix, word):
    tensors = load_file(models / "sd15.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    save_file(kept, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "a.safetensors", word)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"edm_mean": torch.zeros(1)}, "EDM"),
        ({"model.diffusion_model.joint_blocks.0.weight": torch.zeros(1)}, "flow model"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}, "inpainting"),
        ({"model.diffusion_model.extra": torch.zeros(1)}, "extra is not part of it"),
        ({"model.diffusion_model.label_emb.0.0.weight": torch.zeros(128, 80)}, "refiner"),
    ],
)
def test_single_files_of_other_models_are_refused_by_name(models, tmp_path, changes, word):
    save_file(load_file(models / "sd15.safetensors") | changes, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "a.safetensors", word)


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("unet", {"in_channels": 8}, "editing model"),
        ("unet", {"class_embed_type": "projection"}, "class_embed_type"),
        ("unet", {"addition_embed_type": "text_time"}, "refiner"),
        ("unet", {"cross_attention_dim": 48}, "of width 64"),
        ("vae", {"latents_mean": [0.0, 0.0, 0.0, 0.0]}, "latents_mean"),
    ],
)
def test_folders_of_other_models_are_refused_by_name(tmp_path, name, changes, word):
    folder = tiny.write_folder(tmp_path / "model", tiny.SD15)
    config = folder / name / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    refused(folder, str(folder), word)


def test_files_of_other_kinds_are_refused(models, tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    refused(tmp_path / "a.gguf", ".safetensors")
    refused(models / "sd15_ldm.safetensors", "no diffusion network")


def with_image_attention(source: Path, target: Path) -> Path:
    """A network file with tensors named as SeeSR's."""
    tensors = load_file(source)
    tensors |= {
        name.replace(".attentions.", ".image_attentions."): tensor.clone()
        for name, tensor in tensors.items()
        if ".attentions." in name
    }
    save_file(tensors, target)
    return target


@pytest.mark.parametrize("which", ["unet", "controlnet folder", "controlnet file"])
def test_seesr_s_networks_are_not_loaded_without_their_image_attention(models, tmp_path, which):
    model, control = models / "sd15", ""
    weights = "diffusion_pytorch_model.safetensors"
    if which == "unet":
        model = tmp_path / "model"
        tiny.write_folder(model, tiny.SD15)
        with_image_attention(models / "sd15" / UNET, model / UNET)
    elif which == "controlnet folder":
        control = tiny.write_controlnet(tmp_path / "control", tiny.SD15)
        with_image_attention(models / "sd15_control" / weights, control / weights)
    else:
        file = models / "sd15_diffusers.safetensors"
        control = with_image_attention(file, tmp_path / "control.safetensors")
    refused(model, "image_attentions", "seesr backbone", controlnet=str(control))


def test_a_controlnet_that_cannot_work_is_refused(models, tmp_path):
    def refused_control(path, *words):
        refused(models / "sd15", *words, controlnet=str(path))

    refused_control(tmp_path / "nowhere.safetensors", "no ControlNet at")
    refused_control(models / "sdxl_control", "text width 128 instead of 64", "family")
    refused_control(models / "sdxl_ldm.safetensors", "text width 128 instead of 64")
    refused_control(models / "sd15.safetensors", "no ControlNet")
    refused_control(models / "sd15" / "vae", "AutoencoderKL", "ControlNetModel is needed")
    tensors = load_file(models / "sd15_ldm.safetensors")
    save_file(tensors | {"control_model.task_embedding": torch.ones(1)}, tmp_path / "u.safetensors")
    refused_control(tmp_path / "u.safetensors", "union")
    tensors.pop("control_model.zero_convs.1.0.weight")
    save_file(tensors, tmp_path / "m.safetensors")
    refused_control(tmp_path / "m.safetensors", "controlnet_down_blocks.1.weight is missing")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cfg": float("nan")}, "cfg"),
        ({"control_strength": float("inf")}, "control_strength"),
        ({"dtype": "int8"}, "choose auto"),
        ({"prediction": "flow"}, "choose auto, eps or v"),
    ],
)
def test_options_that_cannot_work_are_refused(models, options, word):
    with pytest.raises(ValueError, match=word):
        load(models, "sd15", **options)


def test_a_prompt_for_a_single_file_needs_a_tokenizer(models):
    with pytest.raises(ValueError, match="leave the prompt empty"):
        load(models, "sd15.safetensors", prompt="a photo")
