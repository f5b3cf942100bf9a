"""NIQE: the distance of a picture's local statistics from those of good photographs.

Source: Mittal, Soundararajan, Bovik, "Making a completely blind image quality analyzer",
IEEE Signal Processing Letters 20(3), 2013, doi:10.1109/LSP.2012.2227726. The shape of the
asymmetric generalised Gaussian is estimated by moments: Lasmar, Stitou, Berthoumieu, "Multiscale
skewed heavy tailed model for texture analysis", ICIP 2009, doi:10.1109/ICIP.2009.5414404.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .prior import Scorer

BLOCK = 96
MIN_SIDE = 96
# In exact arithmetic an even area has coefficients of 0, counted on neither side of the
# distribution; in float64 they are some 1e-13 of either sign, and would be counted.
ZERO_COEFFICIENT = 1e-7
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
        device: where the images will be; MPS will not do, it has no float64.
        whole: as for `niqe`.
    Returns: `niqe` with its parameters bound; see there for ranges.
    """
    mean, covariance = load_niqe_parameters(PARAMETERS_FILE)
    parameters = NiqeParameters(mean.to(device), covariance.to(device))
    return partial(niqe, parameters=parameters, whole=whole)


def load_niqe_scorer(device: torch.device | str, paths: tuple[Path, ...]) -> Scorer:
    """Its ways to score; as `load_niqe`."""
    del paths  # its parameters are the pack's
    return Scorer(load_niqe(device), load_niqe(device, whole=True))


def load_niqe_parameters(path: Path | str) -> NiqeParameters:
    """Read the pristine model from a safetensors file with keys `mean` and `covariance`."""
    from safetensors.torch import load_file

    tensors = load_file(path)
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
    y = luma(image)
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
    return torch.einsum("bi,bij,bj->b", difference, precision, difference).sqrt()


def luma(image: Tensor) -> Tensor:
    """Luma on 0..255 as MATLAB's rgb2gray has it (BT.601, full swing), (B, 1, H, W), float64."""
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        given = f"NIQE was given shape {tuple(image.shape)} of {image.dtype}"
        raise ValueError(f"{given}: pass RGB in [0, 1], shape (B, 3, H, W), floating dtype")
    if not image.isfinite().all():
        raise ValueError("NIQE was given an image with NaN or inf: look at the step that made it")
    red, green, blue = (255 * image.double()).split(1, dim=1)
    return 0.2989360212937756 * red + 0.5870430744511212 * green + 0.1140209042551033 * blue


def crop_to_blocks(y: Tensor) -> Tensor:
    """Top left part of (B, 1, H, W) made of whole blocks of 96 px."""
    rows, columns = y.shape[-2] // BLOCK, y.shape[-1] // BLOCK
    if rows * columns < 2:
        raise ValueError(
            f"a picture of {y.shape[-2]}x{y.shape[-1]} (height x width) is too small for NIQE: it"
            f" needs two blocks of {BLOCK} px, so enlarge it to {BLOCK}x{2 * BLOCK} or more"
        )
    return y[..., : rows * BLOCK, : columns * BLOCK]


def normalised_coefficients(y: Tensor) -> Tensor:
    """Mean-subtracted, contrast-normalised coefficients, Eq. (1) to (3), of luma (B, 1, H, W)."""
    t = torch.arange(-3, 4, dtype=y.dtype, device=y.device)
    g = torch.exp(-(t**2) / (2 * (7 / 6) ** 2))
    g = g / g.sum()

    def smooth(z: Tensor) -> Tensor:
        z = F.pad(z, (3, 3, 3, 3), mode="replicate")
        return F.conv2d(F.conv2d(z, g.view(1, 1, 1, 7)), g.view(1, 1, 7, 1))

    mu = smooth(y)
    sigma = (smooth(y**2) - mu**2).clamp_min(1e-8).sqrt()  # the root has no derivative at 0
    coefficients = (y - mu) / (sigma + 1)
    return torch.where(coefficients.abs() > ZERO_COEFFICIENT, coefficients, 0.0)


def halve(y: Tensor) -> Tensor:
    """Half size as by MATLAB's imresize(y, 0.5): antialiased bicubic, edges mirrored."""
    weights = y.new_tensor([-3, -9, 29, 111, 111, 29, -9, -3]).view(1, 1, 1, 8) / 256
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
    alpha, left, right, valid = fit_asymmetric_gaussian(samples)
    eta = (right - left) * (torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha)).exp()
    single = torch.stack([alpha, (left + right) / 2], -1)[:, :, 0]
    pairs = torch.stack([alpha, eta, left, right], -1)[:, :, 1:].flatten(2)
    return torch.cat([single, pairs], -1), valid.all(-1)


def fit_asymmetric_gaussian(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit an asymmetric generalised Gaussian to the last axis of x by its moments (Lasmar 2009).

    Returns: alpha, left beta, right beta, and True where both sides have samples.
    """
    left, right = x < 0, x > 0
    valid = left.any(-1) & right.any(-1)

    def mean(z: Tensor, count: Tensor | int) -> Tensor:
        return torch.where(valid, z.sum(-1) / count, 1.0)

    sigma_left = mean(x**2 * left, left.sum(-1).clamp_min(1)).sqrt()
    sigma_right = mean(x**2 * right, right.sum(-1).clamp_min(1)).sqrt()
    gamma = sigma_left / sigma_right
    r = mean(x.abs(), x.shape[-1]) ** 2 / mean(x**2, x.shape[-1])
    rho = r * (gamma**3 + 1) * (gamma + 1) / (gamma**2 + 1) ** 2
    alpha = solve_shape(rho)
    spread = ((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2).exp()
    return alpha, sigma_left * spread, sigma_right * spread, valid


def moment_ratio(alpha: Tensor) -> Tensor:
    """rho(alpha) = Gamma(2/alpha)^2 / (Gamma(1/alpha) Gamma(3/alpha)), rising from 0 to 3/4."""
    return (2 * torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)).exp()


def solve_shape(rho: Tensor) -> Tensor:
    """The alpha in [0.2, 10] with moment_ratio(alpha) = rho, with its derivative 1 / rho'(alpha).

    A table gives alpha to 0.001, Newton steps refine it, and the last one, linear in rho with a
    slope held constant, carries the gradient (implicit function theorem).
    """
    table = torch.linspace(0.2, 10, 9801, dtype=rho.dtype, device=rho.device)
    ratios = moment_ratio(table)
    rho = rho.clamp(ratios[0], ratios[-1])
    alpha = table[torch.searchsorted(ratios, rho.detach().contiguous())]
    for last in (False, False, True):
        p = 1 / alpha
        digammas = 4 * torch.digamma(2 * p) - torch.digamma(p) - 3 * torch.digamma(3 * p)
        ratio = moment_ratio(alpha)
        slope = -ratio * digammas * p**2
        alpha = alpha + ((rho if last else rho.detach()) - ratio) / slope
    return alpha


def block_statistics(features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 36) and covariance (B, 36, 36) over the valid blocks of features (B, N, 36)."""
    blocks = valid.sum(1)
    if (blocks < 2).any():
        items = (blocks < 2).nonzero().flatten().tolist()
        raise ValueError(
            f"batch items {items} have fewer than two blocks of {BLOCK} px with any texture, so"
            " NIQE is not defined for them: leave out pictures that are even all over"
        )
    kept = valid[..., None]
    mean = torch.where(kept, features, 0.0).sum(1) / blocks[:, None]
    deviation = torch.where(kept, features - mean[:, None], 0.0)
    return mean, deviation.mT @ deviation / (blocks - 1)[:, None, None]
