"""Small random checkpoints with the real layouts through the real loader, to the end."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from latent_map.__main__ import main
from latent_map.edict.backbones import load_backbone
from latent_map.edict.backbones.stable_diffusion.backbone import (
    diffusers_name,
    find_diffusers,
    load_diffusers,
)
from latent_map.edict.backbones.stable_diffusion.configs import (
    controlnet_config,
    text_config,
    unet_config,
    vae_config,
)
from latent_map.edict.backbones.stable_diffusion.denoiser import UNetDenoiser
from latent_map.edict.backbones.stable_diffusion.find import find_checkpoint
from latent_map.edict.backbones.stable_diffusion.keys import (
    part,
    text_from_clip,
    text_from_open_clip,
    unet_from_ldm,
    vae_from_ldm,
)
from latent_map.edict.backbones.stable_diffusion.networks import (
    build_controlnet,
    build_text_encoder,
    build_unet,
    build_vae,
    text_tensors,
)
from latent_map.edict.backbones.stable_diffusion.options import DiffusersOptions
from latent_map.edict.backbones.stable_diffusion.schedule import noise_levels
from latent_map.edict.bijections.edict import LatentPair
from latent_map.edict.inversion import (
    InversionOptions,
    bind,
    invert_picture,
    reconstruct_picture,
    round_trip_error,
)
from latent_map.edict.latents_file import load_latents, save_latents
from latent_map.edict.tape import Tape
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.pictures import to_image
from latent_map.files.weights import Stored, check_fit
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import MapSettings
from PIL import Image
from safetensors.torch import load_file, save_file

from . import tiny_diffusers as tiny
from .toys import PRIOR, picture

FAMILIES = {"sd15": tiny.SD15, "sd2": tiny.SD2, "sd2_v": tiny.SD2_V, "sdxl": tiny.SDXL}
QUICK = InversionOptions(steps=3, mixing=0.93)
IMAGE = picture(3, tiny.SIDE, tiny.SIDE)
ROUND_TRIP = 1e-6  # float64 state; measured 3e-15
SAME = 1e-6  # the same weights and operations; measured 0
FINITE_DIFFERENCE = 0.01  # float32 network; measured 1e-4


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Every family in every layout: NAME/, NAME.safetensors, and its ControlNet three times."""
    folder = tmp_path_factory.mktemp("models")
    for name, family in FAMILIES.items():
        tiny.write_folder(folder / name, family)
        vocabulary = len(json.loads((folder / name / "tokenizer" / "vocab.json").read_text()))
        tiny.write_single_file(folder / f"{name}.safetensors", family, vocabulary)
        tiny.write_controlnet(folder / f"{name}_control", family)
        for layout in ("diffusers", "ldm"):
            tiny.write_controlnet(folder / f"{name}_{layout}.safetensors", family, layout)
    return folder


@pytest.fixture(scope="module")
def guided(models):
    """SD 1.5 with its ControlNet."""
    return load(models, "sd15", controlnet=str(models / "sd15_control"))


def load(models: Path, name: str, **options):
    return load_backbone("diffusers", path=models / name, **options)


def inverted(backbone, image=IMAGE):
    return invert_picture(backbone, image, QUICK)


# The way through


@pytest.mark.parametrize("name", FAMILIES)
def test_a_single_file_gives_what_the_folder_gives(models, name):
    """With ControlNets in all three layouts, and a prompt through both ways of tokenising."""
    prompt = {"prompt": "a photo"}
    folder = load(models, name, controlnet=str(models / f"{name}_control"), **prompt)
    expected = inverted(folder)
    assert round_trip_error(expected) < ROUND_TRIP
    for layout in ("diffusers", "ldm"):
        single = load(
            models,
            f"{name}.safetensors",
            controlnet=str(models / f"{name}_{layout}.safetensors"),
            tokenizer=str(models / name / "tokenizer"),
            **prompt,
        )
        assert torch.equal(single.conditioning.text, folder.conditioning.text)
        assert single.schedule(7) == folder.schedule(7)
        torch.testing.assert_close(inverted(single).pair.x, expected.pair.x, rtol=SAME, atol=SAME)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_empty_prompt_needs_no_tokenizer(models, name):
    folder, single = load(models, name), load(models, f"{name}.safetensors")
    assert torch.equal(folder.conditioning.text, single.conditioning.text)
    assert len(folder.conditioning.text) == 1


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_picture_is_enhanced_and_never_worse(models, name):
    backbone = load(models, name, controlnet=str(models / f"{name}_control"))
    settings = MapSettings(
        inversion=QUICK, iterations=2, optimizer="adam", learning_rate=0.02, lam=1.0
    )
    (result,) = enhance(IMAGE, backbone, PRIOR, load_fidelity("mse"), settings)
    energies = [row.energy for row in result.trace]
    assert len(energies) == 3
    assert min(energies[1:]) < energies[0]
    assert result.picture.shape == IMAGE.shape


