"""What a model expects of one picture: its estimate of the clean one, made once."""

import torch
from torch import Tensor

from ..edict.bound_picture import BoundPicture
from ..edict.estimate import estimate_latent
from ..edict.inversion import REMEDY, UnlikeError
from .restraints import Restraint
from .settings import MapSettings

# Mean distance of its values from [0, 1]: of photographs below .001 (53 were tried), of a dithered
# one, on which the embedded denoiser's answers explode, 89.
WILD = 0.5


class Expected:
    """The estimate of one picture, made when it is first asked for and kept.

    Args:
        settings: their draws and seed.
        restrain: what of the picture is held fixed.
    """

    def __init__(self, settings: MapSettings, restrain: Restraint):
        self.settings, self.restrain = settings, restrain
        self._latent: Tensor | None = None
        self._picture: Tensor | None = None

    @torch.no_grad()
    def latent(self, bound: BoundPicture) -> Tensor:
        """The clean latent that the model expects, (1, C, h, w)."""
        if self._latent is None:
            self._latent = estimate_latent(bound, self.settings.draws, self.settings.seed)
        return self._latent

    @torch.no_grad()
    def picture(self, bound: BoundPicture) -> Tensor:
        """The picture that the model expects, (1, 3, H, W), restrained, RGB in [0, 1].

        Raises: UnlikeError where that is far from any picture.
        """
        if self._picture is None:
            shown = self.restrain(bound.decode(self.latent(bound)))
            self._picture = shown.clamp(0, 1)
            if not float((shown - self._picture).abs().mean()) <= WILD:
                raise UnlikeError(
                    f"what {bound.backbone.name} expects of this picture is no picture, as it is "
                    f"unlike those that it was trained on: {REMEDY}"
                )
        return self._picture
