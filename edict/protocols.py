"""What the bijection asks of a diffusion model: a Denoiser and a Codec, bound to one picture."""

from typing import NamedTuple, Protocol

from torch import Tensor

from .schedule import Schedule, Spacing


class Denoiser(Protocol):
    """The network's raw direction (eps, v or velocity) for a variance-preserving latent.

    A deterministic function of its two arguments, differentiable in the first, with frozen
    weights; batch items are independent of each other.
    """

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        """Map a latent (B, C, h, w) of any float dtype and a time label to (B, C, h, w)."""
        ...


class Codec(Protocol):
    """Image to latent and back, both differentiable and deterministic."""

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
        name: what `load_backbone` knows it by; written into saved states.
        multiple: picture sides must be multiples of this many pixels.
    """

    name: str
    multiple: int

    def schedule(self, steps: int, spacing: Spacing) -> Schedule:
        """The model's noise schedule in `steps` steps."""
        ...

    def bind(self, image: Tensor) -> Binding:
        """Condition the model on a picture (B, 3, H, W), RGB in [0, 1]."""
        ...
