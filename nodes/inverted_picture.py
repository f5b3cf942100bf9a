"""What travels on the EDICT_LATENTS socket: a list of inverted pictures, all of it on the CPU."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..edict.bijections.edict import LatentPair
from ..edict.inversion import EdictLatents, InversionOptions, bind
from ..edict.protocols import Backbone


@dataclass(frozen=True)
class InvertedPicture:
    """A picture's noise and what its map is made of; the map itself would fill the device.

    Attributes:
        pair: (x_T, y_T), each (1, C, h, w), on the CPU.
        picture: the inverted picture (1, 3, H, W), before padding, on the CPU.
        options: how it was inverted; the tile is a number or None.
        backbone: the model.
    """

    pair: LatentPair
    picture: Tensor
    options: InversionOptions
    backbone: Backbone

    @classmethod
    def of(cls, latents: EdictLatents, backbone: Backbone) -> "InvertedPicture":
        """Inverted latents taken off the device.

        Args:
            latents: of one picture.
            backbone: the model, without a progress bar around it.
        """
        pair = LatentPair(*(z.detach().cpu() for z in latents.pair))
        return cls(pair, latents.picture.detach().cpu(), latents.options, backbone)

    def on(self, device: torch.device, backbone: Backbone) -> EdictLatents:
        """The same bound to the model again, on a device, through `backbone`."""
        picture = self.picture.to(device)
        pair = LatentPair(*(z.to(device) for z in self.pair))
        bijection, codec = bind(backbone, picture, self.options)
        return EdictLatents(pair, bijection, codec, picture, self.options, backbone)
