"""Finding a checkpoint, in whatever layout, and checking that it is one of Stable Diffusion."""

from pathlib import Path

import torch

from ....files.reading import reading
from .checkpoint import LAYOUTS, Checkpoint, refuse_seesr
from .folder import find_folder
from .single_file import find_single_file


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
    if not path.is_dir() and not path.is_file():
        raise ValueError(f"no checkpoint at {path}: give {LAYOUTS}")
    with reading(path, "checkpoint"):
        checkpoint = (
            find_folder(path, dtype) if path.is_dir() else find_single_file(path, prediction)
        )
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
