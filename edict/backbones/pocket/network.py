"""The pocket denoiser's network, in Haar coefficients: a U-Net without normalisation.

Normalising would take absolute size away, which tells blur from smooth content, and would make what
a tile gives depend on the tile. What is wrong with a picture is one vector, taken from the whole
picture once and added to the time's.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CORRECTION_CHANNELS = 48  # three colours, 16 Haar bands
WIDTHS = (64, 128, 256)  # channels of the levels, each at half the resolution of the one before
DOWN_BLOCKS, UP_BLOCKS, MIDDLE_BLOCKS = (2, 2, 3), (2, 2), 2
EMBEDDING = 256
ENCODER_WIDTH = 96
# Pixels. By its layers it sees 288; of what is beyond 208 no more comes through than rounding.
REACH = 224
MULTIPLE = 16  # pixels: Haar blocks of 4, halved twice by the U-Net


class Block(nn.Module):
    """A residual block whose features are shifted and scaled by an embedding."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = _zeroed(nn.Linear(EMBEDDING, 2 * channels))
        with torch.no_grad():  # near the identity, as normalisation would have it
            for parameter, size in zip(self.second.parameters(), (0.1, 0.0), strict=True):
                parameter.mul_(size)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
        return x + self.second(F.silu(self.first(F.silu(x)) * (1 + scale) + shift))


class Level(nn.ModuleList):
    """Blocks of one resolution, one after the other."""

    def __init__(self, channels: int, count: int):
        super().__init__(Block(channels) for _ in range(count))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class DegradationEncoder(nn.Module):
    """What is wrong with a picture, as one vector: means and sizes of features over all places."""

    def __init__(self) -> None:
        super().__init__()
        width = ENCODER_WIDTH
        layers = (
            nn.Conv2d(CORRECTION_CHANNELS, width, 3, padding=1),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        )
        self.features = nn.Sequential(*(part for layer in layers for part in (layer, nn.SiLU())))
        self.head = _two_layers(4 * width)

    def forward(self, condition: Tensor) -> Tensor:
        features = self.features(condition)
        size = (features.square().mean((2, 3)) + 1e-6).sqrt()
        return self.head(torch.cat((features.mean((2, 3)), size), 1))


class PocketNetwork(nn.Module):
    """The velocity of a noisy correction, given the picture: 10.25 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        steps = range(len(WIDTHS) - 1)
        self.time = _two_layers(EMBEDDING)
        self.encoder = DegradationEncoder()
        self.first = nn.Conv2d(2 * CORRECTION_CHANNELS, WIDTHS[0], 3, padding=1)
        self.down = nn.ModuleList(map(Level, WIDTHS, DOWN_BLOCKS))
        self.shrink = nn.ModuleList(
            nn.Conv2d(WIDTHS[i], WIDTHS[i + 1], 4, stride=2, padding=1) for i in steps
        )
        self.middle = Level(WIDTHS[-1], MIDDLE_BLOCKS)
        self.grow = nn.ModuleList(nn.Conv2d(WIDTHS[i + 1], 4 * WIDTHS[i], 1) for i in steps)
        self.up = nn.ModuleList(map(Level, WIDTHS, UP_BLOCKS))
        self.last = _zeroed(nn.Conv2d(WIDTHS[0], CORRECTION_CHANNELS, 3, padding=1))

    def embed(self, condition: Tensor) -> Tensor:
        """What is wrong with a picture.

        Args:
            condition: its whitened Haar coefficients, (B, 48, h, w), of the whole of it.
        Returns: (B, 256).
        """
        return self.encoder(condition)

    def forward(
        self, noisy: Tensor, condition: Tensor, labels: Tensor | float, degradation: Tensor
    ) -> Tensor:
        """The velocity.

        Args:
            noisy: a noisy correction in units of the correction's scale, (B, 48, h, w); h and w are
                multiples of 4.
            condition: whitened Haar coefficients of the same part of the picture, same shape.
            labels: time labels in [0, 1000), (B,) or one for all.
            degradation: what `embed` gave for the whole picture, (B or 1, 256).
        Returns: (B, 48, h, w).
        """
        embedding = F.silu(self.time(time_features(labels, noisy)) + degradation)
        x = self.first(torch.cat((noisy, condition), 1))
        kept = []
        for level, blocks in enumerate(self.down):
            x = blocks(x, embedding)
            if level < len(self.shrink):
                kept.append(x)
                x = self.shrink[level](x)
        x = self.middle(x, embedding)
        for level in reversed(range(len(self.grow))):
            x = F.pixel_shuffle(self.grow[level](x), 2) + kept[level]
            x = self.up[level](x, embedding)
        return self.last(F.silu(x))


def time_features(labels: Tensor | float, like: Tensor) -> Tensor:
    """Sines and cosines of time labels, (B or 1, 256), on the device and in the precision given."""
    half = EMBEDDING // 2
    times = torch.as_tensor(labels, dtype=torch.float32, device=like.device).reshape(-1, 1)
    places = torch.arange(half, dtype=torch.float32, device=like.device)
    angles = times * torch.exp(-math.log(10_000) * places / half)
    return torch.cat((angles.cos(), angles.sin()), 1).to(like.dtype)


def _two_layers(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))


def _zeroed(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
