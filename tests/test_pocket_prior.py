"""The pocket prior: what a score that is to be climbed must be."""

import numpy as np
import pytest
import torch
from latent_map.iqa_priors import pocket
from latent_map.iqa_priors.pocket import build_network, load_pocket, load_pocket_calibration
from scipy.ndimage import gaussian_filter

BATCH_TOLERANCE = 1e-4  # float32 convolutions sum in another order for another batch size
SLOPE_TOLERANCE = 0.02  # a float32 score differenced over a thirtieth of a grey level
PARAMETERS = (400_000, 800_000)


def synthetic_picture(size: int = 96, seed: int = 3) -> np.ndarray:
    """Clouds with a photograph's power spectrum, amplitude 1 / f^1.2, nearly grey: (H, W, 3)."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1

    def clouds() -> np.ndarray:
        spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**1.2
        field = np.fft.irfft2(spectrum, s=(size, size))
        return field / field.std()

    light = clouds()
    planes = [0.45 + 0.14 * (light + 0.25 * clouds()) for _ in range(3)]
    return np.stack(planes, axis=-1).clip(0, 1).astype(np.float32)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


@pytest.fixture(scope="module")
def metric():
    return load_pocket()


@pytest.fixture(scope="module")
def picture():
    return as_tensor(synthetic_picture())


def gradient(metric, image: torch.Tensor) -> torch.Tensor:
    image = image.clone().requires_grad_()
    return torch.autograd.grad(metric(image).sum(), image)[0]


def test_the_score_has_one_finite_value_per_picture_in_the_pictures_dtype(metric, picture):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        scores = metric(picture.repeat(2, 1, 1, 1).to(dtype))
        assert scores.shape == (2,)
        assert scores.dtype == dtype
        assert scores.isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (50, 131), (127, 64)])
def test_any_size_from_32_pixels_is_scored(metric, picture, height, width):
    image = picture.repeat(1, 1, 2, 2)[..., :height, :width]
    assert metric(image).isfinite().all()


def test_a_batch_scores_as_its_pictures_do_alone(metric, picture):
    batch = torch.cat((picture, picture.flip(-1), 1 - picture))
    alone = torch.cat([metric(image[None]) for image in batch])
    torch.testing.assert_close(metric(batch), alone, rtol=0, atol=BATCH_TOLERANCE)


def test_the_score_is_deterministic(metric, picture):
    assert torch.equal(metric(picture), metric(picture))
    assert torch.equal(load_pocket()(picture), metric(picture))


@pytest.mark.parametrize("size", [(96, 96), (75, 81)])
def test_the_gradient_covers_the_whole_picture(metric, picture, size):
    strength = gradient(metric, picture[..., : size[0], : size[1]]).abs().amax(1)[0]
    assert (strength > 0).all()
    border = torch.cat((strength[0], strength[-1], strength[:, 0], strength[:, -1]))
    assert border.mean() > 0.2 * strength.mean()


def test_the_gradient_is_that_of_finite_differences(metric, picture):
    slope = gradient(metric, picture)
    direction = slope / slope.square().mean().sqrt()
    step = 0.015 / 255
    difference = metric(picture + step * direction) - metric(picture - step * direction)
    expected = (slope * direction).sum()
    assert float(difference / (2 * step)) == pytest.approx(float(expected), rel=SLOPE_TOLERANCE)


def test_blur_and_noise_lower_the_score_the_more_the_worse(metric):
    pixels = synthetic_picture()
    grain = np.random.default_rng(5).standard_normal(pixels.shape).astype(np.float32)
    blurred = [as_tensor(gaussian_filter(pixels, (s, s, 0))) for s in (0, 1, 2)]
    noisy = [as_tensor((pixels + s * grain).clip(0, 1)) for s in (0, 0.04, 0.08, 0.12)]
    for versions in (blurred, noisy):
        scores = metric(torch.cat(versions))
        assert (scores.diff() < 0).all(), scores


def test_the_weights_are_frozen_and_the_picture_is_not(metric, picture):
    assert not metric(picture).requires_grad
    assert metric(picture.clone().requires_grad_()).requires_grad


def test_the_network_is_small():
    parameters = sum(p.numel() for p in build_network().parameters())
    assert PARAMETERS[0] <= parameters <= PARAMETERS[1]


def test_the_calibration_is_a_logistics():
    xi3, xi4 = load_pocket_calibration()
    assert np.isfinite(xi3)
    assert xi4 > 0


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 3, 64, 16), (1, 1, 64, 64), (3, 64, 64)])
def test_a_picture_of_another_shape_or_too_small_is_refused(metric, shape):
    with pytest.raises(ValueError, match="at least 32 pixels"):
        metric(torch.zeros(shape))


@pytest.mark.parametrize("load", [load_pocket, load_pocket_calibration])
def test_a_missing_weights_file_is_named(monkeypatch, tmp_path, load):
    monkeypatch.setattr(pocket, "WEIGHTS", tmp_path / "gone.safetensors")
    with pytest.raises(ValueError, match=r"gone\.safetensors: .*restore the file"):
        load()


@pytest.mark.parametrize("load", [load_pocket, load_pocket_calibration])
def test_a_damaged_weights_file_is_named(monkeypatch, tmp_path, load):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(pocket.WEIGHTS.read_bytes()[:5000])
    monkeypatch.setattr(pocket, "WEIGHTS", damaged)
    with pytest.raises(ValueError, match=r"damaged\.safetensors is damaged .*: restore"):
        load()


def test_weights_of_another_network_are_refused(monkeypatch, tmp_path):
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({"network.x": torch.zeros(3)}, other)
    monkeypatch.setattr(pocket, "WEIGHTS", other)
    with pytest.raises(ValueError, match=r"other\.safetensors does not fit"):
        load_pocket()
    with pytest.raises(ValueError, match=r"other\.safetensors lacks xi3"):
        load_pocket_calibration()
