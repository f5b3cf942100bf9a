"""Damaged and crafted model files: one line that names the file, soon, and in little memory."""

import json
import os
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch
from latent_map.edict.backbones.stable_diffusion.backbone import find_diffusers, load_diffusers
from latent_map.edict.backbones.stable_diffusion.options import DiffusersOptions
from latent_map.edict.backbones.stable_diffusion.schedule import noise_levels
from latent_map.edict.backbones.stable_diffusion.text import tokenise
from latent_map.fidelity.vae_features import load_vae_encoder
from latent_map.files import own_files
from latent_map.files.own_files import OWN, PACK, check_own
from latent_map.files.weights import find_tensors, read_finite
from latent_map.iqa_priors.arniqa import read_linear
from safetensors.torch import load_file, save, save_file

from . import tiny_diffusers as tiny
from .tiny_pictures import inverted, load
from .told import SECONDS, told

DATA = Path(__file__).parent / "data" / "model_files"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("folder") / "sd15", tiny.SD15)


def use(path, **options):
    """Find a checkpoint and encode a prompt with its tokenizers."""
    assembly = find_diffusers(DiffusersOptions(str(path), **options))
    noise_levels(assembly.base.scheduler, path)
    return [tokenise(text, ["a photo", ""]) for text in assembly.base.text]


# What was found by others

PLACES = {  # of a diffusers folder, by what the file holds
    "UNet2DConditionModel": ["unet/config.json"],
    "AutoencoderKL": ["vae/config.json"],
    "latent_channels": ["vae/config.json"],
    "CLIPTextModel": ["text_encoder/config.json"],
    "architectures": ["text_encoder/config.json"],
    "DDIMScheduler": ["scheduler/scheduler_config.json"],
    "StableDiffusionPipeline": ["model_index.json"],
    "weight_map": ["unet/diffusion_pytorch_model.safetensors.index.json"],
    "1000000": ["tokenizer/vocab.json"],
    "#version": ["tokenizer/merges.txt"],
    "bos_token": ["tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json"],
}
EVERYWHERE = [place for places in PLACES.values() for place in places]


def recorded():
    for file in sorted(DATA.glob("*")):
        if file.name.startswith("diffusers") or file.suffix == ".txt":
            text = file.read_text(errors="replace")
            yield file, next((v for k, v in PLACES.items() if k in text), EVERYWHERE)


@pytest.mark.parametrize(("file", "places"), recorded(), ids=lambda v: getattr(v, "name", ""))
def test_a_recorded_file_in_a_folder_is_told_or_used(folder, tmp_path, file, places):
    for number, place in enumerate(places):
        broken = tmp_path / str(number)
        shutil.copytree(folder, broken, copy_function=os.link)
        if "index" in place:
            (broken / "unet/diffusion_pytorch_model.safetensors").unlink()
        (broken / place).unlink(missing_ok=True)
        shutil.copy(file, broken / place)
        begin = time.process_time()
        try:
            use(broken)
        except ValueError as error:
            assert str(broken) in str(error)  # noqa: PT017 - some are harmless where they are
            assert "\n" not in str(error)  # noqa: PT017
        assert time.process_time() - begin < SECONDS


@pytest.mark.parametrize("file", sorted(DATA.glob("controlnet_*")), ids=lambda f: f.name)
def test_a_recorded_controlnet_is_told(folder, tmp_path, file):
    control = tiny.write_controlnet(tmp_path / "control", tiny.SD15)
    shutil.copy(file, control / "config.json")
    told(lambda: use(folder, controlnet=str(control)), str(control))


@pytest.mark.parametrize("file", sorted(DATA.glob("vae_*")), ids=lambda f: f.name)
def test_a_recorded_vae_is_told(folder, tmp_path, file):
    shutil.copytree(folder / "vae", tmp_path / "vae")
    shutil.copy(file, tmp_path / "vae" / "config.json")
    told(lambda: load_vae_encoder(tmp_path), str(tmp_path / "vae"))


