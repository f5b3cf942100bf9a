"""What can be chosen of a SeeSR backbone."""

from dataclasses import dataclass, field

from ..stable_diffusion.options import StableDiffusionOptions


@dataclass(frozen=True)
class SeesrOptions(StableDiffusionOptions):
    """What fixes a SeeSR backbone.

    Attributes:
        path: folder with unet/ and controlnet/.
        base: SD 2.0 or 2.1, a diffusers folder or a single-file checkpoint: text encoder,
            autoencoder and noise levels.
        dape, ram: DAPE.pth and ram_swin_large_14m.pth, or the file converted from them as `dape`;
            "" looks in `path` and in the folder that holds it.
        without_dape: go on without image tokens, on zeros, which SeeSR was never trained on.
    """

    base: str = field(
        default="", metadata={"help": "SeeSR's SD 2.0 or 2.1 base checkpoint", "kind": "path"}
    )
    dape: str = field(default="", metadata={"kind": "path", "internal": True})
    ram: str = field(default="", metadata={"kind": "path", "internal": True})
    without_dape: bool = field(default=False, metadata={"help": "SeeSR without image tokens"})
