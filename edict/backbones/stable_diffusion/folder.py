"""Checkpoints and networks as diffusers' folders."""

from pathlib import Path
from typing import Any

import torch

from ....files.config_rules import INDEX_ENTRY, SCHEDULER, TEXT, UNET, VAE
from ....files.network_folder import Part, find_part, read_config
from ....files.reading import FileError
from .checkpoint import LAYOUTS, Checkpoint, TextPart
from .keys import text_from_clip, vae_from_ldm
from .tokenizer import check_tokenizer


def find_folder(path: Path, dtype: torch.dtype) -> Checkpoint:
    """A diffusers folder's parts.

    Args:
        path: the folder, with model_index.json.
        dtype: chooses between "fp16" and full files where both are there.
    Raises: ValueError if something is missing, damaged, or of another class.
    """
    if not (path / "model_index.json").exists():
        raise FileError(f"{path / 'model_index.json'} is missing: wanted is {LAYOUTS}")
    names = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "scheduler")
    index = read_config(path / "model_index.json", dict.fromkeys(names, INDEX_ENTRY))
    for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        if name not in index:
            raise ValueError(
                f"{path} is a {index.get('_class_name')} without {name}: choose an SD 1.5, SD 2.x "
                "or SDXL checkpoint"
            )
        if not (path / name).is_dir():
            raise ValueError(f"{path / name} is missing: the checkpoint is incomplete, fetch it")
    vae = find_part(path / "vae", dtype, ["AutoencoderKL"], VAE)
    return Checkpoint(
        path,
        find_part(path / "unet", dtype, ["UNet2DConditionModel"], UNET),
        Part(vae.config, vae_from_ldm(vae.tensors)),
        tuple(_find_text(path, number, dtype) for number in _encoders(index, path)),
        read_config(path / "scheduler" / "scheduler_config.json", SCHEDULER),
    )


def _encoders(index: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Suffixes of the text encoders' folders."""
    named = index.get("text_encoder_2")
    second = isinstance(named, list) and named[0] is not None
    if second and not (path / "text_encoder_2").is_dir():
        raise ValueError(f"{path / 'text_encoder_2'} is missing: the checkpoint is incomplete")
    return ("", "_2") if second else ("",)


def _find_text(path: Path, number: str, dtype: torch.dtype) -> TextPart:
    classes = ["CLIPTextModel", "CLIPTextModelWithProjection"]
    encoder = find_part(path / f"text_encoder{number}", dtype, classes, TEXT, "model")
    tokenizer = path / f"tokenizer{number}"
    check_tokenizer(tokenizer)
    return TextPart(encoder.config, text_from_clip(encoder.tensors), tokenizer, 0)
