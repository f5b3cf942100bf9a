"""What a checkpoint on disk is made of; nothing but its headers and configurations is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ....files.network_folder import Part
from ....files.stored import Stored
from .keys import Tensors

LAYOUTS = (
    "a diffusers folder (with model_index.json, unet/, vae/, text_encoder/, tokenizer/, "
    "scheduler/) or a checkpoint file (.safetensors, .ckpt)"
)


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
