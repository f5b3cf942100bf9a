"""Finding and checking a checkpoint's files: nothing but headers and configurations is read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ....files.weights import Stored, find_tensors
from .keys import Tensors, text_from_clip, vae_from_ldm

LAYOUTS = (
    "a diffusers folder (with model_index.json, unet/, vae/, text_encoder/, tokenizer/, "
    "scheduler/) or a checkpoint file (.safetensors, .ckpt)"
)


class Part(NamedTuple):
    """A network on disk: its configuration and its tensors by diffusers' or CLIP's names."""

    config: dict[str, Any]
    tensors: Tensors


class TextPart(NamedTuple):
    """A text encoder on disk.

    Attributes:
        config, tensors: as in `Part`.
        tokenizer: folder with vocab.json and merges.txt; None if the checkpoint has none.
        padding: token that fills up short prompts where there is no tokenizer folder.
    """

    config: dict[str, Any]
    tensors: Tensors
    tokenizer: Path | None
    padding: int


@dataclass(frozen=True)
class Checkpoint:
    """A diffusion model on disk, its parts found and their headers sound.

    Attributes:
        path: what the user named.
        unet, vae: the networks.
        text: one text encoder, or SDXL's two.
        scheduler: diffusers' scheduler configuration.
    """

    path: Path
    unet: Part
    vae: Part
    text: tuple[TextPart, ...]
    scheduler: dict[str, Any]

    @property
    def files(self) -> list[Path]:
        """The weight files, sorted."""
        parts = (self.unet, self.vae, *self.text)
        return sorted({stored.path for part in parts for stored in part.tensors.values()})


def find_checkpoint(
    path: Path, dtype: torch.dtype = torch.float32, prediction: str = "auto"
) -> Checkpoint:
    """Find a checkpoint's parts.

    Args:
        path: a diffusers folder or a single file.
        dtype: of the network in use; half precision prefers "fp16" files, float32 full ones.
        prediction: "auto", or what the network predicts: "eps" or "v".
    Raises: ValueError naming the file, what is wrong with it, and what to do.
    """
    if path.is_dir():
        checkpoint = _find_folder(path, dtype)
    elif path.is_file():
        from .single_file import find_single_file

        checkpoint = find_single_file(path)
    else:
        raise ValueError(f"no checkpoint at {path}: give {LAYOUTS}")
    refuse_seesr(checkpoint.unet.tensors, path)
    _check_family(checkpoint)
    if prediction != "auto":
        names = {"eps": "epsilon", "v": "v_prediction"}
        if prediction not in names:
            raise ValueError(f"unknown prediction {prediction!r}: choose auto, eps or v")
        checkpoint.scheduler["prediction_type"] = names[prediction]
    return checkpoint


def _check_family(checkpoint: Checkpoint) -> None:
    """Raise ValueError for relatives of Stable Diffusion that need more than text and a latent."""
    path, unet, vae = checkpoint.path, checkpoint.unet.config, checkpoint.vae.config
    advice = "choose an ordinary SD 1.5, SD 2.x or SDXL base checkpoint"
    channels = unet.get("in_channels", 4)
    if channels != vae.get("latent_channels", 4):
        raise ValueError(
            f"{path} takes {channels} channels in (an inpainting or editing model): {advice}"
        )
    for name in ("class_embed_type", "encoder_hid_dim_type"):
        if unet.get(name):
            raise ValueError(f"{path} needs more than text ({name} {unet[name]!r}): {advice}")
    if vae.get("latents_mean"):
        raise ValueError(f"{path} has an autoencoder with latents_mean, not known here: {advice}")
    sdxl = len(checkpoint.text) == 2
    if unet.get("addition_embed_type") != ("text_time" if sdxl else None):
        raise ValueError(
            f"{path} has {len(checkpoint.text)} text encoder(s) for a network with "
            f"{unet.get('addition_embed_type')!r} conditioning (a refiner?): {advice}"
        )
    width = sum(text.config["hidden_size"] for text in checkpoint.text)
    if unet.get("cross_attention_dim") != width:
        raise ValueError(
            f"{path} has text encoders of width {width} for a network that takes "
            f"{unet.get('cross_attention_dim')}: {advice}"
        )


def refuse_seesr(tensors: Mapping[str, Stored], path: Path) -> None:
    """Raise ValueError if the network has SeeSR's image attention.

    The stock classes would drop these tensors without a word and compute something else.
    """
    count = sum("image_attentions" in name for name in tensors)
    if count:
        raise ValueError(
            f"{path} is SeeSR's: {count} of its tensors are image_attentions, which this network "
            "has no place for; load it with the seesr backbone"
        )


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


def _find_folder(path: Path, dtype: torch.dtype) -> Checkpoint:
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
    found = find_part(path / f"text_encoder{number}", dtype, classes, "model")
    tokenizer = path / f"tokenizer{number}"
    if not ((tokenizer / "vocab.json").is_file() and (tokenizer / "merges.txt").is_file()):
        raise ValueError(
            f"{tokenizer} has no vocab.json and merges.txt: the checkpoint is incomplete, fetch it "
            "again"
        )
    return TextPart(found.config, text_from_clip(found.tensors), tokenizer, 0)
