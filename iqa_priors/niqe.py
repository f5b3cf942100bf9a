"""NIQE: the distance of a picture's local statistics from those of good photographs.

Source: Mittal, Soundararajan, Bovik, "Making a completely blind image quality analyzer",
IEEE Signal Processing Letters 20(3), 2013, doi:10.1109/LSP.2012.2227726.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import constant
from ..files.devices import complete_device, exact
from ..files.weights import read_table
from .natural_scenes import (
    asymmetric_mean,
    fit_asymmetric_gaussian,
    luma,
    normalised_coefficients,
    spread,
)
from .prior import Scorer

BLOCK = 96
FEATURES = 36
MIN_SIDE = 96
PARAMETERS_FILE = Path(__file__).with_name("niqe_parameters.safetensors")


class NiqeParameters(NamedTuple):
    """Gaussian model of the features of pristine photographs, float64."""

    mean: Tensor  # (36,)
    covariance: Tensor  # (36, 36)


def load_niqe(
    device: torch.device | str = "cpu", whole: bool = False
) -> Callable[[Tensor], Tensor]:
    """NIQE with the published pristine model, as a metric image (B, 3, H, W) -> score (B,).

    Args:
        device: where the images will be; where there is no float64 the CPU computes.
        whole: as for `niqe`.
    Returns: `niqe` with its parameters bound; see there for ranges.
    """
    mean, covariance = load_niqe_parameters(PARAMETERS_FILE)
    place = complete_device(device)
    parameters = NiqeParameters(mean.to(place), covariance.to(place))
    return partial(niqe, parameters=parameters, whole=whole)


def load_niqe_scorer(device: torch.device | str, paths: tuple[Path, ...]) -> Scorer:
    """Its ways to score; as `load_niqe`."""
    del paths  # its parameters are the pack's
    return Scorer(load_niqe(device), load_niqe(device, whole=True))


def load_niqe_parameters(path: Path | str) -> NiqeParameters:
    """Read the pristine model from a safetensors file with keys `mean` and `covariance`.

    Raises: ValueError if the file is missing or damaged.
    """
    shapes = {"mean": (FEATURES,), "covariance": (FEATURES, FEATURES)}
    tensors = read_table(Path(path), "NIQE's pristine model", shapes)
    return NiqeParameters(tensors["mean"].double(), tensors["covariance"].double())


def niqe(image: Tensor, parameters: NiqeParameters, whole: bool = False) -> Tensor:
    """Natural Image Quality Evaluator, Eq. (10) of the paper; lower is better.

    As in the authors' release, the picture is cropped at the right and bottom to multiples of the
    96 px block, so the pixels beyond have no gradient, and blocks too even to have statistics are
    left out. Unlike there the luma is not rounded to 8 bits, which moves blurred pictures most
    (by 0.45 at a score of 15). The gradient is exact except where a coefficient changes its sign
    or an even area stops being even: there the score itself jumps, as it divides by counts of them.

    Args:
        image: RGB in [0, 1], shape (B, 3, H, W), any floating dtype; at least two blocks, that is
            96 x 192 or 192 x 96 pixels.
        parameters: pristine model, on the device of the image.
        whole: whether the borders are mirrored up to whole blocks instead, so that no pixel is
            left out.
    Returns: raw score per item, shape (B,), float64; good photographs have 2 to 5.
    Raises: ValueError if the image is not finite RGB, too small, or even in all blocks but one.
    Source: Mittal et al. 2013, doi:10.1109/LSP.2012.2227726.
    """
    y = luma(image, "NIQE")
    cropped = crop_to_blocks(y)
    margins = (0, -y.shape[-1] % BLOCK, 0, -y.shape[-2] % BLOCK)
    y = F.pad(y, margins, mode="reflect") if whole else cropped
    features, valid = block_features(normalised_coefficients(y), BLOCK)
    features_half, valid_half = block_features(normalised_coefficients(halve(y)), BLOCK // 2)
    features = torch.cat([features, features_half], -1)
    mean, covariance = block_statistics(features, valid & valid_half)
    difference = parameters.mean - mean
    pooled = (parameters.covariance + covariance) / 2
    precision = torch.linalg.pinv(pooled, hermitian=True)
    score = torch.einsum("bi,bij,bj->b", difference, precision, difference).sqrt()
    return exact(score, image.device)


def crop_to_blocks(y: Tensor) -> Tensor:
    """Top left part of (B, 1, H, W) made of whole blocks of 96 px."""
    rows, columns = y.shape[-2] // BLOCK, y.shape[-1] // BLOCK
    if rows * columns < 2:
        raise ValueError(
            f"a picture of {y.shape[-2]}x{y.shape[-1]} (height x width) is too small for NIQE: it"
            f" needs two blocks of {BLOCK} px, so enlarge it to {BLOCK}x{2 * BLOCK} or more"
        )
    return y[..., : rows * BLOCK, : columns * BLOCK]


def halve(y: Tensor) -> Tensor:
    """Half size as by MATLAB's imresize(y, 0.5): antialiased bicubic, edges mirrored."""
    weights = constant((-3, -9, 29, 111, 111, 29, -9, -3), y).view(1, 1, 1, 8) / 256
    for _ in range(2):  # columns, then rows
        y = torch.cat([y[..., :3].flip(-1), y, y[..., -3:].flip(-1)], -1)
        y = F.conv2d(y, weights, stride=(1, 2)).mT
    return y


def block_features(coefficients: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The 18 features of each block, (B, N, 18), and which blocks have them, (B, N)."""
    batch, _, height, width = coefficients.shape
    blocks = coefficients.view(batch, height // size, size, width // size, size).transpose(2, 3)
    blocks = blocks.flatten(1, 2)
    # Neighbours wrap around inside the block, as in the authors' release.
    shifts = ((0, 1), (1, 0), (1, 1), (1, -1))
    products = [blocks * blocks.roll(shift, dims=(2, 3)) for shift in shifts]
    samples = torch.stack([blocks, *products], 2).flatten(3)
    alpha, sigma_left, sigma_right, valid = fit_asymmetric_gaussian(samples)
    width = spread(alpha)
    left, right = sigma_left * width, sigma_right * width
    eta = asymmetric_mean(alpha, left, right)
    single = torch.stack([alpha, (left + right) / 2], -1)[:, :, 0]
    pairs = torch.stack([alpha, eta, left, right], -1)[:, :, 1:].flatten(2)
    return torch.cat([single, pairs], -1), valid.all(-1)


def block_statistics(features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 36) and covariance (B, 36, 36) over the valid blocks of features (B, N, 36)."""
    blocks = valid.sum(1)
    if (blocks < 2).any():
        items = (blocks < 2).nonzero().flatten().tolist()
        which = f" {', '.join(str(item + 1) for item in items)} of {len(blocks)}"
        raise ValueError(
            f"picture{which if len(blocks) > 1 else ''}: fewer than two blocks of {BLOCK} px have "
            "any texture, so NIQE is not defined: leave out pictures that are even all over"
        )
    kept = valid[..., None]
    mean = torch.where(kept, features, 0.0).sum(1) / blocks[:, None]
    deviation = torch.where(kept, features - mean[:, None], 0.0)
    return mean, deviation.mT @ deviation / (blocks - 1)[:, None, None]
