"""CLIP-IQA and CLIP-IQA+: whether a picture goes better with "good" or with "bad" texts.

Source: Wang, Chan, Loy, "Exploring CLIP for assessing the look and feel of images", AAAI 2023.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...files.pickles import read_pickle
from ...files.stored import Stored
from ...files.weights import read_finite
from ..prior import Scorer
from .learned import learned_texts, read_learned
from .model import Clip, VisionShape, load_clip
from .tokens import tokenise

SMALLEST = 32  # pixels: one position at the tower's end
# Better and worse by turns. The paper has one pair; pyiqa's metric of this name averages five.
PROMPTS = (
    *("Good image", "bad image", "Sharp image", "blurry image", "sharp edges", "blurry edges"),
    *("High resolution image", "low resolution image", "Noise-free image", "noisy image"),
)
# CLIP-IQA+ puts these words in the middle of its learned ones.
MIDDLES, LENGTHS = ("good photo..", "bad photo.."), (3, 3)  # their tokens
LARGEST = 2048  # pixels a side of a square that a transformer is given: 21,000 tokens


@dataclass(frozen=True)
class ClipIqa:
    """CLIP-IQA with frozen weights, as a metric.

    Attributes:
        clip: a CLIP with a residual image tower, or with any if `positions`.
        text: embeddings of the prompts, better and worse by turns, (2 P, features), of length 1.
        positions: whether the image tower is told positions.
    """

    clip: Clip
    text: Tensor
    positions: bool = False

    def __call__(self, image: Tensor, whole: bool = False) -> Tensor:
        """Score (B,) in [0, 1], higher is better, of RGB pictures (B, 3, H, W) in [0, 1].

        Args:
            image: the pictures.
            whole: whether a transformer is also shown what is beyond the last whole patch, with
                the picture's borders repeated.
        Raises: ValueError for another shape, a side below 32 pixels, or more pixels than a
            transformer can attend to.
        """
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"picture of shape {tuple(image.shape)}: (B, 3, H, W) is needed, with H and W at "
                f"least {SMALLEST} pixels; enlarge a smaller picture"
            )
        shape, (height, width) = self.clip.shape.image, image.shape[-2:]
        patch = shape.patch if isinstance(shape, VisionShape) else 1
        if patch > 1 and height * width > LARGEST**2:
            raise ValueError(
                f"a picture of {width}x{height} pixels is too large for this prior's transformer: "
                f"at most {LARGEST} squared; make it smaller, or choose clipiqa+"
            )
        inner = image.to(self.text.dtype)
        if whole:
            inner = F.pad(inner, (0, -width % patch, 0, -height % patch), mode="replicate")
        with torch.autocast(image.device.type, enabled=False):
            features = self.clip.encode_image(inner, self.positions)
            logits = self.clip.logit_scale.exp() * features @ self.text.T
            better = logits.unflatten(-1, (-1, 2)).softmax(-1)[..., 0]
        return better.mean(-1).to(image.dtype)


def build_clipiqa(clip: Clip, text: Tensor | None = None, positions: bool = False) -> ClipIqa:
    """A metric from a CLIP, which is frozen and loses its text tower.

    Args:
        clip: as RN50.
        text: embeddings of prompts as for `ClipIqa`; those of PROMPTS by default.
        positions: as for `ClipIqa`.
    """
    clip.eval().requires_grad_(False)
    scale = clip.logit_scale
    if text is None:
        with torch.no_grad():
            text = clip.encode_text(tokenise(PROMPTS).to(scale.device))
    clip.drop_text()
    return ClipIqa(clip, text.to(scale), positions)


def load_clipiqa(
    device: str | torch.device,
    paths: tuple[Path, ...],
    learned: bool = False,
    positions: bool = False,
) -> Scorer:
    """CLIP-IQA from OpenAI's RN50, or CLIP-IQA+ from that or another CLIP and its learned words.

    Args:
        device: where the weights go; pictures must be there too.
        paths: the CLIP in any layout that `load_clip` takes; with `learned` also the learned
            words, CLIP-IQA+_learned_prompts-603f3273.pth, or with `positions` the prompt learner,
            as CLIPIQA+_RN50_512-89f5d940.pth.
        learned: whether it is CLIP-IQA+.
        positions: whether it is one of CLIP-IQA+'s variants whose tower is told positions.
    Raises: ValueError if a file cannot be used.
    """
    clip = load_clip(paths[0])
    text = None
    if learned:
        if positions:
            parts = read_learned(paths[1], "CLIP-IQA+", len(MIDDLES), clip.shape.text.width)
        else:
            parts = _read_words(paths[1], clip)
        text = learned_texts(clip, *parts, LENGTHS)
    metric = build_clipiqa(clip.to(device), text, positions)
    patches = isinstance(clip.shape.image, VisionShape)
    return Scorer(metric, partial(metric, whole=True) if patches else None)


def _read_words(path: Path, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
    """`words`, `start` and `rest` of `learned_texts` from a file of the words alone."""
    table = clip.text.get_submodule("text_model.embeddings.token_embedding").weight
    assert isinstance(table, Tensor)
    width = table.shape[1]
    words = read_pickle(path, "learned prompts")
    shape = words.shape if isinstance(words, Stored) else type(words).__name__
    if not isinstance(words, Stored) or len(words.shape) != 3 or shape[::2] != (2, width):
        raise ValueError(
            f"{path} holds no learned prompts of CLIP-IQA+ (found {shape}, wanted (2, 16, {width}))"
            ": choose another file"
        )
    own = table[tokenise(MIDDLES)]
    return read_finite(words).float(), own[:, :1], own[:, 1:]
