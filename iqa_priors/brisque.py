"""BRISQUE: what people would say of a picture, from its local statistics.

Source: Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial domain",
IEEE Transactions on Image Processing 21(12), 2012, doi:10.1109/TIP.2012.2214050.
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

MIN_SIDE = 32  # ours: half of it still has 256 coefficients
SHIFTS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # neighbours right, below, and on the diagonals
SHAPE_OF_NOTHING = 10.0  # where the release's search for a shape ends without samples
MODEL_FILE = Path(__file__).with_name("brisque_model.safetensors")


class BrisqueModel(NamedTuple):
    """Support vector regression of opinions on features scaled to [-1, 1], float64."""

    support_vectors: Tensor  # (N, 36)
    coefficients: Tensor  # (N,)
    gamma: Tensor  # (), of the Gaussian kernel
    rho: Tensor  # ()
    minimum: Tensor  # (36,), features that are scaled to -1
    maximum: Tensor  # (36,), and to 1


def load_brisque(device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """BRISQUE with the regressor of the authors' C++ release, images (B, 3, H, W) -> scores (B,).

    Args:
        device: where the images will be; where there is no float64 the CPU computes.
    Returns: `brisque` with its model bound; see there for ranges.
    """
    model = load_brisque_model(MODEL_FILE)
    place = complete_device(device)
    return partial(brisque, model=BrisqueModel(*(tensor.to(place) for tensor in model)))


def load_brisque_scorer(device: torch.device | str, paths: tuple[Path, ...]) -> Scorer:
    """Its one way to score; as `load_brisque`."""
    del paths  # its model is the pack's
    return Scorer(load_brisque(device))


def load_brisque_model(path: Path | str) -> BrisqueModel:
    """Read the regressor from a safetensors file with the fields of `BrisqueModel` as keys.

    Raises: ValueError if the file is missing or damaged.
    """
    shapes = {"support_vectors": (None, 36), "coefficients": (None,), "gamma": (), "rho": ()}
    limits = {"minimum": (36,), "maximum": (36,)}
    tensors = read_table(Path(path), "BRISQUE's regressor", {**shapes, **limits})
    return BrisqueModel(*(tensors[field].double() for field in BrisqueModel._fields))


def brisque(image: Tensor, model: BrisqueModel) -> Tensor:
    """Blind/Referenceless Image Spatial Quality Evaluator; lower is better.

    Features are those of the authors' C++ release, for which the regressor was trained, but for
    the luma, which is not rounded to 8 bits, and the shapes, which are not cut to a table of 0.001.
    The gradient is exact except where a coefficient changes its sign: there the score itself jumps,
    as it divides by counts of them. An even picture has no distribution, a score of the worst, and
    no gradient.

    Args:
        image: RGB in [0, 1], shape (B, 3, H, W), any floating dtype, at least 32 pixels a side.
        model: regressor, on the device of the image.
    Returns: raw score per item, shape (B,), float64; 0 (good) to 100 (bad), a little beyond both
        is usual.
    Raises: ValueError if the image is not finite RGB, or too small.
    Source: Mittal et al. 2012, doi:10.1109/TIP.2012.2214050.
    """
    y = luma(image, "BRISQUE")
    height, width = y.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"a picture of {height}x{width} (height x width) is too small for BRISQUE: enlarge it"
            f" to {MIN_SIDE} pixels a side or more"
        )
    features = torch.cat([scene_features(y), scene_features(halve(y))], -1)
    scaled = 2 * (features - model.minimum) / (model.maximum - model.minimum) - 1
    return exact(predict(scaled, model), image.device)


def predict(scaled: Tensor, model: BrisqueModel) -> Tensor:
    """Support vector regression of features (B, 36), scaled to [-1, 1]: shape (B,)."""
    distances = (scaled[:, None] - model.support_vectors).square().sum(-1)
    return torch.exp(-model.gamma * distances) @ model.coefficients - model.rho


def scene_features(y: Tensor) -> Tensor:
    """The 18 features of luma (B, 1, H, W) at one scale, (B, 18)."""
    coefficients = normalised_coefficients(y)
    products = [coefficients * neighbours(coefficients, *shift) for shift in SHIFTS]
    samples = torch.cat([coefficients, *products], 1).flatten(2)
    alpha, left, right, valid = fit_asymmetric_gaussian(samples)
    alpha = torch.where(valid, alpha, SHAPE_OF_NOTHING)
    left, right = torch.where(valid, left, 0.0), torch.where(valid, right, 0.0)
    width = spread(alpha)
    eta = asymmetric_mean(alpha, left * width, right * width)
    single = torch.stack([alpha, (left**2 + right**2) / 2], -1)[:, 0]
    pairs = torch.stack([alpha, eta, left**2, right**2], -1)[:, 1:].flatten(1)
    return torch.cat([single, pairs], -1)


def neighbours(z: Tensor, down: int, right: int) -> Tensor:
    """The element that many rows down and columns to the right of each; 0 beyond the border."""
    height, width = z.shape[-2:]
    padded = F.pad(z, (1, 1, 1, 1))
    return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def halve(y: Tensor) -> Tensor:
    """Half size as OpenCV has it: cubic (-0.75), not antialiased; an odd last line is left out."""
    weights = constant((-3, 19, 19, -3), y).view(1, 1, 1, 4) / 32
    for _ in range(2):  # columns, then rows
        y = F.pad(y[..., : y.shape[-1] // 2 * 2], (1, 1, 0, 0), mode="replicate")
        y = F.conv2d(y, weights, stride=(1, 2)).mT
    return y
