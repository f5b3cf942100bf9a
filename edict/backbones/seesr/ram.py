"""RAM's image encoder: a picture as tokens that say what is in it and where."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....files.packages import need_packages
from .network import TOKEN_CHANNELS

PATCH = 4
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


@dataclass(frozen=True)
class SwinGeometry:
    """Sizes of a Swin transformer; the defaults are those of RAM's swin-L.

    Attributes:
        side: of the square picture it sees, in pixels.
        window: side of an attention window, in patches.
        width: channels of the first level; each level doubles them.
        depths, heads: blocks and attention heads of each level.
    """

    side: int = 384
    window: int = 12
    width: int = 192
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (6, 12, 24, 48)

    @property
    def features(self) -> int:
        """Channels of the last level."""
        return self.width * 2 ** (len(self.depths) - 1)

    @property
    def tokens(self) -> int:
        """How many tokens a picture becomes: one of all of it, and one of each last-level patch."""
        return 1 + (self.side // (PATCH * 2 ** (len(self.depths) - 1))) ** 2


SWIN_L = SwinGeometry()


class ImageEncoder(nn.Module):
    """Swin transformer and projection, untrained.

    Source: Liu et al., arXiv 2103.14030; Zhang et al., arXiv 2306.03514 (RAM).
    """

    def __init__(self, geometry: SwinGeometry = SWIN_L):
        super().__init__()
        need_packages("SeeSR's image encoder", "timm")
        from timm.models.swin_transformer import SwinTransformer

        self.geometry = geometry
        self.visual_encoder: Any = SwinTransformer(
            img_size=geometry.side,
            patch_size=PATCH,
            window_size=geometry.window,
            embed_dim=geometry.width,
            depths=geometry.depths,
            num_heads=geometry.heads,
            num_classes=0,
            weight_init="skip",
        )
        self.image_proj = nn.Linear(geometry.features, TOKEN_CHANNELS)

    def forward(self, image: Tensor) -> Tensor:
        """Map a prepared picture (B, 3, side, side) to tokens (B, n, 512), the mean one first."""
        features = self.visual_encoder.forward_features(image).flatten(1, 2)
        features = torch.cat((features.mean(1, keepdim=True), features), 1)
        return self.image_proj(features)


def prepare(image: Tensor, side: int = SWIN_L.side) -> Tensor:
    """A picture as the encoder wants it.

    Args:
        image: RGB in [0, 1], (B, 3, H, W), any size; its shape is squeezed into a square.
        side: of that square, in pixels.
    Returns: (B, 3, side, side), of about zero mean and unit variance.
    """
    small = F.interpolate(image, (side, side), mode="bilinear", antialias=True)
    mean, deviation = (small.new_tensor(value)[:, None, None] for value in (MEAN, DEVIATION))
    return (small - mean) / deviation


@torch.no_grad()
def image_tokens(encoder: ImageEncoder, image: Tensor) -> Tensor:
    """The tokens of a picture.

    Args:
        encoder: with weights, on any device.
        image: RGB in [0, 1], (B, 3, H, W), any size, on any device.
    Returns: (B, n, 512), float32, on the encoder's device; n is 145 for RAM.
    """
    weight = encoder.image_proj.weight
    return encoder(prepare(image.to(weight), encoder.geometry.side)).float()
