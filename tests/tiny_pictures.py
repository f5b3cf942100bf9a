"""A picture through the small models on disk."""

from pathlib import Path

from latent_map.edict.backbones import load_backbone
from latent_map.edict.inversion import InvertedPicture, invert_picture
from torch import Tensor

from .tiny_diffusers import SIDE
from .toys import edict, picture

QUICK = edict(3)
IMAGE = picture(3, SIDE, SIDE)


def load(models: Path, name: str, **options):
    return load_backbone("diffusers", path=models / name, **options)


def inverted(backbone, image: Tensor = IMAGE) -> InvertedPicture:
    return invert_picture(backbone, image, QUICK)
