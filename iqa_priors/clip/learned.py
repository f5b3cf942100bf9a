"""Texts with learned words around their own, as prompt learning (CoOp) makes them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..pyiqa.offline import read_checkpoint
from .model import Clip
from .tokens import CONTEXT, END, START


@torch.no_grad()
def learned_texts(
    clip: Clip, words: Tensor, start: Tensor, rest: Tensor, lengths: Sequence[int]
) -> Tensor:
    """Embeddings of texts with half of the learned words before and half behind their own.

    Args:
        clip: its text tower is used up.
        words: the learned words, (V, n, width), n even.
        start: the start token as it is embedded, (V, 1, width).
        rest: the texts' own words, embedded, and what comes after them, (V, any, width).
        lengths: how many words each text has of its own.
    Returns: (V, features), of length 1.
    """
    half = words.shape[1] // 2
    rows, tokens = [], torch.zeros(len(lengths), CONTEXT, dtype=torch.int64)
    embeddings = clip.text.get_submodule("text_model.embeddings")
    table = embeddings.get_submodule("token_embedding").weight
    assert isinstance(table, Tensor)
    for index, length in enumerate(lengths):
        inner = [words[index, :half], rest[index, :length], words[index, half:]]
        row = torch.cat([start[index], *inner, rest[index, length:]])[:CONTEXT].to(table)
        tokens[index, : len(row)] = torch.arange(len(row)) + len(table) + sum(map(len, rows))
        # The tower reads its answer at the end token, so that one keeps its own number.
        tokens[index, 0], tokens[index, 1 + words.shape[1] + length] = START, END
        rows.append(row)
    embeddings.token_embedding = nn.Embedding.from_pretrained(torch.cat([table, *rows]))
    return clip.encode_text(tokens.to(table.device))


def read_learned(path: Path, what: str, count: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """`words`, `start` and `rest` of `learned_texts` from a checkpoint of a prompt learner.

    Args:
        path: the file.
        what: whose words they are, for the error.
        count, width: of the texts and of an embedded word.
    Raises: ValueError if the file is damaged or holds something else.
    """
    tensors = read_checkpoint(path, what)
    names = ("ctx", "token_prefix", "token_suffix")
    parts = [tensors.get(f"prompt_learner.{name}") for name in names]
    for part in parts:
        if part is None or part.ndim != 3 or (len(part), part.shape[2]) != (count, width):
            raise ValueError(
                f"{path} holds no learned words of {what} for {count} texts and a CLIP of width "
                f"{width}: download it again, or choose the file of that name"
            )
    words, start, rest = (part.float() for part in parts if part is not None)
    return words, start, rest
