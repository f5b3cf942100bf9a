"""Inverted pictures on disk."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files.state_file import load_state, save_state
from .backbones import BACKBONES, load_backbone
from .bijections.edict import LatentPair
from .inversion import EdictLatents, InversionOptions, bind
from .protocols import Backbone

KIND = "EDICT latents"


def save_latents(path: Path, latents: EdictLatents) -> None:
    """Write a noise pair with the picture and options that fix its bijection.

    Raises: OSError when it cannot be written.
    """
    tensors = {"x": latents.pair.x, "y": latents.pair.y, "picture": latents.picture}
    backbone = latents.backbone
    metadata = {
        "backbone": backbone.name,
        "recipe": backbone.recipe or {"name": backbone.name},
        "options": asdict(latents.options),
    }
    save_state(path, KIND, tensors, metadata)


def load_latents(path: Path, device: str = "cpu") -> EdictLatents:
    """Read what `save_latents` wrote and bind its backbone again.

    Raises: ValueError if the file is missing or damaged, or its backbone's files are missing or
        not those of then.
    """
    tensors, metadata = load_state(path, KIND)
    options = InversionOptions(**{"tile": None, **metadata["options"]})  # old files have no tiles
    backbone = _load_again(path, metadata, device)
    picture = tensors["picture"].to(device)
    pair = LatentPair(tensors["x"].to(device), tensors["y"].to(device))
    return EdictLatents(pair, *bind(backbone, picture, options), picture, options, backbone)


def _load_again(path: Path, metadata: dict[str, Any], device: str) -> Backbone:
    name = metadata["backbone"]
    recipe: dict[str, Any] = dict(metadata.get("recipe", {"name": name}))
    kind = recipe.pop("name")
    if kind not in BACKBONES:
        raise ValueError(
            f"{path} was made with the backbone {name!r}, which is in no files that could be "
            "loaded here: reconstruct it where it was made"
        )
    try:
        backbone = load_backbone(kind, device, **recipe)
    except ValueError as error:
        raise ValueError(f"{path} needs the backbone {name!r}: {error}") from error
    if backbone.name != name:
        raise ValueError(
            f"{path} was made with {name!r}, but {recipe.get('path', kind)} gives "
            f"{backbone.name!r}: put the files of then there, or invert the picture again"
        )
    return backbone
