"""Inverted pictures on disk."""

from pathlib import Path
from typing import Any

import torch

from ..files.devices import exact
from ..files.state_file import load_state, save_state
from .backbones import BACKBONES, REPLACED, load_backbone
from .bijections.bijection import LatentPair
from .bound_picture import bind_picture
from .inversion import InvertedPicture, check_picture
from .inversion_options import describe_options, options_from
from .protocols import Backbone

KIND = "EDICT latents"


def save_latents(path: Path, inverted: InvertedPicture) -> None:
    """Write a picture's noise with the picture and options that fix its bijection.

    Raises: OSError when it cannot be written.
    """
    bound, (x, y) = inverted.bound, inverted.noise
    metadata = {
        "backbone": bound.backbone.name,
        "recipe": bound.backbone.recipe or {"name": bound.backbone.name},
        "options": describe_options(bound.options),
    }
    save_state(path, KIND, {"x": x, "y": y, "picture": bound.picture}, metadata)


def load_latents(path: Path, device: str = "cpu") -> InvertedPicture:
    """Read what `save_latents` wrote and bind its backbone again.

    Raises: ValueError if the file is missing or damaged, or its backbone's files are missing or
        not those of then, or the backbone has been replaced.
    """
    tensors, metadata = load_state(path, KIND)
    try:
        options = options_from(metadata["options"])
        x, y = (exact(tensors[name], device) for name in ("x", "y"))
        picture = tensors["picture"].to(device)
        recipe = dict(metadata.get("recipe") or {"name": metadata["backbone"]})
        name, kind = str(metadata["backbone"]), str(recipe.pop("name"))
        whole = all(z.is_floating_point() and torch.isfinite(z).all() for z in (x, y, picture))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): invert the picture again") from error
    if not whole:
        raise ValueError(f"{path} holds numbers that are none: invert the picture again")
    check_picture(picture)
    backbone = _load_again(path, name, kind, recipe, device)
    return InvertedPicture(LatentPair(x, y), bind_picture(backbone, picture, options))


def _load_again(path: Path, name: str, kind: str, recipe: dict[str, Any], device: str) -> Backbone:
    if name in REPLACED:
        raise ValueError(
            f"{path} was made with {REPLACED[name]}: invert the picture again, or reconstruct it "
            "with version 0.1"
        )
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
