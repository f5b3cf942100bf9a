from pathlib import Path

import numpy as np
import pytest
import torch
from latent_map.iqa_priors import natural_scenes
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.natural_scenes import luma, moment_ratio
from latent_map.iqa_priors.niqe import (
    PARAMETERS_FILE,
    block_statistics,
    halve,
    load_niqe,
    load_niqe_parameters,
)

CALIBRA = Path(__file__).resolve().parents[2] / "shared" / "data" / "iqa" / "pyiqa_calibra"

# Score of `picture(seed)` by pyiqa 0.1.16's NIQE (torch 2.15.0, CPU) with BasicSR's parameters.
PYIQA_SCORES = {0: 14.433206301808278, 3: 9.596908662976496}
# NIQE of the authors' release, "niqe" in results_official.csv and calibration_summary.csv.
PUBLISHED_SCORES = {
    "I03": 15.7536293917814,
    "I04": 3.65492152353770,
    "I06": 3.23547743716998,
    "I08": 3.18403333858339,
    "I19": 8.63519663862637,
}

PUBLISHED_TOLERANCE = 0.06  # alpha is not cut to the 0.001 table, and even areas count as exactly 0
PYIQA_TOLERANCE = 0.05  # alpha off the table moves six blocks of noise by up to 0.03
PYIQA_TABLE_TOLERANCE = (
    1e-4  # with the same table the rest is float32 (their resize): 1e-5 measured
)
DIFFERENCE_STEP = 1e-6  # small enough that no coefficient changes its sign, where the score jumps
DIFFERENCE_TOLERANCE = 0.02  # asked of us; measured below 1e-4
EXACT = 1e-9  # float64 rounding


