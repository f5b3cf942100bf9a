"""A UNet, with or without a ControlNet, and an autoencoder as Denoiser and Codec."""

from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .distilled import guidance_embedding
from .text import Conditioning


@dataclass(frozen=True)
class Networks:
    """The networks of one backbone, frozen.

    Attributes:
        unet: a UNet2DConditionModel.
        controlnet: a ControlNetModel, or None.
        vae: an AutoencoderKL, float32.
    """

    unet: Any
    controlnet: Any | None
    vae: Any


class UNetDenoiser:
    """The UNet's raw output (eps or v) for a latent, in the network's own precision.

    Args:
        networks: the frozen networks.
        conditioning: text, one row per branch: with two branches the first is the negative one.
        hint: the picture being enhanced, RGB in [0, 1], (B, 3, H, W); what the ControlNet sees.
        cfg: guidance; away from 1 both branches are computed, as one batch, unless the UNet is one
            that is told its guidance.
        control_strength: factor of the ControlNet's residuals.
    """

    def __init__(
        self,
        networks: Networks,
        conditioning: Conditioning,
        hint: Tensor,
        cfg: float = 1.0,
        control_strength: float = 1.0,
    ):
        self.networks, self.cfg, self.control_strength = networks, cfg, control_strength
        self.branches = len(conditioning.text)
        self.dtype = networks.unet.dtype
        self.text = conditioning.text.to(self.dtype)
        self.hint = hint.to(self.dtype)
        self.pooled = None if conditioning.pooled is None else conditioning.pooled.to(self.dtype)
        guidance = guidance_embedding(networks.unet.config, cfg)
        self.guidance = None if guidance is None else guidance.to(hint.device, self.dtype)
        height, width = hint.shape[-2:]
        # SDXL's size conditioning: original size, crop, target size.
        sizes = [[height, width, 0, 0, height, width]]
        self.sizes = torch.tensor(sizes, device=hint.device, dtype=torch.float32)

    def __call__(self, latent: Tensor, label: float | Tensor) -> Tensor:
        cell = _GradientSize()
        pictures = len(latent)
        noisy = _Enter.apply(latent.repeat(self.branches, 1, 1, 1), self.dtype, cell)
        times = _times(label, noisy)
        output = _Leave.apply(self._evaluate(noisy, times, pictures), cell)
        if self.branches == 1:
            return output
        negative, positive = output.chunk(2)
        return negative + self.cfg * (positive - negative)

    def _evaluate(self, noisy: Tensor, times: Tensor, pictures: int) -> Tensor:
        text = self.context(pictures)
        inputs: dict[str, Any] = {"encoder_hidden_states": text, "return_dict": False}
        if self.pooled is not None:
            inputs["added_cond_kwargs"] = {
                "text_embeds": self.pooled.repeat_interleave(pictures, 0),
                "time_ids": self.sizes.expand(len(noisy), -1),
            }
        residuals: dict[str, Any] = {}
        if self.networks.controlnet is not None:
            hint = self.hint.expand(pictures, -1, -1, -1).repeat(self.branches, 1, 1, 1)
            down, mid = self.networks.controlnet(
                noisy,
                times,
                controlnet_cond=hint,
                conditioning_scale=self.control_strength,
                **inputs,
            )
            residuals = {
                "down_block_additional_residuals": down,
                "mid_block_additional_residual": mid,
            }
        if self.guidance is not None:
            inputs["timestep_cond"] = self.guidance.expand(len(noisy), -1)
        return self.networks.unet(noisy, times, **inputs, **residuals)[0]

    def window(self, top: int, left: int, height: int, width: int) -> "UNetDenoiser":
        """The denoiser for a part of the picture, in pixels; text and SDXL's sizes stay."""
        return self.holding({"hint": self.hint[..., top : top + height, left : left + width]})

    def bound(self) -> dict[str, Tensor]:
        """The tensors that a call depends on besides latent, label and weights, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def holding(self, bound: dict[str, Tensor]) -> "UNetDenoiser":
        """The same denoiser with other tensors in the places of those named."""
        other = copy(self)
        vars(other).update(bound)
        return other

    def weights_at(self) -> int:
        """The address of the UNet's first weight: another one where weights were moved."""
        return next(self.networks.unet.parameters()).data_ptr()

    def context(self, pictures: int) -> Any:
        """What the attention layers see: text, (branches * pictures, 77, width), branch by branch.

        Networks with more conditioning override this.
        """
        return self.text.repeat_interleave(pictures, 0)


def _times(label: float | Tensor, noisy: Tensor) -> Tensor:
    """A label for each item, float32; one in a tensor is not read by the processor."""
    if isinstance(label, Tensor):
        return label.to(noisy.device, torch.float32).expand(len(noisy))
    return torch.full((len(noisy),), float(label), device=noisy.device)


class _GradientSize:
    """How much a call's gradient was enlarged on its way back."""

    size: Tensor


class _Enter(torch.autograd.Function):
    """To the network's precision; its gradient comes back to scale.

    Gradients of a mean over pixels are about 1e-6 and smaller, which half precision flushes to
    zero: `_Leave` divides each item's by its largest number, and this multiplies by it again.
    """

    @staticmethod
    def forward(ctx: Any, latent: Tensor, dtype: torch.dtype, cell: _GradientSize) -> Tensor:
        ctx.cell, ctx.dtype = cell, latent.dtype
        return latent.to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        return gradient.to(ctx.dtype) * ctx.cell.size.to(ctx.dtype), None, None


class _Leave(torch.autograd.Function):
    """To float32, at least; see `_Enter`."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, cell: _GradientSize) -> Tensor:
        ctx.cell, ctx.dtype = cell, output.dtype
        return output.to(torch.promote_types(output.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        size = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
        ctx.cell.size = torch.where(size > 0, size, torch.ones_like(size))
        return (gradient / ctx.cell.size).to(ctx.dtype), None


class VaeCodec:
    """Stable Diffusion's autoencoder in float32: posterior mean, scaled to about unit variance.

    Attributes:
        vae: the AutoencoderKL.
    """

    def __init__(self, vae: Any):
        self.vae = vae
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0)

    def encode(self, image: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in [0, 1] to a latent (B, 4, H / 8, W / 8)."""
        posterior = self.vae.encode(2 * image.to(self.vae.dtype) - 1).latent_dist
        return (posterior.mode() - self.shift) * self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """A latent (B, 4, h, w) to RGB (B, 3, 8 h, 8 w), not clamped."""
        latent = latent.to(self.vae.dtype) / self.scale + self.shift
        return (self.vae.decode(latent, return_dict=False)[0] + 1) / 2