def test_a_saved_picture_is_reconstructed_from_its_file(models, guided, tmp_path):
    latents = inverted(guided)
    save_latents(tmp_path / "a.state", latents)
    again = load_latents(tmp_path / "a.state")
    assert again.backbone.name == guided.name
    torch.testing.assert_close(reconstruct_picture(again).x, reconstruct_picture(latents).x)


@pytest.mark.parametrize(
    ("name", "strength", "cfg"), [("sd15", 0.34, 1.0), ("sd2_v", 1.0, 1.0), ("sdxl", 0.34, 2.0)]
)
def test_a_finite_difference_agrees_with_the_gradient(models, name, strength, cfg):
    """Where eps-prediction starts from pure noise, a random network is too chaotic for this."""
    backbone = load(models, name, controlnet=str(models / f"{name}_control"), cfg=cfg)
    options = replace(QUICK, strength=strength)
    bijection, _ = bind(backbone, IMAGE, options)
    pair = invert_picture(backbone, IMAGE, options).pair
    weight = torch.randn(pair.x.shape, generator=torch.Generator().manual_seed(5)).double()

    def energy(x):
        return float((bijection.reconstruct(LatentPair(x, pair.y)).x * weight).sum())

    tape = Tape(bijection.calls, "recompute")
    bijection.reconstruct(pair, tape)
    gradient = bijection.pull_back(tape, LatentPair(weight, torch.zeros_like(weight))).x
    direction = gradient / gradient.norm()
    step = 1e-3
    with torch.no_grad():
        slope = (energy(pair.x + step * direction) - energy(pair.x - step * direction)) / (2 * step)
    assert abs(slope / float(gradient.norm()) - 1) < FINITE_DIFFERENCE


def test_the_command_line_takes_a_checkpoint_and_a_controlnet(models, tmp_path, capsys):
    original = tmp_path / "in.png"
    to_image(picture(5, 96, 64)).save(original)
    chosen = ["--backbone", models / "sd15", "--controlnet", models / "sd15_ldm.safetensors"]
    chosen += ["--control-strength", "0.5", "--prompt", "a photo", "--steps", "6"]

    def run(*arguments):
        capsys.readouterr()
        return main([str(argument) for argument in arguments]), *capsys.readouterr()

    code, out, _ = run("invert", original, "-o", tmp_path / "a.state", *chosen)
    assert code == 0
    assert float(out.split()[-1]) < ROUND_TRIP
    code, _, _ = run("reconstruct", tmp_path / "a.state", "-o", tmp_path / "same.png")
    assert code == 0
    settings = ["--iterations", "1", "--prior", "pocket"]
    code, _, _ = run("enhance", original, "-o", tmp_path / "out.png", *chosen, *settings)
    assert code == 0
    for name in ("same.png", "out.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (64, 96)

    (tmp_path / "cut.safetensors").write_bytes((models / "sd15.safetensors").read_bytes()[:9999])
    chosen[1] = tmp_path / "cut.safetensors"
    code, _, err = run("enhance", original, "-o", tmp_path / "no.png", *chosen, *settings)
    assert code == 2
    assert err.count("\n") == 1
    assert "cut off" in err
    assert not (tmp_path / "no.png").exists()


# Precision


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_half_precision_network_inverts_exactly(models, dtype):
    backbone = load(models, "sd15", dtype=dtype, controlnet=str(models / "sd15_control"))
    latents = inverted(backbone)
    assert backbone.networks.unet.dtype == getattr(torch, dtype)
    assert backbone.networks.vae.dtype == torch.float32
    assert latents.pair.x.dtype == torch.float64
    assert round_trip_error(latents) < ROUND_TRIP


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.1)])
@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_half_precision_gradients_do_not_vanish(models, guided, dtype, tolerance, size):
    """Gradients of a mean over pixels are far below float16's smallest number."""
    half = load(models, "sd15", dtype=dtype, controlnet=str(models / "sd15_control"))
    found = []
    for backbone in (guided, half):
        latent = torch.linspace(-1, 1, 64).double().reshape(1, 4, 4, 4).requires_grad_()
        output = backbone.bind(IMAGE).denoiser(latent, 500.0)
        (gradient,) = torch.autograd.grad((size * output.double() ** 2).sum(), latent)
        found.append(gradient / size)
    expected, gradient = found
    assert float((gradient - expected).norm() / expected.norm()) < tolerance


