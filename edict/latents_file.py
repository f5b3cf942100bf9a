"""Inverted pictures on disk."""

from dataclasses import asdict
from pathlib import Path

from ..state_file import load_state, save_state
from .backbones import load_backbone
from .inversion import EdictLatents, InversionOptions, bind
from .transform import LatentPair

KIND = "EDICT latents"


def save_latents(path: Path, latents: EdictLatents) -> None:
    """Write a noise pair with the picture and options that fix its bijection.

    Raises: OSError when it cannot be written.
    """
    tensors = {"x": latents.pair.x, "y": latents.pair.y, "picture": latents.picture}
    metadata = {"backbone": latents.backbone.name, "options": asdict(latents.options)}
    save_state(path, KIND, tensors, metadata)


def load_latents(path: Path, device: str = "cpu") -> EdictLatents:
    """Read what `save_latents` wrote and bind its backbone again.

    Raises: ValueError if the file is missing, damaged, or its backbone unknown.
    """
    tensors, metadata = load_state(path, KIND)
    options = InversionOptions(**metadata["options"])
    backbone = load_backbone(metadata["backbone"], device)
    picture = tensors["picture"].to(device)
    pair = LatentPair(tensors["x"].to(device), tensors["y"].to(device))
    return EdictLatents(pair, *bind(backbone, picture, options), picture, options, backbone)
