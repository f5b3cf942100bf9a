# nn.ModuleList hides the types of its modules:
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
"""The pocket prior: a small smooth no-reference quality network, made to be climbed."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.weights import load_module, read_tensors
from .prior import Scorer

WHAT = "pocket prior"
WEIGHTS = Path(__file__).with_name("pocket_prior.safetensors")
CHANNELS = (32, 48, 96, 112)  # at 1/2, 1/4, 1/8 and 1/16 of the picture's resolution
SMALLEST = 32  # pixels: two positions at 1/16
DETAIL_GAIN = 12.0  # brings the fine detail of photographs to the size of their colours
LOCAL_BOUND = 10.0  # no single position can pay for a spoiled picture


def _reflected(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return convolution(F.pad(x, (1, 1, 1, 1), mode="reflect"))


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + _reflected(self.second, F.silu(_reflected(self.first, x)))


class PocketPrior(nn.Module):
    """Local scores at 1/4, 1/8 and 1/16 of the resolution, each averaged over the whole picture.

    Smooth everywhere (SiLU, tanh), without any normalisation. Kernels of four pixels at a stride of
    two treat every pixel alike, so that the gradient has no grid of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (6, *CHANNELS)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(_Residual(width) for width in CHANNELS[1:])
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in CHANNELS[1:])

    def forward(self, image: Tensor) -> Tensor:
        """Score RGB in [0, 1], shape (B, 3, H, W), as (B,); any finite value, higher is better."""
        score = image.new_zeros(len(image))
        for local in self.local_scores(image):
            score = score + local.mean((1, 2, 3))
        return score

    def local_scores(self, image: Tensor) -> Iterator[Tensor]:
        """Local scores (B, 1, h, w) at 1/4, 1/8 and 1/16 of the resolution."""
        smooth = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
        x = torch.cat((4 * image - 2, DETAIL_GAIN * (image - smooth)), 1)
        x = F.silu(_reflected(self.downs[0], x))
        for down, block, head in zip(self.downs[1:], self.blocks, self.heads, strict=True):
            x = block(F.silu(_reflected(down, x)))
            yield LOCAL_BOUND * torch.tanh(head(F.silu(x)) / LOCAL_BOUND)


def build_network() -> PocketPrior:
    """The untrained network, 0.7 M parameters."""
    network = PocketPrior()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    for block in network.blocks:
        nn.init.normal_(block.second.weight, std=2e-2)
    for head in network.heads:
        nn.init.normal_(head.weight, std=0.1)
    return network


def load_pocket_calibration() -> tuple[float, float]:
    """Read the pocket prior's logistic constants, Eq. (21).

    Returns: (xi3, xi4), the score that becomes 0.5 and the logistic's scale, in units of the score.
    Raises: ValueError if the weights file is missing or damaged.
    Source: Zhang et al., arXiv 2403.06406, Eq. (21).
    """
    tensors = _weights()
    if not {"xi3", "xi4"} <= tensors.keys():
        raise ValueError(f"{WEIGHTS} lacks xi3 or xi4: restore the file")
    return float(tensors["xi3"]), float(tensors["xi4"])


def _weights() -> dict[str, Tensor]:
    return read_tensors(WEIGHTS, WHAT)


def load_pocket(device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """Load the pocket prior with frozen weights.

    Args:
        device: where the weights go; pictures must be there too.
    Returns: q(image), differentiable: RGB in [0, 1], shape (B, 3, H, W), H and W at least 32, any
        floating dtype (computed in float32) -> raw score (B,) in the same dtype, higher is better.
        It raises ValueError for any other shape.
    Raises: ValueError if the weights file is missing or damaged.
    """
    return load_pocket_scorer(device).official


def load_pocket_scorer(device: torch.device | str = "cpu", paths: tuple[Path, ...] = ()) -> Scorer:
    """Load the pocket prior with frozen weights, its local scores included; see `load_pocket`."""
    del paths  # its weights are the pack's
    network = load_module(PocketPrior(), _weights(), "network.", WEIGHTS).to(device)

    def score(image: Tensor) -> Tensor:
        _check(image)
        # Half-precision autocast around the caller would break the promise of float32.
        with torch.autocast(image.device.type, enabled=False):
            return network(image.float()).to(image.dtype)

    def local(image: Tensor) -> Tensor:
        _check(image)
        with torch.autocast(image.device.type, enabled=False):
            fine, *coarse = network.local_scores(image.float())  # pyright: ignore - PocketPrior's
        for scores in coarse:
            fine = fine + F.interpolate(scores, fine.shape[-2:], mode="bilinear")
        return fine[:, 0].to(image.dtype)

    return Scorer(score, local=local)


def _check(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"picture of shape {tuple(image.shape)}: (B, 3, H, W) is needed, with H and W at "
            f"least {SMALLEST} pixels; enlarge or pad a smaller picture"
        )
