"""The LAION aesthetics predictor: a linear map of CLIP ViT-L/14's embedding.

Source: Schuhmann, "improved-aesthetic-predictor" (Apache-2.0), trained on SAC, LOGOS and AVA. Its
layers have no nonlinearity between them.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ...files.devices import resized
from ..crops import covering_crops, mean_over_crops
from ..prior import Scorer
from ..pyiqa.offline import load_checkpoint
from .model import Clip, load_clip

WIDTHS = (1024, 128, 64, 16, 1)
FEATURES = 768  # of CLIP ViT-L/14
PLACES = (0, 2, 4, 6, 7)  # of the layers in the file; dropouts stood between them


class Head(nn.Module):
    """The predictor's layers, under the names of its file."""

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for place, before, after in zip(PLACES, (features, *WIDTHS[:-1]), WIDTHS, strict=True):
            self.layers[str(place)] = nn.Linear(before, after)

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers.values():
            features = layer(features)
        return features


def load_laion_aes(device: str | torch.device, paths: tuple[Path, ...]) -> Scorer:
    """The predictor with its weights.

    Args:
        device: where the weights go; pictures must be there too.
        paths: CLIP ViT-L/14 in any layout that `load_clip` takes, and the predictor.
    Raises: ValueError if a file cannot be used.
    """
    head = load_checkpoint(Head(), paths[1], "the LAION aesthetics predictor")
    clip = load_clip(paths[0])
    clip.drop_text()
    return laion_aes(clip.to(device), head.to(device))


def laion_aes(clip: Clip, head: nn.Module) -> Scorer:
    """The ways to score: the published rule sees the centre square of the picture only.

    Both shrink the picture to a short side of CLIP's 224 pixels first; covering averages over
    squares along the long side. Pictures: RGB in [0, 1], (B, 3, H, W) -> (B,), about 1 to 10.
    """
    side = clip.shape.image.side  # pyright: ignore - a transformer's

    def score(squares: Tensor) -> Tensor:
        return head(clip.encode_image(squares)).reshape(len(squares))

    def official(image: Tensor) -> Tensor:
        small = _shrunk(image, side)
        top, left = (round((length - side) / 2) for length in small.shape[-2:])
        return score(small[..., top : top + side, left : left + side]).to(image.dtype)

    def covering(image: Tensor) -> Tensor:
        small = _shrunk(image, side)
        height, width = small.shape[-2:]
        positions = covering_crops(height, width, side, side)
        return mean_over_crops(score, small, positions, side).to(image.dtype)

    def checked(metric):
        def run(image: Tensor) -> Tensor:
            if image.ndim != 4 or image.shape[1] != 3 or not image.isfinite().all():
                raise ValueError(
                    f"laion_aes was given shape {tuple(image.shape)}: pass finite RGB, (B, 3, H, W)"
                )
            with torch.autocast(image.device.type, enabled=False):
                return metric(image)

        return run

    return Scorer(checked(official), checked(covering))


def _shrunk(image: Tensor, side: int) -> Tensor:
    """The picture at a short side of `side` pixels, bicubic, antialiased, in the weights' type."""
    shortest = min(image.shape[-2:])
    size = [max(side, int(length * side / shortest)) for length in image.shape[-2:]]
    return resized(image.float(), size)
