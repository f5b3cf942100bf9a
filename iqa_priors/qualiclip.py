"""QualiCLIP and QualiCLIP+: whether a picture goes better with texts about good or bad quality.

Source: Agnolucci, Galteri, Bertini, "Quality-aware image-text alignment for opinion-unaware image
quality assessment", arXiv 2403.11176. The networks' files are pyiqa's, its code is not needed.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..weights import load_module
from .clip_model import Clip, clip_tensors, shape_of
from .clip_tokens import CONTEXT, END, START
from .prior import Metric, Scorer
from .pyiqa_offline import read_checkpoint

SMALLEST = 32  # pixels: one position at the tower's end
TEMPERATURE = 2.0
FEATURES = "prompts_features"
# Tokens of QualiCLIP+'s texts: "Good photo.", "Bad photo.", "Sharp image.", "Blurry image.",
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
    try:
        found = clip_tensors(tensors)
        clip = Clip(shape_of(found))
    except (KeyError, ValueError, IndexError, StopIteration) as error:
        raise ValueError(
            f"{paths[0]} is no CLIP (what tells its sizes is missing: {error}): download it again"
        ) from error
    load_module(clip, found, "", paths[0])
    if learned:
        texts = learned_texts(clip, read_checkpoint(paths[1], "QualiCLIP+"), paths[1])
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


@torch.no_grad()
def learned_texts(clip: Clip, tensors: dict[str, Tensor], path: Path) -> Tensor:
    """Embeddings of texts with learned words around them, (14, features), of length 1.

    Args:
        clip: its text tower is used up.
        tensors: the learned words, `ctx` (14, n, width), and the texts' own words as they are
            embedded, `token_prefix` (14, 1, width) and `token_suffix` (14, rest, width).
        path: for errors.
    """
    parts = [
        tensors.get(f"prompt_learner.{name}") for name in ("ctx", "token_prefix", "token_suffix")
    ]
    if any(part is None or part.ndim != 3 or len(part) != len(LENGTHS) for part in parts):
        raise ValueError(f"{path} holds no learned words of QualiCLIP+: download it again")
    words, start, rest = (part.float() for part in parts if part is not None)
    half = words.shape[1] // 2
    rows, tokens = [], torch.zeros(len(LENGTHS), CONTEXT, dtype=torch.int64)
    embeddings = clip.text.get_submodule("text_model.embeddings")
    table = embeddings.get_submodule("token_embedding").weight
    count = len(table)  # pyright: ignore - a tensor
    for index, length in enumerate(LENGTHS):
        inner = [words[index, :half], rest[index, :length], words[index, half:]]
        after = rest[index, length:]
        row = torch.cat([start[index], *inner, after])[:CONTEXT]
        numbers = torch.arange(len(row)) + count + sum(map(len, rows))
        tokens[index, : len(row)] = numbers
        # The tower reads its answer at the end token, so that one keeps its own number.
        tokens[index, 0], tokens[index, 1 + words.shape[1] + length] = START, END
        rows.append(row)
    longer = torch.cat([table, *rows])  # pyright: ignore - a tensor
    embeddings.token_embedding = nn.Embedding.from_pretrained(longer)
    return clip.encode_text(tokens)
