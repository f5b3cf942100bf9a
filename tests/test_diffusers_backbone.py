"""Small random checkpoints with the real layouts through the real loader, to the end."""

import logging
from dataclasses import replace

import pytest
import torch
from latent_map.__main__ import main
from latent_map.edict.backbones.stable_diffusion.backbone import (
    diffusers_name,
    find_diffusers,
    load_diffusers,
)
from latent_map.edict.backbones.stable_diffusion.denoiser import UNetDenoiser
from latent_map.edict.backbones.stable_diffusion.find import find_checkpoint
from latent_map.edict.backbones.stable_diffusion.options import DiffusersOptions
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.inversion import invert_picture, reconstruct_picture, round_trip_error
from latent_map.edict.latents_file import load_latents, save_latents
from latent_map.edict.tape import Tape
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.pictures import to_image
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import MapSettings
from PIL import Image
from safetensors.torch import load_file, save_file

from . import tiny_diffusers as tiny
from .tiny_diffusers import FAMILIES
from .tiny_pictures import IMAGE, QUICK, inverted, load
from .toys import PRIOR, picture

ROUND_TRIP = 1e-6  # float64 state; measured 3e-15
SAME = 1e-6  # the same weights and operations; measured 0
FINITE_DIFFERENCE = 0.01  # float32 network; measured 1e-4


@pytest.fixture(scope="module")
def guided(models):
    """SD 1.5 with its ControlNet."""
    return load(models, "sd15", controlnet=str(models / "sd15_control"))


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
        torch.testing.assert_close(inverted(single).noise.x, expected.noise.x, rtol=SAME, atol=SAME)


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
    assert again.bound.backbone.name == guided.name
    torch.testing.assert_close(reconstruct_picture(again).x, reconstruct_picture(latents).x)


@pytest.mark.parametrize(
    ("name", "strength", "cfg"), [("sd15", 0.34, 1.0), ("sd2_v", 1.0, 1.0), ("sdxl", 0.34, 2.0)]
)
def test_a_finite_difference_agrees_with_the_gradient(models, name, strength, cfg):
    """Where eps-prediction starts from pure noise, a random network is too chaotic for this."""
    backbone = load(models, name, controlnet=str(models / f"{name}_control"), cfg=cfg)
    options = replace(QUICK, strength=strength)
    bijection = bind_picture(backbone, IMAGE, options).bijection
    pair = invert_picture(backbone, IMAGE, options).noise
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
    assert latents.noise.x.dtype == torch.float64
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
