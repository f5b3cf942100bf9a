"""Tokens of the few words in the prompts of CLIP-based metrics, so that no tokenizer is needed."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

START, END = 49406, 49407
CONTEXT = 77  # tokens in a prompt, padded with 0

# Byte-pair codes of CLIP's vocabulary (OpenAI, MIT licence).
WORDS: dict[str, tuple[int, ...]] = {
    **{",": (267,), "-": (268,), ".": (269,), "..": (852,), "_": (318,)},
    **{"0": (271,), "2": (273,), "a": (320,), "x": (343,)},
    **{"animal": (4668,), "artifacts": (30249,), "bad": (2103,), "blur": (27976,)},
    **{"blurry": (21977,), "cityscape": (40808,), "color": (3140,), "compression": (25638,)},
    **{"contrast": (18501,), "edges": (20938,), "fair": (2849,), "free": (1139,), "good": (886,)},
    **{"high": (1400,), "human": (2751,), "image": (2867,), "indoor": (9546,), "is": (533,)},
    **{"jpeg": (73, 11207), "landscape": (5727,), "life": (970,), "low": (1042,)},
    **{"night": (930,), "noise": (9307,), "noisy": (33495,), "of": (539,), "other": (1010,)},
    **{"others": (3326,), "overexposure": (8649, 13002, 35539), "perfect": (1878,)},
    **{"photo": (1125,), "plant": (3912,), "poor": (3665,), "quality": (3027,)},
    **{"quantization": (31540, 3683), "resolution": (9977,), "sharp": (8157,)},
    **{"spatial": (22022,), "still": (1170,), "underexposure": (21675, 87, 35539)},
    **{"which": (1448,), "with": (593,)},
}


def tokenise(prompts: Sequence[str]) -> Tensor:
    """Tokens of prompts, (len(prompts), 77), int64.

    Raises: ValueError for a word that is in none of the built-in prompts.
    """
    tokens = torch.zeros(len(prompts), CONTEXT, dtype=torch.int64)
    for row, prompt in zip(tokens, prompts, strict=True):
        codes = [START, *(code for word in _words(prompt) for code in _codes(word)), END]
        if len(codes) > CONTEXT:
            raise ValueError(f"the prompt {prompt!r} has {len(codes)} tokens: shorten it to 77")
        row[: len(codes)] = torch.tensor(codes)
    return tokens


def _words(prompt: str) -> list[str]:
    """Runs of letters, single digits, and runs of anything else but space."""
    return re.findall(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+", prompt.lower())


def _codes(word: str) -> tuple[int, ...]:
    if word not in WORDS:
        raise ValueError(f"no tokens for the word {word!r}: choose from {', '.join(sorted(WORDS))}")
    return WORDS[word]
