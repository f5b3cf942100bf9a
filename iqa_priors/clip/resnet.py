"""CLIP's residual image tower, which transformers does not have; names as in OpenAI's files."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4


class ResnetShape(NamedTuple):
    """Sizes of the tower.

    Attributes:
        blocks: residual blocks in each of the four stages.
        width: channels after the stem; 64 for RN50.
        features: length of the embedding; 1024 for RN50.
        positions: length of the table of positions, 50 for RN50; 0 without one.
    """

    blocks: tuple[int, ...]
    width: int
    features: int
    positions: int = 0

    @property
    def heads(self) -> int:
        """Attention heads of the pooling, 64 channels each."""
        return self.width * 32 // 64


class ClipResnet(nn.Module):
    """A residual network with a three-convolution stem, averaged strides and attention pooling.

    The pooling adds no positions unless it is told to, as CLIP-IQA has it.

    Source: Radford et al., arXiv 2103.00020, Sec. 2.4; Wang et al., AAAI 2023 (CLIP-IQA).
    """

    def __init__(self, shape: ResnetShape):
        super().__init__()
        half = shape.width // 2
        for index, (before, after, stride) in enumerate(
            ((3, half, 2), (half, half, 1), (half, shape.width, 1)), start=1
        ):
            convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
            self.add_module(f"conv{index}", convolution)
            self.add_module(f"bn{index}", nn.BatchNorm2d(after))
        channels = shape.width
        for index, count in enumerate(shape.blocks):
            inner = shape.width * 2**index
            stage = []
            for number in range(count):
                stage.append(_Block(channels, inner, 2 if index and not number else 1))
                channels = inner * EXPANSION
            self.add_module(f"layer{index + 1}", nn.Sequential(*stage))
        self.stages = [f"layer{index + 1}" for index in range(len(shape.blocks))]
        self.attnpool = _AttentionPool(channels, shape)

    def forward(self, image: Tensor, positions: bool = False) -> Tensor:
        """Embeddings (B, features) of normalised pictures (B, 3, H, W) of 32 pixels or more.

        With `positions` the pooling is told them, resampled to the picture's size.
        """
        x = image
        for index in (1, 2, 3):
            x = F.relu(self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(x)))
        x = F.avg_pool2d(x, 2)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.attnpool(x, positions)


class _Block(nn.Module):
    """A bottleneck whose stride is an average over stride x stride pixels."""

    def __init__(self, channels: int, inner: int, stride: int):
        super().__init__()
        outer = inner * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = nn.Sequential()
        if stride > 1 or channels != outer:
            self.downsample.add_module("0", nn.Conv2d(channels, outer, 1, bias=False))
            self.downsample.add_module("1", nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.pool(F.relu(self.bn2(self.conv2(y))))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(self.pool(x)))


class _AttentionPool(nn.Module):
    """Multi-head attention of the mean over all positions."""

    def __init__(self, channels: int, shape: ResnetShape):
        super().__init__()
        self.heads = shape.heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, shape.features)
        if shape.positions:
            self.positional_embedding = nn.Parameter(torch.zeros(shape.positions, channels))

    def forward(self, x: Tensor, positions: bool) -> Tensor:
        places = x.flatten(2).mT
        tokens = torch.cat((places.mean(1, keepdim=True), places), 1)
        if positions:
            tokens = tokens + resampled(self.positional_embedding, tokens.shape[1])
        q, k, v = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        pooled = F.scaled_dot_product_attention(q, k, v)
        return self.c_proj(pooled.transpose(1, 2).flatten(1))


def resampled(table: Tensor, count: int) -> Tensor:
    """A table of positions (N, width) at another length, bicubic along the list, as published."""
    return F.interpolate(table[None, None], size=(count, table.shape[1]), mode="bicubic")[0, 0]
