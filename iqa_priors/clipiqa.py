"""CLIP-IQA and CLIP-IQA+: whether a picture goes better with "good" or with "bad" texts.

Source: Wang, Chan, Loy, "Exploring CLIP for assessing the look and feel of images", AAAI 2023.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .clip_model import Clip, load_clip
from .clip_tokens import CONTEXT, END, START, tokenise
from .prior import Scorer

SMALLEST = 32  # pixels: one position at the tower's end
# Better and worse by turns. The paper has one pair; pyiqa's metric of this name averages five.
PROMPTS = (
    *("Good image", "bad image", "Sharp image", "blurry image", "sharp edges", "blurry edges"),
    *("High resolution image", "low resolution image", "Noise-free image", "noisy image"),
)
# CLIP-IQA+ puts these words in the middle of its learned ones.
MIDDLES = ("good photo..", "bad photo..")


@dataclass(frozen=True)
class ClipIqa:
    """CLIP-IQA with frozen weights, as a metric.

    Attributes:
        clip: a CLIP with a residual image tower, which takes any size from 32 pixels.
        text: embeddings of the prompts, better and worse by turns, (2 P, features), of length 1.
    """

    clip: Clip
    text: Tensor

    def __call__(self, image: Tensor) -> Tensor:
        """Score (B,) in [0, 1], higher is better, of RGB pictures (B, 3, H, W) in [0, 1].

        Raises: ValueError for another shape or a side below 32 pixels.
        """
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"picture of shape {tuple(image.shape)}: (B, 3, H, W) is needed, with H and W at "
                f"least {SMALLEST} pixels; enlarge a smaller picture"
            )
        with torch.autocast(image.device.type, enabled=False):
            features = self.clip.encode_image(image.to(self.text.dtype))
            logits = self.clip.logit_scale.exp() * features @ self.text.T
            better = logits.unflatten(-1, (-1, 2)).softmax(-1)[..., 0]
        return better.mean(-1).to(image.dtype)


def build_clipiqa(clip: Clip, learned: Tensor | None = None) -> ClipIqa:
    """A metric from a CLIP, which is frozen and loses its text tower.

    Args:
        clip: as RN50.
        learned: CLIP-IQA+'s learned words, (2, n, text width): for good and for bad; n even.
    """
    clip.eval().requires_grad_(False)
    tokens = tokenise(PROMPTS) if learned is None else _learned_tokens(clip, learned)
    with torch.no_grad():
        text = clip.encode_text(tokens.to(clip.logit_scale.device))
    clip.drop_text()
    return ClipIqa(clip, text)


def _learned_tokens(clip: Clip, learned: Tensor) -> Tensor:
    """Tokens of the learned prompts, whose words become the last rows of the embedding."""
    embeddings = clip.text.get_submodule("text_model.embeddings")
    table = embeddings.get_submodule("token_embedding").weight
    assert isinstance(table, Tensor)
    rows = torch.cat((table, learned.flatten(0, 1).to(table)))
    embeddings.token_embedding = nn.Embedding.from_pretrained(rows)
    words = torch.arange(len(table), len(rows)).view(2, 2, -1)  # class, half, word
    tokens = torch.zeros(2, CONTEXT, dtype=torch.int64)
    for row, halves, middle in zip(tokens, words.tolist(), MIDDLES, strict=True):
        given = tokenise([middle])[0].tolist()
        inner = given[1 : given.index(END)]
        codes = [START, *halves[0], *inner, *halves[1], END]
        row[: len(codes)] = torch.tensor(codes)
    return tokens


def load_clipiqa(
    device: str | torch.device, paths: tuple[Path, ...], learned: bool = False
) -> Scorer:
    """CLIP-IQA from OpenAI's RN50, or CLIP-IQA+ from that and its learned words.

    Args:
        device: where the weights go; pictures must be there too.
        paths: RN50 in any layout that `load_clip` takes; with `learned` also the learned words,
            CLIP-IQA+_learned_prompts-603f3273.pth.
        learned: whether it is CLIP-IQA+.
    Raises: ValueError if a file cannot be used.
    """
    clip = load_clip(paths[0])
    words = _read_words(paths[1], clip.shape.text.width) if learned else None
    return Scorer(build_clipiqa(clip.to(device), words))


def _read_words(path: Path, width: int) -> Tensor:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError) as error:
        text = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is damaged or unsafe ({text}): fetch it again") from error
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if not isinstance(found, Tensor) or found.ndim != 3 or shape[::2] != (2, width):
        raise ValueError(
            f"{path} holds no learned prompts of CLIP-IQA+ (found {shape}, wanted (2, 16, {width}))"
            ": choose another file"
        )
    return found.detach().float()