def test_half_precision_prefers_its_own_files(models, tmp_path):
    tiny.write_folder(tmp_path / "both", tiny.SD15)
    tiny.write_folder(tmp_path / "half", tiny.SD15, variant="fp16")
    for part_name in ("unet", "vae", "text_encoder"):
        for file in (tmp_path / "half" / part_name).glob("*.safetensors"):
            file.rename(tmp_path / "both" / part_name / file.name)
    full = find_checkpoint(tmp_path / "both", torch.float32).files
    half = find_checkpoint(tmp_path / "both", torch.float16).files
    assert all("fp16" not in file.name for file in full)
    assert all(".fp16.safetensors" in file.name for file in half)
    half = load(tmp_path, "both", dtype="float16")
    rounded = load(models, "sd15", dtype="float16")
    # Only the text encoder and the autoencoder, which run in float32, see the rounded files.
    weights = (next(b.networks.unet.parameters()) for b in (half, rounded))
    assert torch.equal(*weights)


def test_a_folder_of_half_precision_files_alone_is_used_in_float32(tmp_path):
    tiny.write_folder(tmp_path / "half", tiny.SD15, variant="fp16")
    backbone = load(tmp_path, "half")
    assert backbone.networks.unet.dtype == torch.float32
    assert round_trip_error(inverted(backbone)) < ROUND_TRIP


# What the network is told


def test_guidance_joins_the_two_branches(models, guided):
    options = {"controlnet": str(models / "sd15_control")}
    latent = torch.randn((1, 4, 4, 4), generator=torch.Generator().manual_seed(1)).double()
    branches = [
        load(models, "sd15", prompt=prompt, **options).bind(IMAGE).denoiser(latent, 300.0)
        for prompt in ("noise", "a photo")
    ]
    both = load(models, "sd15", prompt="a photo", negative="noise", cfg=3.5, **options)
    expected = branches[0] + 3.5 * (branches[1] - branches[0])
    found = both.bind(IMAGE).denoiser(latent, 300.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(branches[0], branches[1], rtol=1e-2)
    assert round_trip_error(inverted(both)) < ROUND_TRIP


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_pictures_of_a_batch_do_not_see_each_other(models, name):
    options = {"controlnet": str(models / f"{name}_control"), "cfg": 2.0, "negative": "noise"}
    backbone = load(models, name, **options)
    pictures = torch.cat([IMAGE, IMAGE.flip(-1)])
    latents = torch.randn((2, 4, 4, 4), generator=torch.Generator().manual_seed(2)).double()
    joint = backbone.bind(pictures).denoiser(latents, 700.0)
    for index in range(2):
        one = slice(index, index + 1)
        alone = backbone.bind(pictures[one]).denoiser(latents[one], 700.0)
        torch.testing.assert_close(joint[one], alone, rtol=1e-4, atol=1e-5)


def test_the_controlnet_sees_the_picture_and_its_strength(models, guided):
    latent = torch.zeros(1, 4, 4, 4).double()
    found = guided.bind(IMAGE).denoiser(latent, 500.0)
    other = guided.bind(1 - IMAGE).denoiser(latent, 500.0)
    weak = replace(guided.options, control_strength=0.0)
    none = load_diffusers(**{k: v for k, v in vars(weak).items()}).bind(IMAGE)
    bare = load(models, "sd15").bind(IMAGE)
    assert float((found - other).norm() / found.norm()) > 1e-3
    torch.testing.assert_close(none.denoiser(latent, 500.0), bare.denoiser(latent, 500.0))


def test_a_window_of_the_picture_is_that_part_s_hint(guided):
    image = picture(4, 2 * tiny.SIDE, 2 * tiny.SIDE)
    latent = torch.zeros(1, 4, 4, 4).double()
    whole = guided.bind(image).denoiser
    assert isinstance(whole, UNetDenoiser)
    part_of = whole.window(tiny.SIDE, 0, tiny.SIDE, tiny.SIDE)
    alone = guided.bind(image[..., tiny.SIDE :, : tiny.SIDE]).denoiser
    torch.testing.assert_close(part_of(latent, 500.0), alone(latent, 500.0))
    assert whole.hint.shape[-1] == 2 * tiny.SIDE


def test_a_long_prompt_is_cut_with_a_warning(models, caplog):
    with caplog.at_level(logging.WARNING):
        load(models, "sd15", prompt="photo " * 100)
    assert "100 tokens, the last 25 are cut off" in caplog.text


def test_nothing_is_left_to_train_and_no_text_encoder_is_kept(guided):
    for network in (guided.networks.unet, guided.networks.controlnet, guided.networks.vae):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not any(tensor.is_meta for tensor in network.state_dict().values())
    assert not guided.conditioning.text.requires_grad
    processors = {type(p).__name__ for p in guided.networks.unet.attn_processors.values()}
    assert processors == {"AttnProcessor2_0"}


def test_a_picture_that_does_not_fit_the_network_is_refused(guided):
    with pytest.raises(ValueError, match="multiples of 16"):
        guided.bind(picture(0, 40, 48))


# The schedule


def test_the_schedule_is_the_scheduler_s():
    alphas, prediction = noise_levels(
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, "x"
    )
    assert prediction == "eps"
    assert len(alphas) == 1000
    assert float(alphas[0]) == pytest.approx(1 - 0.00085)  # 1 - beta_start
    assert float(alphas[-1]) == pytest.approx(0.00466, abs=1e-5)  # SD's published last level
    linear, _ = noise_levels({"prediction_type": "v_prediction"}, "x")
    assert float(linear[1]) == pytest.approx((1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999))


def test_zero_terminal_snr_works_with_v_prediction_only():
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    plain, _ = noise_levels({"prediction_type": "v_prediction"}, "x")
    alphas, prediction = noise_levels(config, "x")
    assert (float(alphas[-1]), prediction) == (0, "v")
    assert float(alphas[0]) == pytest.approx(float(plain[0]))
    with pytest.raises(ValueError, match="cannot be inverted"):
        noise_levels({"rescale_betas_zero_snr": True}, "x")


@pytest.mark.parametrize(
    "config",
    [
        {"prediction_type": "sample"},
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"_class_name": "EDMEulerScheduler"},
        {"beta_schedule": "squaredcos_cap_v2"},
    ],
)
def test_other_schedules_are_refused(config):
    with pytest.raises(ValueError, match="choose"):
        noise_levels(config, "x")


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


