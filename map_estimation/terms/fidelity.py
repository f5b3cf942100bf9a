"""Fidelity to the input: D0(x, x_init), Eq. (17), weighed again in guarded regions."""

from torch import Tensor

from .term import Ingredients, Term


def fidelity_term(given: Ingredients) -> Term | None:
    """The distance to the input with weight 1; None where the settings leave it out."""
    if not given.settings.use_fidelity:
        return None
    measure, regions = given.fidelity, given.restraints.guarded

    def value(picture: Tensor, reference: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG001
        distance = measure(picture, reference)
        for mask, weight in regions:
            # D0 again of what has changed in that region alone.
            guarded = reference + mask.to(picture) * (picture - reference)
            distance = distance + weight * measure(guarded, reference)
        return distance

    return Term("fidelity", 1.0, value)