@pytest.mark.parametrize("file", sorted(DATA.glob("*.safetensors")), ids=lambda f: f.name)
def test_a_recorded_header_is_told(file):
    told(lambda: find_tensors(file, "checkpoint"), file.name, "its header is damaged")


def test_a_memo_is_no_larger_than_its_pickle():
    file = DATA / "torchscript_memo_bomb.pth"
    told(lambda: read_linear(file, 4096), file.name, "memo", "fetch it again")


# JSON


@pytest.mark.parametrize(
    ("place", "changes", "words"),
    [
        ("unet/config.json", {"layers_per_block": 10**9}, "layers_per_block is 1000000000"),
        ("unet/config.json", {"layers_per_block": True}, "a whole number from 1"),
        ("unet/config.json", {"norm_eps": "1e-5"}, "norm_eps is '1e-5'"),
        ("unet/config.json", {"transformer_layers_per_block": 64}, "asks for more than"),
        ("unet/config.json", {"block_out_channels": [32, float("nan")]}, "block_out_channels"),
        ("unet/config.json", {"sample_size": 1e300}, "sample_size"),
        ("vae/config.json", {"scaling_factor": 0}, "scaling_factor is 0"),
        ("vae/config.json", {"scaling_factor": float("inf")}, "scaling_factor is inf"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**12}, "num_hidden_layers"),
        ("scheduler/scheduler_config.json", {"beta_start": "0.00085"}, "beta_start is '0.00085'"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 1e9}, "num_train_timesteps"),
        ("scheduler/scheduler_config.json", {"trained_betas": [1.5]}, "trained_betas"),
        ("model_index.json", {"text_encoder_2": {"a": 1}}, "text_encoder_2"),
    ],
)
def test_an_entry_that_cannot_be_is_named(folder, tmp_path, place, changes, words):
    broken = Path(shutil.copytree(folder, tmp_path / "model"))
    content = json.loads((broken / place).read_text())
    (broken / place).write_text(json.dumps(content | changes))
    told(lambda: use(broken), place.rpartition("/")[2] if "asks" not in words else "model", words)


