"""CLIP's tokenizer from a checkpoint's folder."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....files.json_files import MOST_BYTES, parse_json, table, whole
from ....files.reading import FileError, reading

log = logging.getLogger(__name__)
TOKENIZER = "tokenizer.json"  # all in one; older folders have the other two instead
VOCABULARY, MERGES = "vocab.json", "merges.txt"
_FILES = (TOKENIZER, VOCABULARY, MERGES, "tokenizer_config.json", "special_tokens_map.json")
_NUMBERS = table(whole(0, 10_000_000))


def check_tokenizer(folder: Path) -> None:
    """Raise ValueError unless a folder has a tokenizer's files, of sane size and kind."""
    pair = [(folder / name).is_file() for name in (VOCABULARY, MERGES)]
    if not all(pair) and not (folder / TOKENIZER).is_file():
        raise FileError(
            f"{folder} has neither {TOKENIZER} nor {VOCABULARY} and {MERGES}: the checkpoint is "
            "incomplete, fetch it again"
        )
    for name in _FILES:
        file = folder / name
        if file.is_file() and file.stat().st_size > MOST_BYTES:
            raise FileError(
                f"{file} has {file.stat().st_size} bytes, {MOST_BYTES} are the most: fetch it again"
            )
    if pair[0] and not _NUMBERS.holds(parse_json(folder / VOCABULARY, "vocabulary")):
        raise FileError(
            f"{folder / VOCABULARY} is no vocabulary (an object of tokens and their numbers): "
            "fetch it again"
        )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer. Raises ValueError if its files are missing or damaged."""
    import transformers

    check_tokenizer(folder)
    kind: Any = transformers.CLIPTokenizer
    if not (folder / VOCABULARY).is_file():  # versions before 5 read this file by another class
        kind = getattr(transformers, "CLIPTokenizerFast", kind)
    with reading(folder, "tokenizer"):
        return kind.from_pretrained(folder, local_files_only=True)


def numbers_of(folder: Path, prompts: list[str], length: int, vocabulary: int) -> Tensor:
    """Tokens of prompts, (prompts, length); what is longer is cut off with a warning.

    Args:
        folder: the tokenizer's.
        prompts: any texts.
        length: of a row; shorter prompts are filled up.
        vocabulary: how many tokens the text encoder knows.
    Raises: ValueError if the tokenizer is damaged, or has a token of these prompts that the text
        encoder does not know.
    """
    tokenizer = load_tokenizer(folder)
    options: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    with reading(folder, "tokenizer"):
        counts = [len(tokenizer(prompt, truncation=False)["input_ids"]) for prompt in prompts]
        rows: Tensor = tokenizer(prompts, max_length=length, **options)["input_ids"]
        if rows.shape != (len(prompts), length) or rows.dtype != torch.int64:
            raise ValueError(f"it makes rows of shape {tuple(rows.shape)}")
    for prompt, count in zip(prompts, counts, strict=True):
        warn_if_cut(prompt, count - 2, length - 2)
    check_known(folder, tokenizer, rows.flatten().tolist(), vocabulary)
    return rows


def words_of(folder: Path, prompt: str, vocabulary: int) -> list[int]:
    """A prompt's tokens without beginning and end; errors as `numbers_of`."""
    tokenizer = load_tokenizer(folder)
    with reading(folder, "tokenizer"):
        numbers = list(tokenizer(prompt)["input_ids"][1:-1])
    check_known(folder, tokenizer, numbers, vocabulary)
    return numbers


def check_known(folder: Path, tokenizer: Any, numbers: list[int], vocabulary: int) -> None:
    """Raise ValueError, naming the token, if one is beyond what the text encoder knows."""
    beyond = next((n for n in numbers if not 0 <= n < vocabulary), None)
    if beyond is not None:
        with reading(folder, "tokenizer"):
            name = tokenizer.convert_ids_to_tokens(beyond)
        raise FileError(
            f"{folder} has the token {name!r}, number {beyond}, and the text encoder knows "
            f"{vocabulary}: leave it out of the prompt, or choose a checkpoint whose text encoder "
            "was trained with it"
        )


def warn_if_cut(prompt: str, count: int, room: int) -> None:
    """Warn of a prompt of more tokens than there is room for."""
    if count > room:
        log.warning("the prompt has %d tokens, the last %d are cut off", count, count - room)
        log.debug("prompt: %s", prompt)
