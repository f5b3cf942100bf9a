"""SeeSR's UNet and ControlNet out of diffusers' own classes.

SeeSR puts a second transformer, which looks at 512-wide image tokens, behind every transformer
that looks at the text. The stock classes load such weights without these and go on silently, with
outputs that are 80 % off; here each pair stands where the stock class has its text transformer.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

TOKEN_CHANNELS = 512  # of the image tokens; SeeSR's configuration files do not say
MARK = "image_attentions"
FLAG = "use_image_cross_attention"


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


def build_unet(config: Mapping[str, Any]) -> nn.Module:
    """SeeSR's UNet, untrained.

    Args:
        config: its config.json.
    Returns: a diffusers `UNet2DConditionModel` whose `encoder_hidden_states` are the pair (text,
        image tokens).
    Raises: ValueError if the configuration is not SeeSR's.
    Source: Wu et al., arXiv 2311.16518.
    """
    from diffusers import UNet2DConditionModel

    return _with_image_attention(UNet2DConditionModel, config)


def build_controlnet(config: Mapping[str, Any]) -> nn.Module:
    """SeeSR's ControlNet, untrained; as `build_unet`."""
    from diffusers import ControlNetModel

    return _with_image_attention(ControlNetModel, config)


def _with_image_attention(network_class: Any, config: Mapping[str, Any]) -> nn.Module:
    from diffusers import Transformer2DModel

    if not config.get(FLAG):
        raise ValueError(
            f"the configuration has no {FLAG}: this is a stock network, not SeeSR's; use the "
            "diffusers backbone for it, or restore SeeSR's own config.json"
        )
    stock = {k: v for k, v in config.items() if k != FLAG and not k.startswith("_")}
    network = network_class.from_config(stock)
    for block in (*network.down_blocks, network.mid_block, *getattr(network, "up_blocks", ())):
        attentions: Any = getattr(block, "attentions", ())
        for index, text in enumerate(attentions):
            # from_config would take values that were given by position for unset ones
            options: dict[str, Any] = {k: v for k, v in text.config.items() if k[0] != "_"}
            options["cross_attention_dim"] = TOKEN_CHANNELS
            image = Transformer2DModel(**options)
            attentions[index] = PairedAttention(text, image)
    return network


def rename_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A SeeSR state dict with the names of `build_unet` and `build_controlnet`."""
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    parts = name.split(".")
    for kind, member in ((MARK, "image"), ("attentions", "text")):
        if kind in parts:
            at = parts.index(kind)
            return ".".join((*parts[:at], "attentions", parts[at + 1], member, *parts[at + 2 :]))
    return name


def refuse_seesr_weights(names: Iterable[str], path: Path | str) -> None:
    """For loaders of stock networks: SeeSR's weights would lose their image attention silently.

    Args:
        names: keys of a state dict.
        path: its file, for the error.
    Raises: ValueError if there is SeeSR's image attention among them.
    """
    if any(MARK in name.split(".") for name in names):
        raise ValueError(
            f"{path} holds SeeSR's weights ({MARK}), which a stock network would load without "
            "their image attention and be wrong: choose the seesr backbone for it, or another file"
        )


class ControlledUnet(nn.Module):
    """eps(x, t) of SeeSR: the UNet with the ControlNet's residuals.

    Args:
        unet: from `build_unet`, with weights.
        controlnet: from `build_controlnet`, with weights.
    """

    def __init__(self, unet: nn.Module, controlnet: nn.Module):
        super().__init__()
        self.unet, self.controlnet = unet, controlnet

    def forward(
        self,
        latent: Tensor,
        label: float,
        text: Tensor,
        tokens: Tensor,
        control: Tensor,
        strength: float = 1.0,
    ) -> Tensor:
        """Map a latent (B, 4, h, w) to eps of the same shape.

        Args:
            latent: noisy latent, in the networks' precision, as all tensors here.
            label: time step, 0 to 999.
            text: (B, n, C).
            tokens: (B, m, 512).
            control: RGB in [0, 1], (B, 3, 8 h, 8 w).
            strength: factor of the ControlNet's residuals.
        """
        states = (text, tokens)
        time = torch.tensor(label, device=latent.device)
        down, mid = self.controlnet(
            latent, time, states, control, conditioning_scale=strength, return_dict=False
        )
        return self.unet(
            latent,
            time,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
