"""LIQE: how well crops of a picture go with texts about its quality.

Source: Zhang et al., "Blind image quality assessment via vision-language correspondence: a
multitask learning perspective", CVPR 2023. MS-LIQE (ms_liqe.py) is the same with three scales.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from ...files.devices import resized
from ..choices import Pooling
from ..crops import (
    Position,
    covering_crops,
    crop_map,
    crop_outputs,
    enlarged,
    equal_weights,
    mean_over_crops,
)
from ..prior import Scorer
from .model import Clip, VisionShape, load_clip
from .tokens import tokenise

SIDE = 224  # of a crop
STRIDE = 32  # of the published grid of crops
CROPS = 15  # of that grid are looked at
COVERING_STRIDE = 128  # 16 crops for 512 x 512, as many as the published rule has
LARGEST = 768  # pixels: LIQE's authors bring longer short sides down to this

QUALITIES = ("bad", "poor", "fair", "good", "perfect")
SCENES = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life")
DISTORTIONS = (
    *("jpeg2000 compression", "jpeg compression", "noise", "blur", "color", "contrast"),
    *("overexposure", "underexposure", "spatial", "quantization", "other"),
)
QUALITY_PROMPTS = tuple(f"a photo with {quality} quality" for quality in QUALITIES)
# In groups of one quality each, worst first.
MULTITASK_PROMPTS = tuple(
    f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
    for quality, scene, distortion in product(QUALITIES, (*SCENES, "others"), DISTORTIONS)
)

Pyramid = Callable[[Tensor], list[Tensor]]


def expected_quality(logits: Tensor) -> Tensor:
    """Mean quality level from 1 (bad) to 5 (perfect), Eqs. (22) and (24).

    Args:
        logits: similarities over the temperature, shape (B, V), V a multiple of 5: equally many
            prompts for each of the five levels, worst first.
    Returns: (B,), in [1, 5].
    """
    levels = logits.softmax(-1).unflatten(-1, (len(QUALITIES), -1)).sum(-1)
    return levels @ torch.arange(1, 6, dtype=logits.dtype, device=logits.device)


def published_crops(height: int, width: int, side: int = SIDE) -> list[Position]:
    """Corners of the crops that LIQE scores: 15 of the grid, always (N // 15) apart."""
    tops, lefts = (range(0, length - side + 1, STRIDE) for length in (height, width))
    grid = [(top, left) for top in tops for left in lefts]
    count = min(CROPS, len(grid))
    return grid[:: max(1, len(grid) // count)][:count] if grid else []


def one_level(image: Tensor) -> list[Tensor]:
    """LIQE's own pyramid: the picture, enlarged to a short side of 224 if it is smaller."""
    return [enlarged(image, SIDE)]


def limited(image: Tensor) -> list[Tensor]:
    """As `one_level`, after LIQE's own resize: a short side above 768 is brought down to 768."""
    shortest = min(image.shape[-2:])
    if shortest > LARGEST:
        size = [round(side * LARGEST / shortest) for side in image.shape[-2:]]
        image = resized(image, size, "bilinear")
    return one_level(image)


@dataclass(frozen=True)
class Liqe:
    """LIQE or MS-LIQE with frozen weights, as a metric.

    Attributes:
        clip: the image tower is used; computed in the type of its weights.
        text: embeddings of the prompts, (V, features), of length 1.
        pyramid: picture (B, 3, H, W) -> its scales, largest first.
        pooling: "crops" has every crop of every scale weigh the same, as Eq. (23) reads; "levels"
            every scale.
        side: of a crop, in pixels.
    """

    clip: Clip
    text: Tensor
    pyramid: Pyramid = one_level
    pooling: Pooling = "crops"
    side: int = SIDE

    def official(self, image: Tensor) -> Tensor:
        """Quality (B,) in [1, 5] of RGB pictures (B, 3, H, W) in [0, 1] by the published crops."""
        return self._score(image, published=True)

    def covering(self, image: Tensor) -> Tensor:
        """The same from crops that cover each scale; every pixel of a scale weighs the same."""
        return self._score(image, published=False)

    def local(self, image: Tensor) -> Tensor:
        """Quality of the crops of the largest scale that see a pixel, (B, H, W)."""
        level = self.pyramid(image)[0]
        height, width = level.shape[-2:]
        positions = covering_crops(height, width, self.side, self._covering_stride)
        with torch.autocast(image.device.type, enabled=False):
            features = crop_outputs(self._encode, self._cast(level), positions, self.side)
            scores = expected_quality(self._logits(features).flatten(0, 1)).view(len(image), -1)
        return crop_map(scores.to(image.dtype), positions, self.side, (height, width))

    def _score(self, image: Tensor, published: bool) -> Tensor:
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            given = f"a picture of shape {tuple(image.shape)} of {image.dtype}"
            raise ValueError(f"{given}: pass RGB in [0, 1], shape (B, 3, H, W), floating dtype")
        # Half-precision autocast around the caller would change the score in the third digit.
        with torch.autocast(image.device.type, enabled=False):
            levels = self.pyramid(self._cast(image))
            counts = [len(self._published(level)) for level in levels]
            shares = counts if self.pooling == "crops" else [1] * len(levels)
            means = [self._mean(level, published) for level in levels]
            weighted = [share / sum(shares) * m for share, m in zip(shares, means, strict=True)]
            # The mean of the similarities is the similarity of the mean: Eq. (23).
            return expected_quality(self._logits(torch.stack(weighted).sum(0))).to(image.dtype)

    def _mean(self, level: Tensor, published: bool) -> Tensor:
        """Mean embedding (B, features) over crops."""
        if published:
            positions = self._published(level)
            weights = equal_weights(positions)
        else:
            height, width = level.shape[-2:]
            positions = covering_crops(height, width, self.side, self._covering_stride)
            weights = None
        return mean_over_crops(self._encode, level, positions, self.side, weights)

    def _published(self, level: Tensor) -> list[Position]:
        height, width = level.shape[-2:]
        return published_crops(height, width, self.side)

    @property
    def _covering_stride(self) -> int:
        return max(1, self.side * COVERING_STRIDE // SIDE)

    def _encode(self, crops: Tensor) -> Tensor:
        return self.clip.encode_image(crops)

    def _cast(self, image: Tensor) -> Tensor:
        return image.to(self.text.dtype)

    def _logits(self, features: Tensor) -> Tensor:
        return self.clip.logit_scale.exp() * features @ self.text.T


def build_liqe(
    clip: Clip,
    prompts: Sequence[str] = QUALITY_PROMPTS,
    pyramid: Pyramid = one_level,
    pooling: Pooling = "crops",
) -> Liqe:
    """A metric from a CLIP, which is frozen; prompts are encoded once, without a graph.

    Raises: ValueError if the CLIP's image tower is not a transformer.
    """
    if not isinstance(clip.shape.image, VisionShape):
        raise ValueError("LIQE needs a CLIP with a transformer as image tower, as ViT-B/32")
    if pooling not in get_args(Pooling):
        raise ValueError(f"unknown pooling {pooling!r}: choose {' or '.join(get_args(Pooling))}")
    clip.eval().requires_grad_(False)
    with torch.no_grad():
        text = clip.encode_text(tokenise(prompts).to(clip.logit_scale.device))
    return Liqe(clip, text, pyramid, pooling, clip.shape.image.side)


def as_scorer(liqe: Liqe) -> Scorer:
    """Its ways to score."""
    return Scorer(liqe.official, liqe.covering, liqe.local)


def load_liqe(
    device: str | torch.device,
    paths: tuple[Path, ...],
    multitask: bool = False,
) -> Scorer:
    """LIQE from a published checkpoint.

    Args:
        device: where the weights go; pictures must be there too.
        paths: liqe_koniq.pt or liqe_mix.pt of pyiqa, or the same CLIP in another layout.
        multitask: 495 prompts of quality, scene and distortion (liqe_mix, the paper's) instead of
            five of quality.
    Raises: ValueError if the file cannot be used.
    """
    prompts = MULTITASK_PROMPTS if multitask else QUALITY_PROMPTS
    clip = load_clip(paths[0]).to(device)
    liqe = build_liqe(clip, prompts)
    clip.drop_text()
    return as_scorer(liqe)
