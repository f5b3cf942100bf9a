"""A picture through the small models on disk."""

from pathlib import Path

from latent_map.edict.backbones import load_backbone
from latent_map.edict.inversion import EdictLatents, InversionOptions, invert_picture
from torch import Tensor

from .tiny_diffusers import SIDE
from .toys import picture

QUICK = InversionOptions(steps=3, mixing=0.93)
IMAGE = picture(3, SIDE, SIDE)


def load(models: Path, name: str, **options):
    return load_backbone("diffusers", path=models / name, **options)


def inverted(backbone, image: Tensor = IMAGE) -> EdictLatents:
    return invert_picture(backbone, image, QUICK)
