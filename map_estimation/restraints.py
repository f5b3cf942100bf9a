"""What the user holds fixed: regions outside a mask, guarded regions, the input's colours."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import constant
from ..files.devices import exact

# Free pictures (n, 3, H, W) to restrained ones, differentiable. It is part of the map from noise to
# picture, so the optimiser knows of it.
Restraint = Callable[[Tensor], Tensor]
LEVELS = 5  # dilations 1 to 16: the colours of regions wider than about 60 pixels
GUARD_WEIGHT = 10.0
LUMA = (0.299, 0.587, 0.114)
SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


class Region(NamedTuple):
    """Where changes count more.

    Attributes:
        mask: (1 or B, 1, H, W) in [0, 1].
        weight: how many times more the fidelity counts there, 0 or more.
    """

    mask: Tensor
    weight: float


@dataclass(frozen=True)
class Restraints:
    """Where and how a picture may change; the default leaves it free.

    Attributes:
        mask: where to enhance, (1 or B, 1, H, W) in [0, 1]; where it is 0 the result equals the
            input, between it is a blend. None: everywhere.
        guard: where changes count more (faces, text), same shape. None: nowhere.
        guard_weight: how many times more the fidelity counts there, 0 or more.
        anchor_colours: keep the input's coarse colours; only detail is free.
        regions: further guards, each with a weight of its own; where they overlap, weights add up.
        grey: no colour may appear; `enhance` holds it for pictures that have none.
    """

    mask: Tensor | None = None
    guard: Tensor | None = None
    guard_weight: float = GUARD_WEIGHT
    anchor_colours: bool = False
    regions: tuple[Region, ...] = ()
    grey: bool = False

    @property
    def guarded(self) -> tuple[Region, ...]:
        """All regions where changes count more, the guard first."""
        guard = () if self.guard is None else (Region(self.guard, self.guard_weight),)
        return (*guard, *self.regions)

    def check(self, image: Tensor) -> None:
        """Raise ValueError unless all fits the pictures (B, 3, H, W)."""
        _check_mask(self.mask, image, "mask")
        _check_mask(self.guard, image, "guard mask")
        if not self.guard_weight >= 0:
            raise ValueError(f"guard weight {self.guard_weight} must be 0 or more")
        for number, (mask, weight) in enumerate(self.regions, 1):
            _check_mask(mask, image, f"region {number}'s mask")
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"region {number}'s weight {weight} must be 0 or more")

    def item(self, index: int, device: torch.device | None = None) -> "Restraints":
        """Those of one picture of the batch, on a device; by default where they are."""

        def of_it(mask: Tensor) -> Tensor:
            return mask[min(index, len(mask) - 1)][None].to(device or mask.device)

        mask, guard = (None if m is None else of_it(m) for m in (self.mask, self.guard))
        regions = tuple(Region(of_it(mask), weight) for mask, weight in self.regions)
        held = (self.guard_weight, self.anchor_colours, regions, self.grey)
        return Restraints(mask, guard, *held)

    @property
    def forbids_all(self) -> bool:
        """Whether the mask leaves nothing to change."""
        return self.mask is not None and not self.mask.any()

    def of(self, picture: Tensor) -> Restraint:
        """What they make of pictures that are to replace `picture`, (1, 3, H, W) in [0, 1]."""
        restraints: list[Restraint] = []
        if self.anchor_colours:
            restraints.append(keep_colours(picture))
        if self.grey:
            restraints.append(keep_grey)
        if self.mask is not None:
            restraints.append(keep_outside(self.mask, picture))

        def restrained(free: Tensor) -> Tensor:
            for restrain in restraints:
                free = restrain(free)
            return free

        return restrained

    def describe(self) -> str:
        """A fingerprint for saved states."""
        parts = [f"anchor_colours {self.anchor_colours}"]
        parts += ["grey"] if self.grey else []
        for name, mask in (("mask", self.mask), ("guard", self.guard)):
            if mask is not None:
                parts.append(f"{name} {_digest(mask)}")
        if self.guard is not None:
            parts.append(f"guard_weight {self.guard_weight}")
        parts += [f"region {_digest(mask)} {weight}" for mask, weight in self.regions]
        return ", ".join(parts)


def _digest(mask: Tensor) -> str:
    pixels = mask.float().cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(pixels).hexdigest()


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


FREE = Restraints()


def keep_outside(mask: Tensor, picture: Tensor) -> Restraint:
    """Keep the picture (1, 3, H, W) where the mask, (1, 1, H, W) in [0, 1], is 0."""

    def restrained(free: Tensor) -> Tensor:
        share = mask.to(free)
        return share * free + (1 - share) * picture.to(free)

    return restrained


def is_grey(picture: Tensor) -> bool:
    """Whether pictures (B, 3, H, W) have no colour at all."""
    return bool((picture == picture[:, :1]).all())


def keep_grey(free: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) by their luma alone, as ITU-R BT.601 weighs it."""
    luma = constant(LUMA, free).reshape(1, 3, 1, 1)
    return (free * luma).sum(1, keepdim=True).expand_as(free)


def keep_colours(picture: Tensor) -> Restraint:
    """Keep the colours of the picture (1, 3, H, W): its coarsest level of a wavelet transform."""
    colours = coarse(exact(picture))
    return lambda free: free - coarse(free) + colours.to(free)


def coarse(image: Tensor, levels: int = LEVELS) -> Tensor:
    """Smooth part of pictures (B, C, H, W) after `levels` of an à trous wavelet transform.

    Source: Starck & Murtagh's cubic B-spline kernel; borders are replicated.
    """
    kernel = constant(SPLINE, image)
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