# Names: what a saved run is compared by


def named(path, **options):
    chosen = DiffusersOptions(str(path), **options)
    return diffusers_name(chosen, find_diffusers(chosen))


def test_the_name_tells_different_maps_apart(models, guided, tmp_path):
    control = str(models / "sd15_control")
    names = [
        named(models / "sd15", dtype="float32"),
        named(models / "sd15", dtype="float32", prompt="a"),
        named(models / "sd15", dtype="float32", cfg=2.0),
        named(models / "sd15", dtype="bfloat16"),
        named(models / "sd15", dtype="float32", controlnet=control),
        named(models / "sd2", dtype="float32"),
    ]
    assert len(set(names)) == len(names)
    assert guided.name == names[4]
    tiny.write_folder(tmp_path / "sd15", tiny.SD15)
    assert named(tmp_path / "sd15", dtype="float32") == names[0]


def test_a_state_names_the_files_it_needs(tmp_path):
    tiny.write_folder(tmp_path / "model", tiny.SD15)
    save_latents(tmp_path / "a.state", inverted(load(tmp_path, "model")))
    unet = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(unet)
    save_file(tensors | {"conv_in.bias": tensors["conv_in.bias"] + 1}, unet)
    with pytest.raises(ValueError, match="the files of then"):
        load_latents(tmp_path / "a.state")
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"needs the backbone 'diffusers model .*no checkpoint at"):
        load_latents(tmp_path / "a.state")


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
    expected = inverted(load(models, "sd15")).pair.x
    assert torch.equal(inverted(load_diffusers(path=folder)).pair.x, expected)
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
    expected = inverted(load(models, "sd15")).pair.x
    assert torch.equal(inverted(load_diffusers(path=folder)).pair.x, expected)


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


# The real sizes, without memory: counts of the published models

