"""Prompts as conditioning: encoded once, then the text encoders are gone."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .checkpoint import Checkpoint, TextPart
from .networks import build_text_encoder_of, check_network, load_text_encoder, text_tensors
from .tokenizer import numbers_of, warn_if_cut, words_of

LENGTH = 77
_CLIP_VOCABULARY = 49408


class Conditioning(NamedTuple):
    """What the network is told.

    Attributes:
        text: a row per branch, (branches, 77, width); with guidance the negative prompt is first.
        pooled: SDXL's pooled text, (branches, width), or None.
    """

    text: Tensor
    pooled: Tensor | None


def check_text_encoders(checkpoint: Checkpoint) -> None:
    """Raise ValueError unless the text encoders' files fit; nothing but headers is read."""
    for text, projection in _with_projection(checkpoint):
        encoder = build_text_encoder_of(text, projection)
        check_network(encoder, text_tensors(encoder, text.tensors), "a CLIP text encoder")


@torch.no_grad()
def encode_prompts(
    checkpoint: Checkpoint,
    prompts: list[str],
    device: torch.device,
    tokenizer: Path | None = None,
) -> Conditioning:
    """Encode prompts in float32, one text encoder in memory at a time.

    Args:
        checkpoint: where the encoders are. SDXL's two are joined, as it was trained.
        prompts: one per branch; "" is a prompt like others.
        device: where the work is done.
        tokenizer: folder with vocab.json and merges.txt, for single files, which have none.
    Returns: the conditioning, on `device`.
    Raises: ValueError if an encoder's file is unusable, or a prompt needs a missing tokenizer.
    """
    states, pooled = [], None
    for text, projection in _with_projection(checkpoint):
        tokens = tokenise(text, prompts, tokenizer).to(device)
        encoder = load_text_encoder(text, projection, device)
        output = encoder(input_ids=tokens, output_hidden_states=True)
        # SDXL takes the state before the last layer, and no final norm.
        sdxl = len(checkpoint.text) == 2
        states.append(output.hidden_states[-2] if sdxl else output.last_hidden_state)
        pooled = output.text_embeds if projection else pooled
        del encoder, output
    return Conditioning(torch.cat(states, -1), pooled)


def _with_projection(checkpoint: Checkpoint) -> list[tuple[TextPart, bool]]:
    """The encoders, and which one's pooled text is used: SDXL's second."""
    return [(text, index == 1) for index, text in enumerate(checkpoint.text)]


def tokenise(text: TextPart, prompts: list[str], tokenizer: Path | None = None) -> Tensor:
    """Tokens of prompts, (prompts, 77); what is longer is cut off with a warning."""
    length = text.config.get("max_position_embeddings", LENGTH)
    vocabulary = text.config["vocab_size"]
    if text.tokenizer is not None:
        return numbers_of(text.tokenizer, prompts, length, vocabulary)
    begin, end = vocabulary - 2, vocabulary - 1
    rows = []
    for prompt in prompts:
        words = _words(prompt, tokenizer, vocabulary) if prompt.strip() else []
        warn_if_cut(prompt, len(words), length - 2)
        row = [begin, *words[: length - 2], end]
        rows.append(row + [text.padding] * (length - len(row)))
    return torch.tensor(rows)


def _words(prompt: str, folder: Path | None, vocabulary: int) -> list[int]:
    """A prompt's tokens without beginning and end, for checkpoints that hold no tokenizer."""
    if folder is not None:
        return words_of(folder, prompt, vocabulary)
    advice = "leave the prompt empty, or use a diffusers folder, which has a tokenizer"
    if vocabulary != _CLIP_VOCABULARY:
        raise ValueError(f"a prompt needs a tokenizer, which this checkpoint has not: {advice}")
    try:
        # pyiqa brings OpenAI's package, whose vocabulary is the one of all these encoders.
        from clip.simple_tokenizer import SimpleTokenizer  # pyright: ignore
    except ImportError:
        raise ValueError(
            f"a single-file checkpoint holds no tokenizer: pip install openai-clip, {advice}"
        ) from None
    return SimpleTokenizer().encode(prompt)
