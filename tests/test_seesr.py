"""SeeSR from its files: the way through, and what is said of files that cannot work."""

import gc
import json
import logging
import shutil
import weakref

import pytest
import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.backbones.seesr import backbone as seesr
from latent_map.edict.backbones.seesr.dape import convert
from latent_map.edict.backbones.seesr.options import SeesrOptions
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.latents_file import load_latents, save_latents
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import MapSettings
from safetensors.torch import load_file, save_file

from .tiny_diffusers import SD2, SD15, write_controlnet, write_folder, write_single_file
from .tiny_seesr import TOKENS, write_pickles, write_seesr
from .toys import PRIOR, differentiable_reconstruct, edict, noise, picture

SIDE = 32
TOLD_APART = 1e-3  # relative
SAME = 1e-5  # float32, another batch size
ROUND_TRIP = 1e-6  # the promise; about 1e-15 measured, for the cast hides the state's rounding
SLOPE = 0.01  # relative error of a finite difference of this step; 1e-4 measured
STEP = 1e-7
FALL = 1e-6  # of the energy; its rounding is 1e-8


def distance(ours, theirs):
    """Largest difference, relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_seesr(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def backbone(files):
    return load_backbone("seesr", **files)


@pytest.fixture
def copied(files, tmp_path):
    """A copy to damage."""
    root = tmp_path / "models"
    shutil.copytree(files["path"].parent, root)
    return {name: root / path.name for name, path in files.items()}


def test_a_picture_makes_the_round_trip(backbone):
    latents = invert_picture(backbone, picture(0, SIDE, SIDE), InversionOptions(steps=6))
    assert latents.noise.x.shape == (1, 4, SIDE // 8, SIDE // 8)
    assert round_trip_error(latents) < ROUND_TRIP


def test_a_picture_is_enhanced(backbone):
    inversion = InversionOptions(steps=6, strength=0.34)
    settings = MapSettings(inversion, iterations=2, optimizer="adam", learning_rate=1e-6)
    image = picture(1, SIDE, SIDE)
    (result,) = enhance(image, backbone, PRIOR, load_fidelity("low_resolution"), settings)
    energies = [row.energy for row in result.trace]
    assert len(energies) == 3
    assert energies == sorted(energies, reverse=True)
    assert energies[0] - energies[-1] > FALL
    assert result.picture.shape == image.shape
    assert torch.isfinite(result.picture).all()


@pytest.fixture(scope="module")
def double(files):
    """In float64, which random networks need: their slopes change within 1e-5."""
    loaded = load_backbone("seesr", **files)
    for network in (loaded.networks.unet, loaded.networks.controlnet, loaded.networks.vae):
        network.double()
    return loaded


def test_the_gradient_is_the_slope(double):
    image = picture(2, SIDE, SIDE)
    latents = invert_picture(double, image, InversionOptions(steps=6, strength=0.34))

    def energy(x, y):
        pair = differentiable_reconstruct(latents.bound.bijection, LatentPair(x, y))
        decoded = torch.cat([latents.bound.codec.decode(z) for z in pair])
        return (decoded - image).square().mean() - 0.01 * decoded.var()

    leaves = [z.clone().requires_grad_(True) for z in latents.noise]
    gradient = torch.autograd.grad(energy(*leaves), leaves)
    length = float(torch.cat(gradient).norm())
    along = [STEP * (g / length + 0.1 * noise(5, *g.shape)) for g in gradient]
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, along, strict=True))
    with torch.no_grad():
        ends = [
            energy(*(z + k * d for z, d in zip(latents.noise, along, strict=True))) for k in (1, -1)
        ]
    assert float(ends[0] - ends[1]) / 2 == pytest.approx(slope, rel=SLOPE)


def test_tokens_are_those_of_the_picture_and_frozen(backbone):
    first, second = (backbone.bind(picture(seed, SIDE, SIDE)).denoiser for seed in (0, 1))
    assert first.tokens.shape == (1, TOKENS, 512)
    assert not first.tokens.requires_grad
    assert relative(first.tokens, second.tokens) > TOLD_APART
    wanted = seesr.image_tokens(backbone.encoder, picture(0, SIDE, SIDE))
    assert torch.equal(first.tokens, wanted)


def test_a_batch_is_its_single_pictures(backbone):
    images, latent = picture(0, SIDE, SIDE, batch=2), noise(0, 2, 4, SIDE // 8, SIDE // 8)
    together = backbone.bind(images).denoiser(latent, 501)
    apart = [
        backbone.bind(image).denoiser(z, 501)
        for image, z in zip(images.split(1), latent.split(1), strict=True)
    ]
    assert distance(together, torch.cat(apart)) < SAME


def test_the_text_encoder_is_freed(files, monkeypatch):
    from latent_map.edict.backbones.stable_diffusion import text as diffusers_text

    made, load = [], diffusers_text.load_text_encoder

    def watched(*arguments):
        encoder = load(*arguments)
        made.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(diffusers_text, "load_text_encoder", watched)
    kept = load_backbone("seesr", **files)
    gc.collect()
    assert kept.conditioning.text.shape == (1, 77, 64)
    assert [reference() for reference in made] == [None]


def test_inverted_pictures_are_loaded_again(backbone, tmp_path):
    latents = invert_picture(backbone, picture(3, SIDE, SIDE), edict(3))
    save_latents(tmp_path / "latents", latents)
    again = load_latents(tmp_path / "latents")
    assert again.bound.backbone.name == backbone.name
    assert round_trip_error(again) < ROUND_TRIP


def test_half_precision_files_and_a_single_file_base_are_read(copied, tmp_path):
    files = write_seesr(tmp_path / "half", variant="fp16")
    vocabulary = len(json.loads((files["base"] / "tokenizer" / "vocab.json").read_text()))
    single = write_single_file(tmp_path / "base.safetensors", SD2, vocabulary)
    latent, image = noise(1, 1, 4, SIDE // 8, SIDE // 8), picture(0, SIDE, SIDE)
    ours = load_backbone("seesr", path=files["path"], base=single)
    full = load_backbone("seesr", **copied)
    results = [one.bind(image).denoiser(latent, 501) for one in (ours, full)]
    assert 0 < relative(*results) < 0.02  # half precision's rounding of the weights


def test_options_and_files_tell_backbones_apart(backbone, copied):
    def name(**options):
        places = {key: str(path) for key, path in copied.items()}
        chosen = SeesrOptions(**places, dtype="float32", **options)
        return seesr.seesr_name(chosen, seesr.find_seesr(chosen))

    assert name() == backbone.name  # moved files are the same files
    names = {backbone.name, name(control_strength=0.5), name(prompt="a"), name(without_dape=True)}
    dape = copied["path"].parent / "DAPE.pth"
    tensors = torch.load(dape, weights_only=True)
    torch.save({key: tensor + 0.5 for key, tensor in tensors.items()}, dape)
    names.add(name())
    assert len(names) == 5


# What DAPE is for, and going without


def test_the_converted_file_gives_the_same_tokens(backbone, copied):
    root = copied["path"].parent
    convert(root / "ram_swin_large_14m.pth", root / "DAPE.pth", copied["path"] / "dape.safetensors")
    (root / "DAPE.pth").unlink()
    (root / "ram_swin_large_14m.pth").unlink()
    converted = load_backbone("seesr", **copied)
    image = picture(0, SIDE, SIDE)
    tokens = [one.bind(image).denoiser.tokens for one in (backbone, converted)]
    assert torch.equal(*tokens)


def test_without_dape_it_is_refused_until_asked_for(copied, caplog):
    for name in ("DAPE.pth", "ram_swin_large_14m.pth"):
        (copied["path"].parent / name).unlink()
    refused("no dape.safetensors.*DAPE.pth.*without_dape.*what is in the picture", copied)
    with caplog.at_level(logging.WARNING):
        blind = load_backbone("seesr", **copied, without_dape=True)
    assert "what is in the picture" in caplog.text
    tokens = blind.bind(picture(0, SIDE, SIDE)).denoiser.tokens
    assert tokens.shape == (1, 145, 512)
    assert not tokens.any()
    latents = invert_picture(blind, picture(0, SIDE, SIDE), edict(3))
    assert round_trip_error(latents) < ROUND_TRIP


def test_dape_without_ram_is_refused(copied):
    (copied["path"].parent / "ram_swin_large_14m.pth").unlink()
    refused(r"DAPE\.pth.*give ram_swin_large_14m\.pth", copied)


# Files in the wrong place, and damaged ones


def refused(words, files, name="seesr", **options):
    with pytest.raises(ValueError, match=words) as caught:
        load_backbone(name, **files, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_seesrs_networks_are_refused_by_the_stock_loader(copied, tmp_path):
    base, control = {"path": copied["base"]}, copied["path"] / "controlnet"
    refused("image_attentions.*seesr backbone", base, "diffusers", controlnet=control)
    file = control / "diffusion_pytorch_model.safetensors"
    refused("image_attentions.*seesr backbone", base, "diffusers", controlnet=file)
    shutil.rmtree(copied["base"] / "unet")
    shutil.copytree(copied["path"] / "unet", copied["base"] / "unet")
    refused("image_attentions.*seesr backbone", base, "diffusers")


def test_a_stock_controlnet_is_refused(copied):
    shutil.rmtree(copied["path"] / "controlnet")
    write_controlnet(copied["path"] / "controlnet", SD2)
    refused("controlnet is a stock network.*diffusers backbone", copied)


def test_seesrs_configuration_with_stock_weights_is_refused(copied):
    file = copied["path"] / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "image_attentions" not in k}, file)
    text = refused("does not fit SeeSR's UNet .*is missing", copied)
    assert str(file) in text


def test_another_familys_base_is_refused(copied, tmp_path):
    write_folder(tmp_path / "sd15", SD15)
    config = tmp_path / "sd15" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cross_attention_dim": 48}))
    refused(
        "sd15 has text encoders of width 64 for a network that takes 48",
        copied | {"base": tmp_path / "sd15"},
    )


def test_a_v_prediction_base_is_taken_as_a_host(files, backbone, tmp_path):
    base = write_folder(tmp_path / "v", SD2, prediction_type="v_prediction")
    host = load_backbone("seesr", path=files["path"], base=base)
    assert host.prediction == "eps"
    assert host.schedule(5).steps == backbone.schedule(5).steps


@pytest.mark.parametrize("kind", ["unet", "controlnet"])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_named(copied, kind, share):
    file = copied["path"] / kind / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert str(file) in refused("fetch it again", copied)


@pytest.mark.parametrize("missing", ["config.json", "diffusion_pytorch_model.safetensors", ""])
def test_missing_files_are_named(copied, missing):
    target = copied["path"] / "unet" / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    refused(f"unet.*{missing}", copied)


def test_damaged_configurations_are_named(copied):
    config = copied["path"] / "unet" / "config.json"
    config.write_text(config.read_text()[:100])
    refused("config.json is damaged", copied)


def test_missing_folders_are_named(files, tmp_path):
    refused("two folders", {})
    refused("two folders", {"path": files["path"]})
    refused("no folder .*nowhere", files | {"path": tmp_path / "nowhere"})
    refused("no checkpoint at .*nowhere", files | {"base": tmp_path / "nowhere"})


def test_pickled_networks_are_read_safely(copied, tmp_path):
    folder = copied["path"] / "unet"
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    file.unlink()
    pickled = folder / "diffusion_pytorch_model.bin"
    torch.save(tensors, pickled)
    load_backbone("seesr", **copied)
    torch.save(tensors | {"surprise": Surprise()}, pickled)
    refused("diffusion_pytorch_model.bin.*could run its code", copied)


class Surprise:
    def __reduce__(self):
        return (print, ("this ran",))


def test_nonsense_options_are_refused(files):
    refused("cfg inf", files, cfg=float("inf"))
    refused("unknown dtype 'int8'", files, dtype="int8")


def test_the_tiny_pickles_have_the_releases_layout(tmp_path):
    ram, dape = write_pickles(tmp_path)
    assert list(torch.load(ram, weights_only=True)) == ["model"]
    assert all("lora_" in name for name in torch.load(dape, weights_only=True))
