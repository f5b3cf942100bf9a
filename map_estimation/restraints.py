"""What the user holds fixed: regions outside a mask, guarded regions, the input's colours."""

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fidelity.fidelity import Fidelity
from .spaces import Space

LEVELS = 5  # dilations 1 to 16: the colours of regions wider than about 60 pixels
SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


@dataclass(frozen=True)
class Restraints:
    """Where and how a picture may change; the default leaves it free.

    Attributes:
        mask: where to enhance, (1 or B, 1, H, W) in [0, 1]; where it is 0 the result equals the
            input, between it is a blend. None: everywhere.
        guard: where changes count more (faces, text), same shape. None: nowhere.
        guard_weight: how many times more the fidelity counts there, 0 or more.
        anchor_colours: keep the input's coarse colours; only detail is free.
    """

    mask: Tensor | None = None
    guard: Tensor | None = None
    guard_weight: float = 10.0
    anchor_colours: bool = False

    def check(self, image: Tensor) -> None:
        """Raise ValueError unless all fits the pictures (B, 3, H, W)."""
        _check_mask(self.mask, image, "mask")
        _check_mask(self.guard, image, "guard mask")
        if not self.guard_weight >= 0:
            raise ValueError(f"guard weight {self.guard_weight} must be 0 or more")

    def item(self, index: int, device: torch.device | None = None) -> "Restraints":
        """Those of one picture of the batch, on a device; by default where they are."""
        mask, guard = (
            None if m is None else m[min(index, len(m) - 1)][None].to(device or m.device)
            for m in (self.mask, self.guard)
        )
        return Restraints(mask, guard, self.guard_weight, self.anchor_colours)

    @property
    def forbids_all(self) -> bool:
        """Whether the mask leaves nothing to change."""
        return self.mask is not None and not self.mask.any()

    def space(self, space: Space, picture: Tensor) -> Space:
        """The space with what is restrained in its pictures."""
        if self.anchor_colours:
            space = ColourAnchoredSpace(space, picture)
        return space if self.mask is None else MaskedSpace(space, picture, self.mask)

    def fidelity(self, fidelity: Fidelity | None) -> Fidelity | None:
        """The fidelity with the guarded region's weight."""
        if self.guard is None or fidelity is None:
            return fidelity
        return GuardedFidelity(fidelity, self.guard, self.guard_weight)

    def describe(self) -> str:
        """A fingerprint for saved states."""
        parts = [f"anchor_colours {self.anchor_colours}"]
        for name, mask in (("mask", self.mask), ("guard", self.guard)):
            if mask is not None:
                pixels = mask.float().cpu().contiguous().numpy().tobytes()
                parts.append(f"{name} {hashlib.sha256(pixels).hexdigest()}")
        if self.guard is not None:
            parts.append(f"guard_weight {self.guard_weight}")
        return ", ".join(parts)


def _check_mask(mask: Tensor | None, image: Tensor, name: str) -> None:
    if mask is None:
        return
    count, height, width = len(image), *image.shape[-2:]
    if mask.ndim != 4 or len(mask) not in (1, count) or mask.shape[1:] != (1, height, width):
        raise ValueError(
            f"{name} has shape {tuple(mask.shape)}: (1 or {count}, 1, {height}, {width}) is "
            "needed; resize it to the picture"
        )
    if not (torch.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(f"{name} must hold numbers from 0 to 1")


class _RestrainedSpace:
    """Another space with something held fixed in its pictures."""

    def __init__(self, space: Space, picture: Tensor):
        self.space, self.picture = space, picture
        self.backbone = getattr(space, "backbone", None)

    def start(self) -> list[Tensor]:
        """The variables of the input picture."""
        return self.space.start()

    def synthesise(self, variables: list[Tensor], with_gradient: bool) -> Tensor:
        """Latents of the free pictures."""
        return self.space.synthesise(variables, with_gradient)

    def pull_back(self, gradient: Tensor) -> list[Tensor]:
        """Gradient by the latents to gradients by the variables."""
        return self.space.pull_back(gradient)

    @property
    def tile(self) -> int | None:
        """Side of the networks' tiles in pixels, or None."""
        return self.space.tile

    def retile(self, tile: int | None) -> None:
        """Change the map to that of another tile."""
        self.space.retile(tile)

    def shrink(self) -> bool:
        """Do with less memory from now on; False if that cannot be."""
        return self.space.shrink()

    def adopt(self, latents: Tensor) -> list[Tensor]:
        """The variables of the free pictures' latents."""
        return self.space.adopt(latents)


class MaskedSpace(_RestrainedSpace):
    """A space whose pictures equal the input where the mask is 0.

    Args:
        space: where to optimise.
        picture: the input, (1, 3, H, W), RGB in [0, 1].
        mask: (1, 1, H, W) in [0, 1].
    """

    def __init__(self, space: Space, picture: Tensor, mask: Tensor):
        super().__init__(space, picture)
        self.mask = mask

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures, with the input's pixels outside the mask."""
        free = self.space.decode(latents)
        mask = self.mask.to(free)
        return mask * free + (1 - mask) * self.picture.to(free)


class ColourAnchoredSpace(_RestrainedSpace):
    """A space whose pictures keep the input's colours.

    The coarsest level of an undecimated (à trous) wavelet transform is the input's. It is part of
    the map, so the optimiser knows of it.

    Args:
        space: where to optimise.
        picture: the input, (1, 3, H, W), RGB in [0, 1].
    """

    def __init__(self, space: Space, picture: Tensor):
        super().__init__(space, picture)
        self._colours = coarse(picture.double())

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures with the input's coarse colours."""
        free = self.space.decode(latents)
        return free - coarse(free) + self._colours.to(free)


def coarse(image: Tensor, levels: int = LEVELS) -> Tensor:
    """Smooth part of pictures (B, C, H, W) after `levels` of an à trous wavelet transform.

    Source: Starck & Murtagh's cubic B-spline kernel; borders are replicated.
    """
    kernel = torch.tensor(SPLINE, dtype=image.dtype, device=image.device)
    channels = image.shape[1]
    for level in range(levels):
        reach = 2 * 2**level
        for vertical in (True, False):
            shape = (1, 1, 5, 1) if vertical else (1, 1, 1, 5)
            padding = (0, 0, reach, reach) if vertical else (reach, reach, 0, 0)
            padded = F.pad(image, padding, mode="replicate")
            weight = kernel.reshape(shape).expand(channels, 1, *shape[2:])
            image = F.conv2d(padded, weight, dilation=2**level, groups=channels)
    return image


class GuardedFidelity:
    """A fidelity that weighs changes in a region again, e.g. faces or text.

    Args:
        fidelity: D0.
        mask: (1, 1, H, W) in [0, 1]; 1 is guarded.
        weight: how many times more a change there counts.
    """

    def __init__(self, fidelity: Fidelity, mask: Tensor, weight: float):
        self.fidelity, self.mask, self.weight = fidelity, mask, weight
        self.name, self.min_side = fidelity.name, fidelity.min_side
        self.identity = fidelity.identity  # a saved run knows of the guard by its restraints

    def __call__(self, x: Tensor, x_init: Tensor, /) -> Tensor:
        """D0(x, x_init), and `weight` times D0 of x changed in the guarded region alone: (B,)."""
        guarded = x_init + self.mask.to(x) * (x - x_init)
        return self.fidelity(x, x_init) + self.weight * self.fidelity(guarded, x_init)
