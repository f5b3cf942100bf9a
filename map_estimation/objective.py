"""The energy of a picture as a sum of terms, Eq. (17)."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .terms.term import Term


class Energies(NamedTuple):
    """The energy and its terms without their weights, each per picture, shape (B,)."""

    energy: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """E(x) = sum of weight * value over the terms; the paper's is D0(x, x_init) - lambda q(x).

    Attributes:
        terms: at least one.
    Source: Zhang et al., arXiv 2403.06406, Eq. (17).
    """

    terms: tuple[Term, ...]

    def __call__(self, picture: Tensor, reference: Tensor, noise: Tensor | None = None) -> Energies:
        """Energies of pictures (B, 3, H, W) in [0, 1] against their input of the same shape.

        Args:
            noise: what the pictures are reconstructed from, (B, C, h, w); None in pixel space.
        """
        values = {term.name: term.value(picture, reference, noise) for term in self.terms}
        first, *others = (term.weight * values[term.name] for term in self.terms)
        return Energies(sum(others, first), values)

    def without_noise(self) -> "Objective":
        """The terms that look at pictures alone."""
        return Objective(tuple(term for term in self.terms if not term.sees_noise))

    @property
    def sees_noise(self) -> bool:
        """Whether a term looks at the noise."""
        return any(term.sees_noise for term in self.terms)
