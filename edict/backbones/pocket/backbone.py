"""The embedded default: a small conditional denoiser in correction space. A preview, not SD.

The latent is the Haar transform of *image minus the picture being enhanced*, so the picture itself
is z = 0, the codec is exact, and the network generates corrections, conditioned on the picture.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...choices import Spacing
from ...protocols import Binding
from ...schedule import Schedule, scaled_linear_alphas, vp_schedule
from .haar import BLOCK, haar, inverse_haar
from .network import CORRECTION_CHANNELS, MULTIPLE, REACH, PocketNetwork

WEIGHTS = Path(__file__).with_name("denoiser.safetensors")
CONSTANTS = {
    "correction_scale": (),
    "condition_mean": (CORRECTION_CHANNELS,),
    "condition_deviation": (CORRECTION_CHANNELS,),
}


class CorrectionCodec:
    """z = Haar(image - picture) / scale, exact in both directions.

    Args:
        picture: the picture being enhanced, (B, 3, H, W), sides multiples of 4.
        scale: root mean square of the corrections the network was trained on.
    """

    def __init__(self, picture: Tensor, scale: float):
        self.picture, self.scale = picture, scale

    def encode(self, image: Tensor) -> Tensor:
        """RGB (B, 3, H, W) to a latent (B, 48, H / 4, W / 4)."""
        return haar(image - self.picture.to(image)) / self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """A latent (B, 48, H / 4, W / 4) to RGB (B, 3, H, W), not clamped."""
        return self.picture.to(latent) + inverse_haar(latent * self.scale)


class PocketDenoiser:
    """The velocity for a latent, in the network's own precision.

    Args:
        network: the U-Net.
        condition: the picture or a part of it, whitened Haar coefficients (1 or B, 48, h, w).
        degradation: what is wrong with the whole picture, (1 or B, 256).
    """

    def __init__(self, network: Any, condition: Tensor, degradation: Tensor):
        self.network, self.condition, self.degradation = network, condition, degradation

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        noisy = latent.to(self.condition)
        condition = self.condition.expand(len(noisy), -1, -1, -1)
        return self.network(noisy, condition, label, self.degradation)

    def window(self, top: int, left: int, height: int, width: int) -> "PocketDenoiser":
        """The denoiser for a part of the picture, in pixels, multiples of 4."""
        rows = slice(top // BLOCK, (top + height) // BLOCK)
        columns = slice(left // BLOCK, (left + width) // BLOCK)
        return PocketDenoiser(self.network, self.condition[..., rows, columns], self.degradation)


class PocketBackbone:
    """The embedded denoiser; `bind` conditions it on a picture."""

    name = "pocket 2"
    multiple = MULTIPLE

    def __init__(self, network: Any, tensors: dict[str, Tensor], device: torch.device):
        self.device = device
        self.conditioned, self.reach = True, REACH
        self.recipe: dict[str, Any] | None = {"name": "pocket"}
        self.network = network.to(device).eval().requires_grad_(False)
        self.scale = float(tensors["correction_scale"])
        self._mean = tensors["condition_mean"].to(device)[:, None, None]
        self._deviation = tensors["condition_deviation"].to(device)[:, None, None]

    def schedule(self, steps: int, spacing: Spacing = "trailing") -> Schedule:
        """Its v-prediction schedule, scaled-linear betas of 1000 training steps."""
        return vp_schedule(scaled_linear_alphas(), steps, "v", spacing)

    def bind(self, image: Tensor) -> Binding:
        """Condition the network on a picture (B, 3, H, W), RGB in [0, 1], sides multiples of 16."""
        height, width = image.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(
                f"picture is {height}x{width}: pad its sides to multiples of {MULTIPLE}"
            )
        picture = image.detach().to(self.device)
        with torch.no_grad():
            condition = (haar(picture.float()) - self._mean) / self._deviation
            degradation = self.network.embed(condition)
        denoiser = PocketDenoiser(self.network, condition, degradation)
        return Binding(denoiser, CorrectionCodec(picture, self.scale))


def load_pocket(device: str | torch.device = "cpu", weights: Path = WEIGHTS) -> PocketBackbone:
    """The embedded backbone.

    Args:
        device: where the network runs.
        weights: file made by training/train_pocket_denoiser.py.
    Raises: ValueError if the file is missing, cut off, or not a pocket denoiser.
    """
    from ....files.weights import load_module, read_tensors

    tensors = read_tensors(weights, "pocket denoiser")
    if any(name.startswith("restorer.") for name in tensors):
        raise ValueError(
            f"{weights} holds the denoiser of version 0.1, another network: restore the file or "
            "choose another"
        )
    network = load_module(PocketNetwork(), tensors, "network.", weights)
    for name, shape in CONSTANTS.items():
        value = tensors.get(name)
        if value is None or value.shape != shape or not torch.isfinite(value).all():
            raise ValueError(f"{weights} has no usable {name}: restore the file or choose another")
    return PocketBackbone(network, tensors, torch.device(device))
