"""ComfyUI's VAE as a codec: differentiable, unclamped, and never through its tiled fallback.

VAE.decode retries in tiles under inference mode when memory runs out, which cuts the gradient
without a word; here running out of memory is an error.
"""

from typing import Any

import torch
from comfy.ldm.models.autoencoder import AutoencodingEngine
from comfy.taesd.taesd import TAESD
from torch import Tensor

LINEAR = 1e-6  # float32
CUTTABLE = (AutoencodingEngine, TAESD)  # convolutions, and group norms that can be frozen


class PixelRange:
    """The affine map from a VAE's own range to [0, 1], read off its `process_output`.

    ComfyUI's function clamps, which stops the gradient of saturated pixels, and works in place.
    """

    def __init__(self, vae: Any):
        probe = torch.tensor([0.25, 0.5, 0.75])
        low, middle, high = vae.process_output(probe.clone()).tolist()
        self.scale, self.offset = 4 * (middle - low), 2 * low - middle
        if abs(low + high - 2 * middle) > LINEAR or self.scale <= 0:
            raise ValueError("this VAE's pixels are no linear map of RGB: use another VAE")

    def __call__(self, pixels: Tensor) -> Tensor:
        """VAE output to RGB about [0, 1]."""
        return pixels * self.scale + self.offset


class NativeCodec:
    """Pictures (B, 3, H, W) to the network's latents (B, C, h, w) and back.

    Args:
        backbone: the NativeBackbone, whose model and VAE are opened on first use.
        shape: the latents' shape.

    Attributes:
        vae: the autoencoder's network, if it is of a kind that can be tiled; missing otherwise.
    """

    def __init__(self, backbone: Any, shape: tuple[int, ...]):
        self.backbone, self.shape = backbone, shape
        if isinstance(network := backbone.vae_patcher.model, CUTTABLE):
            self.vae = network

    def encode(self, image: Tensor) -> Tensor:
        """RGB in [0, 1] to a latent in the network's scaling, the posterior's mean."""
        live, vae = self.backbone.live(self.shape), self.backbone.vae
        pixels = vae.process_input(image.to(vae.device, torch.float32).clone())
        latent = live.first_stage.encode(pixels.to(vae.vae_dtype)).float()
        return live.inner.process_latent_in(latent.to(live.device))

    def decode(self, latent: Tensor) -> Tensor:
        """A latent in the network's scaling to RGB about [0, 1], not clamped."""
        live, vae = self.backbone.live(self.shape), self.backbone.vae
        scaled = live.inner.process_latent_out(latent.to(live.device, torch.float32))
        pixels = live.first_stage.decode(scaled.to(vae.device, vae.vae_dtype))
        return self.backbone.pixel_range(pixels.float()).to(latent.device)
