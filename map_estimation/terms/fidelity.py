"""Fidelity to the input: D0(x, x_init), Eq. (17), weighed again in a guarded region."""

from torch import Tensor

from .term import Ingredients, Term


def fidelity_term(given: Ingredients) -> Term | None:
    """The distance to the input with weight 1; None where the settings leave it out."""
    if not given.settings.use_fidelity:
        return None
    measure, guard, again = given.fidelity, given.restraints.guard, given.restraints.guard_weight

    def value(picture: Tensor, reference: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG001
        distance = measure(picture, reference)
        if guard is None:
            return distance
        # D0 again of what has changed in the guarded region alone.
        guarded = reference + guard.to(picture) * (picture - reference)
        return distance + again * measure(guarded, reference)

    return Term("fidelity", 1.0, value)
