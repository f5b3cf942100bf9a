"""QualiCLIP and QualiCLIP+: whether a picture goes better with texts about good or bad quality.

Source: Agnolucci, Galteri, Bertini, "Quality-aware image-text alignment for opinion-unaware image
quality assessment", arXiv 2403.11176. The networks' files are pyiqa's, its code is not needed.
"""

from pathlib import Path

import torch
from torch import Tensor

from ..prior import Metric, Scorer
from ..pyiqa.offline import read_checkpoint
from .learned import learned_texts, read_learned
from .model import Clip, built_clip

SMALLEST = 32  # pixels: one position at the tower's end
TEMPERATURE = 2.0
FEATURES = "prompts_features"
# Words of QualiCLIP+'s texts: "Good photo.", "Bad photo.", "Sharp image.", "Blurry image.",
# "Sharp edges.", "Blurry edges.", "High-resolution image.", "Low-resolution image.", "Noise-free
# image.", "Noisy image.", "High-quality image.", "Low-quality image.", "Good picture.", "Bad
# picture."
LENGTHS = (3, 3, 3, 3, 3, 3, 5, 5, 5, 3, 5, 5, 3, 3)


def load_qualiclip(
    device: str | torch.device, paths: tuple[Path, ...], learned: bool = False
) -> Scorer:
    """QualiCLIP, or QualiCLIP+ with its learned words.

    Args:
        device: where the weights go; pictures must be there too.
        paths: QualiCLIP.pth; with `learned` also a QualiCLIP+ file.
        learned: whether it is QualiCLIP+.
    Raises: ValueError if a file cannot be used.
    """
    tensors = read_checkpoint(paths[0], "QualiCLIP")
    texts = tensors.pop(FEATURES, None)
    if texts is None or texts.ndim != 2 or len(texts) % 2:
        raise ValueError(f"{paths[0]} has no texts' embeddings ({FEATURES}): download it again")
    clip = built_clip(tensors, paths[0])
    if learned:
        words = read_learned(paths[1], "QualiCLIP+", len(LENGTHS), clip.shape.text.width)
        texts = learned_texts(clip, *words, LENGTHS)
    clip.drop_text()
    return Scorer(qualiclip(clip.to(device), texts.float().to(device)))


def qualiclip(clip: Clip, texts: Tensor) -> Metric:
    """The metric of a CLIP and embeddings of texts, better and worse by turns, (2 P, features).

    Returns: RGB in [0, 1], shape (B, 3, H, W) of 32 pixels or more -> (B,) in [0, 1], higher is
        better; ValueError for another shape.
    """

    def score(image: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"picture of shape {tuple(image.shape)}: (B, 3, H, W) is needed, with H and W at "
                f"least {SMALLEST} pixels; enlarge a smaller picture"
            )
        with torch.autocast(image.device.type, enabled=False):
            features = clip.encode_image(image.to(texts.dtype))
            logits = clip.logit_scale.exp() * features @ texts.T / TEMPERATURE
            better = logits.unflatten(-1, (-1, 2)).softmax(-1)[..., 0]
        return better.mean(-1).to(image.dtype)

    return score
