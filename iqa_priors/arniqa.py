"""ARNIQA: a ResNet-50 that has learnt to tell degradations apart, and a linear map to opinions.

Source: Agnolucci, Galteri, Bertini, Del Bimbo, "ARNIQA: Learning distortion manifold for image
quality assessment", WACV 2024, arXiv 2310.14918.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.constants import constant
from ..files.weights import fill_module, find_tensors, read_weights
from .prior import Scorer
from .pyiqa.networks import guarded

FEATURES = 2048  # of each of the two sizes the picture is looked at
MEAN = (0.485, 0.456, 0.406)  # of ImageNet
DEVIATION = (0.229, 0.224, 0.225)


def load_arniqa(
    device: str | torch.device, paths: tuple[Path, ...], scale: tuple[float, float]
) -> Scorer:
    """ARNIQA with its weights.

    Args:
        device: where they go; pictures must be there too.
        paths: ARNIQA.pth, and the regressor, which is published as a TorchScript program: its
            numbers are read, it is not run.
        scale: (worst, best) of the opinions that the regressor has learnt.
    Raises: ValueError if a file cannot be used.
    """
    with torch.device("meta"):
        encoder = build_encoder()
    stored = find_tensors(paths[0], "ARNIQA encoder")
    own = {k.removeprefix("model."): v for k, v in stored.items() if k.startswith("model.")}
    fill_module(encoder, own, "ARNIQA's ResNet-50", torch.float32, device)
    slope, offset = (part.to(device) for part in read_linear(paths[1], 2 * FEATURES))
    return arniqa(encoder, slope, offset, scale)


def build_encoder() -> nn.Sequential:
    """A ResNet-50 without its last layer, numbered as in ARNIQA's file, of starting weights."""
    from torchvision.models import resnet50

    return nn.Sequential(*list(resnet50(weights=None).children())[:-1])


def arniqa(encoder: nn.Module, slope: Tensor, offset: Tensor, scale: tuple[float, float]) -> Scorer:
    """The way to score: RGB in [0, 1], (B, 3, H, W) of any size from 16 pixels -> (B,), about 0..1.

    Args:
        encoder: normalised pictures to FEATURES numbers.
        slope, offset: of the linear map, (2 * FEATURES,) and ().
        scale: as for `load_arniqa`.
    """
    worst, best = scale

    def features(image: Tensor) -> Tensor:
        mean, deviation = (constant(v, image).view(3, 1, 1) for v in (MEAN, DEVIATION))
        return F.normalize(encoder((image - mean) / deviation).flatten(1), dim=1)

    def score(image: Tensor) -> Tensor:
        half = F.interpolate(image, scale_factor=0.5, mode="bilinear")
        both = torch.cat((features(image), features(half)), 1)
        return (both @ slope.to(both) + offset.to(both) - worst) / (best - worst)

    return Scorer(guarded("arniqa", score, encoder))


def read_linear(path: Path, count: int) -> tuple[Tensor, Tensor]:
    """Slope (count,) and offset () of a linear map, float32, whatever the file calls them.

    Raises: ValueError if the file is damaged or holds anything else.
    """
    tensors = find_tensors(path, "linear regressor")
    sizes = sorted(math.prod(tensor.shape) for tensor in tensors.values())
    if sizes != [1, count]:
        sizes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        raise ValueError(
            f"{path} is no linear map of {count} features ({sizes or 'it is empty'}): fetch it "
            "again, or choose another prior"
        )
    parts = sorted(read_weights(tensors).values(), key=Tensor.numel)
    offset, slope = (part.float().flatten() for part in parts)
    return slope, offset[0]
