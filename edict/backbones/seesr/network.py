"""SeeSR's UNet and ControlNet out of diffusers' own classes.

SeeSR puts a second transformer, which looks at 512-wide image tokens, behind every transformer
that looks at the text. The stock classes load such weights without these and go on silently, with
outputs that are 80 % off; here each pair stands where the stock class has its text transformer.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..stable_diffusion.denoiser import Networks, UNetDenoiser
from ..stable_diffusion.networks import MANY, build_controlnet, build_unet
from ..stable_diffusion.text import Conditioning

TOKEN_CHANNELS = 512  # of the image tokens; SeeSR's configuration files do not say
FLAG = "use_image_cross_attention"
_Stored = TypeVar("_Stored")


class PairedAttention(nn.Module):
    """A transformer that looks at the text, then one that looks at the image tokens.

    Stands in for one diffusers `Transformer2DModel`; the UNet hands `encoder_hidden_states` on to
    it as it is: here the pair (text (B, n, C), image tokens (B, m, 512)).
    """

    def __init__(self, text: nn.Module, image: nn.Module):
        super().__init__()
        self.text, self.image = text, image

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: tuple[Tensor, Tensor], **options: Any
    ):
        text, image = encoder_hidden_states
        hidden_states = self.text(hidden_states, encoder_hidden_states=text, **options)[0]
        return self.image(hidden_states, encoder_hidden_states=image, **options)


def build_seesr_unet(config: Mapping[str, Any], source: object, tensors: int = MANY) -> nn.Module:
    """SeeSR's UNet on the meta device.

    Args:
        config: its config.json.
        source: where that comes from, for errors.
        tensors: how many its file has.
    Returns: a diffusers `UNet2DConditionModel` whose `encoder_hidden_states` are the pair (text,
        image tokens).
    Raises: ValueError if the configuration is not SeeSR's.
    Source: Wu et al., arXiv 2311.16518.
    """
    return _with_image_attention(build_unet, config, source, tensors)


def build_seesr_controlnet(
    config: Mapping[str, Any], source: object, tensors: int = MANY
) -> nn.Module:
    """SeeSR's ControlNet on the meta device; as `build_seesr_unet`."""
    return _with_image_attention(build_controlnet, config, source, tensors)


def _with_image_attention(
    build: Any, config: Mapping[str, Any], source: object, tensors: int
) -> nn.Module:
    from diffusers import Transformer2DModel

    if not config.get(FLAG):
        raise ValueError(
            f"{source} is a stock network (no {FLAG} in its config.json), not SeeSR's: use the "
            "diffusers backbone for it, or give SeeSR's folder"
        )
    stock = {name: value for name, value in config.items() if name != FLAG}
    network = build(stock, source, tensors)
    for block in (*network.down_blocks, network.mid_block, *getattr(network, "up_blocks", ())):
        attentions: Any = getattr(block, "attentions", ())
        for index, text in enumerate(attentions):
            # from_config would take values that were given by position for unset ones
            options: dict[str, Any] = {k: v for k, v in text.config.items() if k[0] != "_"}
            options["cross_attention_dim"] = TOKEN_CHANNELS
            with torch.device("meta"):
                image = Transformer2DModel(**options)
            attentions[index] = PairedAttention(text, image)
    return network


def rename_keys(tensors: Mapping[str, _Stored]) -> dict[str, _Stored]:
    """A SeeSR state dict by the names of `build_seesr_unet` and `build_seesr_controlnet`."""
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    parts = name.split(".")
    for kind, member in (("image_attentions", "image"), ("attentions", "text")):
        if kind in parts:
            at = parts.index(kind)
            return ".".join((*parts[:at], "attentions", parts[at + 1], member, *parts[at + 2 :]))
    return name


class SeesrDenoiser(UNetDenoiser):
    """SeeSR's eps for a latent.

    Args:
        networks, conditioning, hint, cfg, control_strength: as in `UNetDenoiser`.
        tokens: of the picture being enhanced, (B, n, 512); the same for all branches.
    """

    def __init__(
        self,
        networks: Networks,
        conditioning: Conditioning,
        hint: Tensor,
        tokens: Tensor,
        cfg: float = 1.0,
        control_strength: float = 1.0,
    ):
        super().__init__(networks, conditioning, hint, cfg, control_strength)
        self.tokens = tokens.to(self.dtype)

    def context(self, pictures: int) -> tuple[Tensor, Tensor]:
        """What the attention layers see: text and image tokens, branch by branch."""
        tokens = self.tokens.expand(pictures, -1, -1).repeat(self.branches, 1, 1)
        return super().context(pictures), tokens