@pytest.mark.parametrize(
    "name", ["../a.safetensors", "/etc/passwd", "..\\a.safetensors", "", "a/b"]
)
def test_shards_stay_in_their_folder(folder, tmp_path, name):
    broken = Path(shutil.copytree(folder, tmp_path / "model"))
    (broken / "unet/diffusion_pytorch_model.safetensors").rename(broken / "a.safetensors")
    index = {"weight_map": {"conv_in.weight": name}}
    (broken / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    told(lambda: use(broken), "index.json", "not in its folder")


# Tensors


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_weights_that_are_no_fractions_are_refused(folder, tmp_path, dtype, suffix):
    broken = Path(shutil.copytree(folder, tmp_path / "model"))
    file = broken / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.bias"] = torch.ones(tensors["conv_in.bias"].shape).to(dtype)
    file.unlink()
    if suffix == ".bin":
        torch.save(tensors, file.with_suffix(".bin"))
    else:
        save_file(tensors, file)
    told(lambda: use(broken), "conv_in.bias", str(dtype).removeprefix("torch."))


def header(entries: dict, size: int = 64) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


@pytest.mark.parametrize(
    "content",
    [
        header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, "x"]}}),
        header({"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 16]}}),
        header({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}),
        header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 62]}}),
        header({"a": {"dtype": "F3", "shape": [4], "data_offsets": [0, 16]}}),
        header({"a": [1]}),
        header({"__metadata__": {"a": 1}}),
        struct.pack("<Q", 1 << 60) + b"{" + bytes(100),
        struct.pack("<Q", 9_000_000) + b"{" + b" " * 9_000_000,
    ],
)
def test_headers_are_not_believed(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    told(lambda: find_tensors(tmp_path / "a.safetensors", "checkpoint"), "a.safetensors", "fetch")


# The pack's own


def test_the_packs_own_files_are_those_that_are_known():
    found = {p.relative_to(PACK).as_posix() for p in PACK.glob("*/**/*.safetensors")}
    found = {n for n in found if not n.startswith(("tests/", "out/", "runs/", ".", "build/"))}
    assert found == OWN.keys()
    for name in OWN:
        check_own(PACK / name)


def test_a_changed_file_of_the_pack_is_refused(tmp_path, monkeypatch):
    from latent_map.iqa_priors import pocket

    monkeypatch.setattr(own_files, "PACK", tmp_path)
    file = tmp_path / "iqa_priors" / "pocket_prior.safetensors"
    file.parent.mkdir()
    content = bytearray(pocket.WEIGHTS.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr(pocket, "WEIGHTS", file)
    told(pocket.load_pocket_calibration, "pocket_prior.safetensors", "sha256", "restore the file")


# Tokenizers, predictions, relatives


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_tokenizer_json_alone_is_enough(models, tmp_path, family):
    from transformers import CLIPTokenizer

    changed = Path(shutil.copytree(models / family, tmp_path / "model"))
    for place in sorted(changed.glob("tokenizer*")):
        tokenizer = CLIPTokenizer.from_pretrained(place)
        shutil.rmtree(place)
        tokenizer.save_pretrained(place)
        (place / "vocab.json").unlink(missing_ok=True)
        (place / "merges.txt").unlink(missing_ok=True)
        assert (place / "tokenizer.json").is_file()
    expected = inverted(load(models, family, prompt="a photo")).noise.x
    assert torch.equal(inverted(load_diffusers(path=changed, prompt="a photo")).noise.x, expected)


def prediction(path, **options):
    scheduler = find_diffusers(DiffusersOptions(str(path), **options)).base.scheduler
    return noise_levels(scheduler, path)[1]


def test_v_prediction_is_read_where_it_is_said(models, tmp_path):
    tensors, path = load_file(models / "sd15.safetensors"), tmp_path / "a.safetensors"
    for said, predicted in {"v": "v", "epsilon": "eps", "v_prediction": "v"}.items():
        save_file(tensors, path, {"modelspec.prediction_type": said})
        assert prediction(path) == predicted
        assert prediction(path, prediction="eps") == "eps"
    save_file(tensors, path, {"modelspec.prediction_type": "rectified_flow"})
    told(lambda: prediction(path), "a.safetensors", "rectified_flow")
    assert prediction(path, prediction="v") == "v"
    save_file(tensors, path)
    assert prediction(path) == "eps"
    path.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"  # said\n')
    assert prediction(path) == "v"


def test_controlnets_that_see_no_picture_are_refused_by_name(folder, tmp_path):
    from diffusers import ControlNetModel

    shared = tiny.shared_config(tiny.SD15)
    for channels in (1, 4, 6):
        control = tmp_path / f"controlnet{channels}"
        ControlNetModel(
            **shared,
            conditioning_embedding_out_channels=(4, 4, 4, 8),
            conditioning_channels=channels,
        ).save_pretrained(control)
        told(lambda c=control: use(folder, controlnet=str(c)), str(control), f"sees {channels} ch")


def test_a_token_that_the_text_encoder_does_not_know_is_named(folder, tmp_path):
    changed = Path(shutil.copytree(folder, tmp_path / "model"))
    words = len(json.loads((changed / "tokenizer/vocab.json").read_text()))
    place = changed / "tokenizer/tokenizer_config.json"
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word", "special"), False)
    token = {str(words): {"content": "<concept>", **flags}}
    place.write_text(json.dumps(json.loads(place.read_text()) | {"added_tokens_decoder": token}))
    (changed / "tokenizer/added_tokens.json").write_text(json.dumps({"<concept>": words}))
    load_diffusers(path=changed, prompt="a photo")
    told(lambda: load_diffusers(path=changed, prompt="a <concept>"), "'<concept>'", "tokenizer")


def test_a_scalar_that_is_nan_is_found(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(save({"a": torch.tensor([1.0, float("inf")])}))
    stored = find_tensors(tmp_path / "a.safetensors", "weights")["a"]
    told(lambda: read_finite(stored), "a.safetensors", "NaN or infinite")
