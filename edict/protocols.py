"""What the bijection asks of a diffusion model: a Denoiser and a Codec, bound to one picture."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from .choices import Spacing
from .schedule import Schedule


class Denoiser(Protocol):
    """The network's raw direction (eps, v or velocity) for a variance-preserving latent.

    A deterministic function of its two arguments, differentiable in the first, with frozen
    weights; batch items are independent of each other.
    """

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        """Map a latent (B, C, h, w) of any float dtype and a time label to (B, C, h, w)."""
        ...


class WindowedDenoiser(Denoiser, Protocol):
    """A denoiser that can be cut to a part of its picture, for tiles; large pictures need it."""

    def window(self, top: int, left: int, height: int, width: int) -> "WindowedDenoiser":
        """The same denoiser for the latents of a part of the picture.

        What belongs to places (a ControlNet's hint, conditioning areas) is cut; what describes the
        picture as a whole (text, tokens, sizes) stays.

        Args:
            top, left, height, width: the part, in pixels of the (padded) picture it was bound to;
                multiples of the latent's cell.
        """
        ...


class Codec(Protocol):
    """Image to latent and back, both differentiable and deterministic.

    A codec whose network's memory grows with the picture shows that network (a torch Module) as
    `vae`, and takes latents and pictures of any size: then it can be tiled.
    """

    def encode(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], shape (B, 3, H, W), to a latent (B, C, h, w)."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """A latent (B, C, h, w) to RGB about [0, 1], shape (B, 3, H, W), not clamped."""
        ...


class Binding(NamedTuple):
    """A diffusion model conditioned on one picture, frozen: the map is a bijection only so."""

    denoiser: Denoiser
    codec: Codec


class Backbone(Protocol):
    """A diffusion model that can be bound to pictures.

    Attributes:
        name: written into saved states; backbones that map pictures differently differ in it.
        multiple: picture sides must be multiples of this many pixels.
        conditioned: whether its network sees the picture that it is bound to.
        reach: pixels around a part of a picture that its network must see to give there what it
            gives for the whole; 0 where no such number is small enough to be of use, as with
            attention and norms over all places.
        recipe: the arguments of `load_backbone` that make it again, JSON types only; None for one
            that lives in its program alone.
    """

    name: str
    multiple: int
    conditioned: bool
    reach: int
    recipe: dict[str, Any] | None

    def schedule(self, steps: int, spacing: Spacing) -> Schedule:
        """The model's noise schedule in `steps` steps."""
        ...

    def bind(self, image: Tensor) -> Binding:
        """Condition the model on a picture (B, 3, H, W), RGB in [0, 1]."""
        ...
