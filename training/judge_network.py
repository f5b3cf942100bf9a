"""A judge made to be climbed: a potential whose gradient leads to the clean picture."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from latent_map.files.weights import load_module, read_tensors
from torch import Tensor, nn

WIDTHS = (64, 96, 128)  # channels at 1/4, 1/8 and 1/16 of the picture's resolution
BLOCKS = (2, 2, 2)
MULTIPLE = 16  # pixels
SMALLEST = 32  # pixels: two positions at 1/16
DETAIL_GAIN = 12.0  # brings the fine detail of photographs to the size of their colours
KEPT = 0.7  # of the detail, by N before it has learnt anything
FAINTEST = 1e-7  # potential: a correction of a ninth of a grey level


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = _convolution(channels, channels, 3)
        self.second = _convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class GradientStepJudge(nn.Module):
    """g(x) = mean over the picture of 1/2 |x - N(x)|^2, N a small smooth U-Net.

    N keeps 0.7 of the fine detail and adds what it learns: with an N that starts as the identity,
    value and gradient are zeros of second order and nothing is learnt. Smooth everywhere (SiLU),
    without any normalisation, 1.9 M parameters.

    Source: Hurault, Leclaire, Papadakis, Gradient Step Denoiser, ICLR 2022, Eq. (9).
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        # Kernels of twice the stride treat every pixel alike: the gradient has no grid of its own.
        self.stem = _convolution(6, first, 8, stride=4, padding=2)
        self.down = nn.ModuleList(
            (
                _convolution(first, second, 4, stride=2, padding=1),
                _convolution(second, third, 4, stride=2, padding=1),
            )
        )
        self.before = nn.ModuleList(_residuals(w, n) for w, n in zip(WIDTHS, BLOCKS, strict=True))
        self.after = nn.ModuleList(
            _residuals(w, n) for w, n in zip(WIDTHS[:-1], BLOCKS[:-1], strict=True)
        )
        self.up = nn.ModuleList(
            (
                nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),
                nn.ConvTranspose2d(third, second, 4, stride=2, padding=1),
            )
        )
        self.head = nn.ConvTranspose2d(first, 3, 8, stride=4, padding=2)
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Score RGB in [0, 1], (B, 3, H, W), sides at least 32, as -log g, (B,)."""
        return self.score(self.potential(image))

    @staticmethod
    def score(potential: Tensor) -> Tensor:
        """-log g, higher is better."""
        return -(potential + FAINTEST).log()

    def potential(self, image: Tensor) -> Tensor:
        """g, (B,): small for a good picture."""
        return 0.5 * self.residual(image).square().mean((1, 2, 3))

    def residual(self, image: Tensor) -> Tensor:
        """x - N(x), (B, 3, H, W)."""
        height, width = image.shape[-2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        x = F.pad(image, padding, mode="reflect")
        smooth = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
        detail = x - smooth
        inside = self.features(torch.cat((4 * x - 2, DETAIL_GAIN * detail), 1))
        correction = self.head(F.silu(inside)) / DETAIL_GAIN
        return ((1 - KEPT) * detail - correction)[..., :height, :width]

    def features(self, x: Tensor) -> Tensor:
        """What the U-Net makes of colours and detail, (B, 64, H / 4, W / 4)."""
        x, levels = self.stem(x), []
        for before, down in zip(self.before, self.down, strict=False):
            x = before(x)
            levels.append(x)
            x = down(F.silu(x))
        x = self.before[-1](x)
        for after, up, level in reversed(list(zip(self.after, self.up, levels, strict=True))):
            x = after(up(F.silu(x)) + level)
        return x


def load_judge(path: Path, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """Load a trained judge with frozen weights.

    Returns: q(image), differentiable: RGB in [0, 1], (B, 3, H, W), sides at least 32 -> -log g,
        (B,), higher is better.
    Raises: ValueError if the file is missing, damaged, or of another network.
    """
    tensors = read_tensors(path, "judge")
    network = load_module(GradientStepJudge(), tensors, "network.", path)
    return network.to(device)


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, padding_mode="reflect")


def _residuals(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(channels) for _ in range(count)))


def _initialise(network: GradientStepJudge) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # Each output of a transposed kernel sees a share of it.
            inputs = module.in_channels * math.prod(module.kernel_size)
            if isinstance(module, nn.ConvTranspose2d):
                inputs //= math.prod(module.stride)
            nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, _Residual):
            module.second.weight.data.mul_(0.3)
    network.head.weight.data.mul_(0.004)
