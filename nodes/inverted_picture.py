"""What travels on the EDICT_LATENTS socket: a list of inverted pictures, all of it on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..edict.bijections.bijection import LatentPair
from ..edict.bound_picture import bind_picture
from ..edict.inversion import InvertedPicture
from ..edict.inversion_options import InversionOptions
from ..edict.protocols import Backbone
from ..files.devices import exact


@dataclass(frozen=True)
class PackedPicture:
    """A picture's noise and what its map is made of; the map itself would fill the device.

    Attributes:
        noise: (x_T, y_T), each (1, C, h, w), on the CPU.
        picture: the inverted picture (1, 3, H, W), before padding, on the CPU.
        options: how it was inverted; the tile is a number or None.
        backbone: the model.
    """

    noise: LatentPair
    picture: Tensor
    options: InversionOptions
    backbone: Backbone

    @classmethod
    def pack(cls, inverted: InvertedPicture, backbone: Backbone) -> PackedPicture:
        """An inverted picture taken off the device.

        Args:
            inverted: one picture.
            backbone: the model, without a progress bar around it.
        """
        bound, noise = inverted.bound, LatentPair(*(z.detach().cpu() for z in inverted.noise))
        return cls(noise, bound.picture.detach().cpu(), bound.options, backbone)

    def unpack(self, device: torch.device, backbone: Backbone) -> InvertedPicture:
        """The same bound to the model again, on a device, through `backbone`."""
        bound = bind_picture(backbone, self.picture.to(device), self.options)
        return InvertedPicture(LatentPair(*(exact(z, device) for z in self.noise)), bound)
