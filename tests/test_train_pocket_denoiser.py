"""The pocket denoiser's training, rehearsed on a CPU, and its degradations."""

import io

import numpy as np
import pytest
import torch
from latent_map.edict.backbones.pocket.backbone import load_pocket
from latent_map.edict.backbones.pocket.network import PocketNetwork
from latent_map.files.weights import read_tensors
from PIL import Image

from training.batch_degradations import (
    defocus,
    degrade_batch,
    gaussian_blur,
    jpeg,
    noise,
    rescale,
)
from training.photographs import CropBatches, vary_colours
from training.train_pocket_denoiser import Options, average, train

from .toys import picture

ROUNDING = 1e-5
JPEG_DECIBELS = 40  # from libjpeg's result: its integer transforms and chroma upsampling differ


@pytest.fixture
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Three photographs; constants are measured on few crops of them."""
    monkeypatch.setattr("training.train_pocket_denoiser.MEASURED_PAIRS", 6)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, side in enumerate((64, 64, 80)):
        pixels = (255 * picture(number, side, side)[0].permute(1, 2, 0)).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{number:03d}_00.webp", lossless=True)
    return folder


def options(photos, out, **changes):
    chosen = {
        "photos": [photos],
        "out": out,
        "minutes": 1e-6,
        "batch": 3,
        "size": 32,
        "initial": None,
        "compile": False,
        "parts": None,
        "device": "cpu",
    }
    return Options(**{**chosen, **changes})


def test_a_training_gives_weights_that_the_backbone_loads(photos, tmp_path):
    train(options(photos, tmp_path / "out", parts=15.0))
    file = tmp_path / "out" / "denoiser.safetensors"
    backbone = load_pocket(weights=file)
    denoiser, codec = backbone.bind(picture(0, 32, 32))
    assert torch.isfinite(denoiser(codec.encode(picture(1, 32, 32)), 999.0)).all()
    parts = [file.with_name(f"{file.name}.{number}") for number in range(2)]
    assert b"".join(part.read_bytes() for part in parts) == file.read_bytes()
    assert max(part.stat().st_size for part in parts) <= 15e6


def test_a_training_starts_from_the_weights_it_is_given(photos, tmp_path):
    """After one step, its rate still warming up, they are nearly those; the constants all."""
    first, second = tmp_path / "first", tmp_path / "second"
    train(options(photos, first))
    file = first / "denoiser.safetensors"
    train(options(photos, second, initial=file))
    before, after = (
        read_tensors(out / "denoiser.safetensors", "denoiser") for out in (first, second)
    )
    assert before.keys() == after.keys()
    assert torch.equal(before["condition_mean"], after["condition_mean"])
    apart = max(float((before[k].float() - after[k].float()).abs().max()) for k in before)
    assert 0 < apart < 1e-3


def test_a_training_goes_on_where_it_was_left(photos, tmp_path):
    train(options(photos, tmp_path))
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    train(options(photos, tmp_path, minutes=2 * checkpoint["seconds"] / 60))
    again = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert again["step"] > checkpoint["step"]
    assert again["scales"] == checkpoint["scales"]


def test_an_untrained_network_corrects_nothing():
    z = torch.randn(1, 48, 8, 8)
    network = PocketNetwork()
    assert not network(z, z, 500.0, network.embed(z)).any()


def test_averaged_weights_follow_quickly_at_first():
    averaged, current = [torch.zeros(2)], [torch.ones(2)]
    average(averaged, current, 0)
    assert averaged[0].tolist() == pytest.approx([0.9, 0.9])
    averaged = [torch.zeros(2)]
    average(averaged, current, 10**6)
    assert averaged[0].tolist() == pytest.approx([3e-4, 3e-4])


def test_crops_are_parts_of_the_photographs(seeded):
    photographs = [np.full((side, side, 3), 40 * side // 16, np.uint8) for side in (32, 48)]
    crops = CropBatches(photographs, torch.device("cpu")).plain(64, 24)
    assert crops.shape == (64, 3, 24, 24)
    values = {round(255 * float(crop.mean())) for crop in crops}
    assert values == {80, 120}


def test_crops_larger_than_a_photograph_are_refused():
    crops = CropBatches([np.zeros((32, 32, 3), np.uint8)], torch.device("cpu"))
    with pytest.raises(ValueError, match=r"crops of 48 pixels.*choose"):
        crops.plain(1, 48)
    with pytest.raises(ValueError, match="square"):
        CropBatches([np.zeros((32, 30, 3), np.uint8)], torch.device("cpu"))


def test_colours_vary_within_the_range(seeded):
    varied = vary_colours(picture(0, 32, 32, batch=8))
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert (varied - picture(0, 32, 32, batch=8)).abs().mean() > 0.01


def test_degraded_batches_keep_shape_and_range_and_leave_some_clean(seeded):
    clean = picture(0, 64, 64, batch=48).float()
    degraded = degrade_batch(clean, clean=0.5)
    assert degraded.shape == clean.shape
    assert degraded.min() >= 0
    assert degraded.max() <= 1
    same = (degraded == clean).all(3).all(2).all(1).sum()
    assert 12 < same < 36


def test_blurs_keep_even_areas_and_the_mean():
    image, two = picture(0, 32, 48).float(), torch.tensor([2.0])
    for blurred in (gaussian_blur(image, two, two / 2, two), defocus(image, two)):
        assert blurred.mean() == pytest.approx(float(image.mean()), rel=ROUNDING)
        assert blurred.var() < image.var()
    even = torch.full((1, 3, 32, 32), 0.3)
    assert (defocus(even, two) - even).abs().max() < ROUNDING


def test_a_gaussian_blurs_a_point_to_its_deviations():
    point = torch.zeros(1, 1, 64, 64)
    point[..., 32, 32] = 1
    spread = gaussian_blur(point, *(torch.tensor([value]) for value in (3.0, 1.5, 0.0)))[0, 0]
    squares = (torch.arange(64.0) - 32).square()
    assert float(spread.sum(0) @ squares) == pytest.approx(9.0, rel=1e-3)
    assert float(spread.sum(1) @ squares) == pytest.approx(2.25, rel=1e-3)


def test_rescaling_loses_detail_alone(seeded):
    image = torch.rand(4, 3, 64, 64)
    small = rescale(image)
    assert small.mean() == pytest.approx(float(image.mean()), abs=5e-3)
    assert small.var() < 0.8 * image.var()


def test_noise_has_its_deviation(seeded):
    grey = torch.full((64, 3, 32, 32), 0.46)  # where photon noise has the plain one's deviation
    added = noise(grey, torch.full((64,), 0.05)) - grey
    assert added.std() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("quality", [20, 60, 90])
def test_jpeg_is_near_libjpegs(quality, monkeypatch):
    monkeypatch.setattr("training.batch_degradations.SUBSAMPLED", 0.0)
    image = (255 * picture(0, 64, 64)).round() / 255
    buffer = io.BytesIO()
    pixels = (255 * image[0].permute(1, 2, 0)).round().byte().numpy()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    wanted = torch.from_numpy(np.asarray(Image.open(buffer), np.float32) / 255).permute(2, 0, 1)
    error = (jpeg(image.float(), torch.tensor([float(quality)]))[0] - wanted).square().mean()
    assert -10 * float(error.log10()) > JPEG_DECIBELS
