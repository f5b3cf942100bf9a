"""The terms of the energy, one file each."""

from collections.abc import Callable

from .expectation import expectation_term
from .fidelity import fidelity_term
from .quality import quality_term
from .term import Ingredients, Term
from .typicality import typicality_term

# Each makes its term of the ingredients, or None where the settings leave it out.
TERMS: tuple[Callable[[Ingredients], Term | None], ...] = (
    quality_term,
    fidelity_term,
    typicality_term,
    expectation_term,
)


def terms_of(given: Ingredients) -> tuple[Term, ...]:
    """The terms that the settings ask for."""
    return tuple(term for make in TERMS if (term := make(given)) is not None)
