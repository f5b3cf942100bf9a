"""What a term of the energy is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...fidelity.fidelity import Fidelity
from ...iqa_priors.prior import Prior
from ..restraints import FREE, Restraints
from ..settings import MapSettings

# (pictures, input pictures, noise) to (B,): pictures (B, 3, H, W) in [0, 1] against their input of
# the same shape; noise is what they are reconstructed from, (B, C, h, w), for terms that see it.
Value = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _nothing(value: float) -> None:
    """No remark about the input's value."""


@dataclass(frozen=True)
class Term:
    """One term of the energy: weight times value.

    Attributes:
        name: in traces, reports and plots.
        weight: what it is multiplied by; negative for what is to grow.
        value: differentiable, one number per picture.
        sees_noise: whether `value` wants the noise; gradients reach it directly, too.
        checked: what a run checks the gradient of: a model that other software may have wrapped, as
            pictures to (B,). None for the pack's own measures: their tests compare them with
            differences, and some leave parts of the gradient out on purpose.
        remark: is told the input's value once, and may warn.
    """

    name: str
    weight: float
    value: Value
    sees_noise: bool = False
    checked: Callable[[Tensor], Tensor] | None = None
    remark: Callable[[float], None] = _nothing


@dataclass(frozen=True)
class Ingredients:
    """What terms are made of.

    Attributes:
        prior: the quality model q.
        fidelity: D0, distance to the input.
        settings: weights, and which terms there are.
        restraints: of this picture; their regions weigh in the fidelity.
        expected: gives the picture that the model expects, (1, 3, H, W); None in pixel space.
    """

    prior: Prior
    fidelity: Fidelity
    settings: MapSettings
    restraints: Restraints = FREE
    expected: Callable[[], Tensor] | None = None
