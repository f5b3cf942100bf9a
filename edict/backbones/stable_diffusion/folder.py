"""Checkpoints and networks as diffusers' folders."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ....files.weights import find_tensors
from .checkpoint import LAYOUTS, Checkpoint, Part, TextPart
from .keys import Tensors, text_from_clip, vae_from_ldm


def find_part(
    folder: Path, dtype: torch.dtype, classes: Iterable[str], stem: str = "diffusion_pytorch_model"
) -> Part:
    """A network of a diffusers folder: config.json and its weights.

    Args:
        folder: such as CHECKPOINT/unet.
        dtype: chooses between "fp16" and full files where both are there.
        classes: what config.json may call the network.
        stem: beginning of the weight files' names.
    Raises: ValueError if something is missing, damaged, or of another class.
    """
    config = read_json(folder / "config.json")
    names = config.get("architectures") or [config.get("_class_name")]
    if not set(names) & set(classes):
        raise ValueError(
            f"{folder} holds {names[0]}, {' or '.join(classes)} is needed: choose an SD 1.5, "
            "SD 2.x or SDXL checkpoint, or the ControlNet of one"
        )
    tensors: Tensors = {}
    for file in _weight_files(folder, dtype, stem):
        tensors |= find_tensors(file, f"{folder.name} weights")
    return Part(config, tensors)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ValueError if the file is missing, damaged, or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(
            f"{path} is missing: the folder is incomplete, fetch it again; wanted is {LAYOUTS}"
        ) from None
    except ValueError:
        raise ValueError(f"{path} is damaged: fetch it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: fetch it again")
    return content


def _weight_files(folder: Path, dtype: torch.dtype, stem: str) -> list[Path]:
    """The files of one network: one, or the shards that an index names."""
    variants = ("", ".fp16") if dtype == torch.float32 else (".fp16", "")
    stems = ((stem, "safetensors"), ("pytorch_model" if stem == "model" else stem, "bin"))
    for name, suffix in stems:
        for variant in variants:
            file = folder / f"{name}{variant}.{suffix}"
            if file.exists():
                return [file]
            for index in (f"{name}.{suffix}.index{variant}.json", f"{file.name}.index.json"):
                if (folder / index).exists():
                    shards = read_json(folder / index).get("weight_map", {})
                    return [folder / shard for shard in sorted(set(shards.values()))]
    raise ValueError(
        f"no weights in {folder}: {stem}.safetensors is wanted (or {stem}.fp16.safetensors); the "
        "folder is incomplete, fetch it again"
    )


def find_folder(path: Path, dtype: torch.dtype) -> Checkpoint:
    """A diffusers folder's parts.

    Args:
        path: the folder, with model_index.json.
        dtype: chooses between "fp16" and full files where both are there.
    Raises: ValueError if something is missing, damaged, or of another class.
    """
    index = read_json(path / "model_index.json")
    for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        if name not in index:
            raise ValueError(
                f"{path} is a {index.get('_class_name')} without {name}: choose an SD 1.5, SD 2.x "
                "or SDXL checkpoint"
            )
        if not (path / name).is_dir():
            raise ValueError(f"{path / name} is missing: the checkpoint is incomplete, fetch it")
    vae = find_part(path / "vae", dtype, ["AutoencoderKL"])
    return Checkpoint(
        path,
        find_part(path / "unet", dtype, ["UNet2DConditionModel"]),
        Part(vae.config, vae_from_ldm(vae.tensors)),
        tuple(_find_text(path, number, dtype) for number in _encoders(index, path)),
        read_json(path / "scheduler" / "scheduler_config.json"),
    )


def _encoders(index: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Suffixes of the text encoders' folders."""
    second = (index.get("text_encoder_2") or [None])[0] is not None
    if second and not (path / "text_encoder_2").is_dir():
        raise ValueError(f"{path / 'text_encoder_2'} is missing: the checkpoint is incomplete")
    return ("", "_2") if second else ("",)


def _find_text(path: Path, number: str, dtype: torch.dtype) -> TextPart:
    classes = ["CLIPTextModel", "CLIPTextModelWithProjection"]
    encoder = find_part(path / f"text_encoder{number}", dtype, classes, "model")
    tokenizer = path / f"tokenizer{number}"
    if not ((tokenizer / "vocab.json").is_file() and (tokenizer / "merges.txt").is_file()):
        raise ValueError(
            f"{tokenizer} has no vocab.json and merges.txt: the checkpoint is incomplete, fetch it "
            "again"
        )
    return TextPart(encoder.config, text_from_clip(encoder.tensors), tokenizer, 0)