SD15 = {"attention_head_dim": 8, "cross_attention_dim": 768}
SD2 = {
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SDXL = {
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SDXL_UP = {"up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")}
# (configuration, tensors and parameters of the UNet and of the ControlNet, names in the original)
FULL_SIZE = {
    "sd15": (SD15, (686, 859_520_964), (340, 361_279_120), "output_blocks.11.1.proj_out.weight"),
    "sd2": (SD2, (686, 865_910_724), (340, 364_228_240), "output_blocks.8.2.conv.weight"),
    "sdxl": (SDXL, (1680, 2_567_463_684), (844, 1_251_014_160), "output_blocks.5.2.conv.weight"),
}


def on_disk(tensors: dict[str, torch.Tensor]) -> dict[str, Stored]:
    """Tensors without memory as a file would show them."""
    return {
        name: Stored(Path("a.safetensors"), name, tuple(tensor.shape), tensor.clone)
        for name, tensor in tensors.items()
    }


def counted(network: torch.nn.Module) -> tuple[int, int]:
    return len(network.state_dict()), sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_full_size_unet_is_recognised_by_its_shapes(name):
    config, unet_counts, control_counts, telling = FULL_SIZE[name]
    real = build_unet({**config, **(SDXL_UP if name == "sdxl" else {})})
    original = tiny.to_ldm(real, "")
    assert telling in original
    tensors = unet_from_ldm(on_disk(original))
    rebuilt = build_unet(unet_config(tensors))
    check_fit(rebuilt, tensors, "this UNet")
    assert counted(rebuilt) == unet_counts
    heads = [m.heads for m in rebuilt.modules() if type(m).__name__ == "Attention"]
    assert heads == [m.heads for m in real.modules() if type(m).__name__ == "Attention"]

    original = tiny.to_ldm(build_controlnet(config), "")
    tensors = unet_from_ldm(on_disk(original))
    rebuilt = build_controlnet(controlnet_config(tensors))
    check_fit(rebuilt, tensors, "this ControlNet")
    assert counted(rebuilt) == control_counts


# (width, layers, inner width, heads, projection, activation), parameters
TEXT = {
    "CLIP-L": ((768, 12, 3072, 12, None, "quick_gelu"), 123_060_480),
    "OpenCLIP-H without its last layer": ((1024, 23, 4096, 16, None, "gelu"), 340_387_840),
    "OpenCLIP-bigG": ((1280, 32, 5120, 20, 1280, "gelu"), 694_659_840),
}


@pytest.mark.parametrize("name", TEXT)
def test_a_full_size_text_encoder_is_recognised_by_its_shapes(name):
    (width, layers, inner, heads, projection, activation), parameters = TEXT[name]
    config = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "hidden_act": activation,
        "projection_dim": projection or width,
    }
    real = build_text_encoder(config, projection is not None)
    if activation == "gelu":
        names = tiny.text_to_open_clip(real, "", False)
        names.pop("text_projection") if projection is None else None
        tensors = text_from_open_clip(on_disk(names))
    else:
        tensors = text_from_clip(on_disk(real.state_dict()))
    found = text_config(tensors, activation)
    assert {key: found[key] for key in config} == config
    rebuilt = build_text_encoder(found, projection is not None)
    check_fit(rebuilt, text_tensors(rebuilt, tensors), "a text encoder")
    assert counted(rebuilt)[1] == parameters


def test_a_full_size_autoencoder_is_recognised_by_its_shapes():
    widths = (128, 256, 512, 512)
    real = build_vae(
        {
            "block_out_channels": widths,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
        }
    )
    original = tiny.vae_to_ldm(real)
    assert "first_stage_model.decoder.up.0.block.2.conv1.weight" in original
    assert "first_stage_model.encoder.down.2.downsample.conv.weight" in original
    tensors = vae_from_ldm(part(on_disk(original), "first_stage_model."))
    rebuilt = build_vae(vae_config(tensors, 0.18215))
    check_fit(rebuilt, tensors, "this autoencoder")
    assert counted(rebuilt) == (248, 83_653_863)


def test_the_names_of_old_folders_and_of_checkpoints_meet(models):
    tensors = find_checkpoint(models / "sd15").vae.tensors
    old = {
        name.replace("to_q", "query").replace("to_out.0", "proj_attn"): tensor
        for name, tensor in tensors.items()
    }
    assert old.keys() != tensors.keys()
    assert vae_from_ldm(old).keys() == tensors.keys()
    single = find_checkpoint(models / "sd15.safetensors").vae.tensors
    assert single.keys() == tensors.keys()
    assert part(single, "encoder.").keys() == part(tensors, "encoder.").keys()