def picture(seed: int, height: int = 208, width: int = 304) -> torch.Tensor:
    """Grey noise of five octaves in whole numbers, (1, 3, H, W), float64: the same everywhere."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.int64)
    for cell in (1, 2, 4, 8, 16):
        coarse = rng.integers(0, 256, (height // cell, width // cell))
        total += cell * np.kron(coarse, np.ones((cell, cell), np.int64))
    padded = np.pad(total, 1, mode="edge")
    box = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    return torch.from_numpy(box // (9 * 31)).double().div(255).expand(1, 3, -1, -1)


def colour_picture(seed: int, height: int = 192, width: int = 192) -> torch.Tensor:
    """Three different grey pictures as red, green and blue."""
    return torch.cat([picture(3 * seed + k, height, width)[:, :1] for k in range(3)], dim=1)


def score_and_gradient(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    image = image.clone().requires_grad_()
    score = load_niqe()(image)
    return score.detach(), torch.autograd.grad(score.sum(), image)[0]


def slope_along(image: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    metric, step = load_niqe(), DIFFERENCE_STEP * direction
    return (metric(image + step) - metric(image - step)) / (2 * DIFFERENCE_STEP)


def shape_on_the_published_table(rho: torch.Tensor) -> torch.Tensor:
    table = torch.arange(200, 10001, dtype=torch.float64) / 1000
    nearest = [(moment_ratio(table) - value).abs().argmin() for value in rho.flatten()]
    return table[torch.stack(nearest)].reshape(rho.shape)


def test_batch_equals_singles():
    images = torch.cat([colour_picture(0), colour_picture(1)])
    metric = load_niqe()
    singles = torch.cat([metric(images[:1]), metric(images[1:])])
    assert metric(images).shape == (2,)
    torch.testing.assert_close(metric(images), singles, rtol=EXACT, atol=EXACT)


def test_the_score_is_float64_and_the_gradient_has_the_dtype_of_the_image():
    score, gradient = score_and_gradient(colour_picture(0).float())
    assert score.dtype == torch.float64
    assert gradient.dtype == torch.float32


def test_pixels_beyond_the_last_whole_block_do_not_count():
    image = picture(0)
    score, gradient = score_and_gradient(image)
    assert torch.equal(score, load_niqe()(image[..., :192, :288]))
    assert gradient[..., 192:, :].count_nonzero() == gradient[..., 288:].count_nonzero() == 0
    assert gradient[..., :192, :288].abs().amin(1).count_nonzero() > 0.99 * 192 * 288


def test_the_prior_leaves_no_pixel_out_and_is_the_score_of_the_mirrored_picture():
    prior, image = load_prior("niqe"), picture(0)
    mirrored = torch.nn.functional.pad(image, (0, 80, 0, 80), mode="reflect")
    assert torch.equal(prior.metric(image), load_niqe()(mirrored))
    assert torch.equal(prior.scores(image)["niqe"], load_niqe()(image))
    even = image[..., :192, :288]
    assert torch.equal(prior.metric(even), load_niqe()(even))
    moving = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(prior.metric(moving).sum(), moving)
    assert gradient.abs().amin(1).count_nonzero() > 0.99 * 208 * 304
    with pytest.raises(ValueError, match="too small for NIQE"):
        prior.metric(image[..., :100, :191])


def test_gradient_agrees_with_finite_differences_along_itself():
    image = colour_picture(0)
    gradient = score_and_gradient(image)[1]
    ratio = slope_along(image, gradient / gradient.norm()) / gradient.norm()
    assert abs(ratio.item() - 1) < DIFFERENCE_TOLERANCE


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradient_agrees_with_finite_differences_along_a_random_direction(seed):
    image = colour_picture(1)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    direction = direction / direction.norm()
    expected = (score_and_gradient(image)[1] * direction).sum()
    assert abs(slope_along(image, direction).item() / expected.item() - 1) < DIFFERENCE_TOLERANCE


@pytest.mark.parametrize("length", [0.05, 0.5])
def test_a_step_down_the_gradient_lowers_niqe(length):
    image = colour_picture(0)
    score, gradient = score_and_gradient(image)
    assert load_niqe()(image - length * gradient / gradient.norm()) < score


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_even_halves_have_a_finite_score_and_gradient(level):
    image = colour_picture(0, 192, 384)
    image[..., 150:] = level  # the edge runs through a block, and two blocks are even
    score, gradient = score_and_gradient(image)
    assert score.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1e3
    assert gradient.count_nonzero() > 0


def test_even_blocks_are_left_out():
    features = torch.tensor([[[1.0], [3.0], [torch.nan]]], dtype=torch.float64)
    mean, covariance = block_statistics(features, torch.tensor([[True, True, False]]))
    assert mean.item() == 2
    assert covariance.item() == 2


def test_an_even_picture_is_refused():
    images = torch.cat([picture(0), torch.full((1, 3, 208, 304), 0.3, dtype=torch.float64)])
    with pytest.raises(ValueError, match=r"picture 2 of 2: fewer than two blocks"):
        load_niqe()(images)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (191, 191), (95, 400)])
def test_a_picture_under_two_blocks_is_refused(height, width):
    with pytest.raises(ValueError, match="enlarge it to 96x192 or more"):
        load_niqe()(torch.rand(1, 3, height, width))


@pytest.mark.parametrize(("height", "width"), [(96, 192), (192, 96)])
def test_two_blocks_are_enough(height, width):
    score, gradient = score_and_gradient(colour_picture(0, height, width))
    assert score.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "image", [torch.rand(1, 1, 192, 192), torch.rand(3, 192, 192), torch.ones(1, 3, 192, 192).int()]
)
def test_what_is_not_rgb_is_refused(image):
    with pytest.raises(ValueError, match=r"pass RGB in \[0, 1\]"):
        load_niqe()(image)


def test_a_pixel_that_is_not_a_number_is_refused():
    image = picture(0).clone()
    image[0, 0, 5, 5] = torch.nan
    with pytest.raises(ValueError, match="NaN or inf"):
        load_niqe()(image)


def test_halve_keeps_a_ramp_and_mirrors_its_edges():
    ramp = torch.arange(16, dtype=torch.float64).expand(1, 1, 16, 16)
    half = halve(ramp)[0, 0, 3]
    torch.testing.assert_close(half[2:6], 2 * torch.arange(2, 6).double() + 0.5)
    # First output by hand: mirrored 2 1 0 | 0 1 2 3 4 under (-3 -9 29 111 111 29 -9 -3) / 256.
    assert half[0].item() == pytest.approx((-6 - 9 + 0 + 0 + 111 + 58 - 27 - 12) / 256)
    assert torch.equal(halve(ramp.mT), halve(ramp).mT)


def test_the_pristine_model_is_a_covariance():
    mean, covariance = load_niqe_parameters(PARAMETERS_FILE)
    assert mean.shape == (36,)
    assert torch.equal(covariance, covariance.mT)
    assert torch.linalg.eigvalsh(covariance).min() > 0


@pytest.mark.parametrize("seed", PYIQA_SCORES)
def test_scores_are_those_of_pyiqa(seed):
    assert load_niqe()(picture(seed)).item() == pytest.approx(
        PYIQA_SCORES[seed], abs=PYIQA_TOLERANCE
    )


@pytest.mark.parametrize("seed", PYIQA_SCORES)
def test_scores_with_the_published_alpha_table_are_exactly_those_of_pyiqa(seed, monkeypatch):
    monkeypatch.setattr(natural_scenes, "solve_shape", shape_on_the_published_table)
    assert load_niqe()(picture(seed)).item() == pytest.approx(
        PYIQA_SCORES[seed], abs=PYIQA_TABLE_TOLERANCE
    )


@pytest.mark.skipif(not CALIBRA.is_dir(), reason=f"images not redistributable, none at {CALIBRA}")
@pytest.mark.parametrize("name", PUBLISHED_SCORES)
def test_scores_are_those_published(name):
    from PIL import Image

    pixels = np.array(Image.open(CALIBRA / "dist_dir" / f"{name}.bmp").convert("RGB"))
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255
    # The release rounds the luma to 8 bits; a grey picture keeps what it is given.
    grey = (luma(image, "NIQE").round() / 255).expand(-1, 3, -1, -1)
    assert load_niqe()(grey).item() == pytest.approx(
        PUBLISHED_SCORES[name], abs=PUBLISHED_TOLERANCE
    )
