"""All that makes pictures better, and what is solved for one of them."""

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from ..edict.bijections.bijection import LatentPair
from ..edict.bound_picture import BoundPicture, bind_picture
from ..edict.estimate import MOST_BLIND
from ..edict.inversion import check_picture
from ..edict.protocols import Backbone
from ..fidelity.fidelity import Fidelity, check_fidelity
from ..iqa_priors.prior import Prior, check_climbable, check_prior
from .expected import Expected
from .objective import Objective
from .restraints import FREE, Restraints
from .settings import MapSettings
from .spaces import DiffusionSpace, PixelSpace, Space
from .starts import Beginning, Given, begin, check_start, settings_for
from .terms import Ingredients, terms_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enhancer:
    """All that makes pictures better; what `enhance` does with them is up to these four.

    Attributes:
        backbone: the diffusion model; the work is done where it is.
        prior: the quality model q.
        fidelity: D0, distance to the input.
        settings: a preset or your own.
    """

    backbone: Backbone
    prior: Prior
    fidelity: Fidelity
    settings: MapSettings

    def check(self, image: Tensor, restraints: Restraints = FREE) -> None:
        """Raise ValueError for pictures (B, 3, H, W) or restraints that cannot work."""
        check_picture(image)
        check_prior(self.prior, image)
        check_climbable(self.prior)
        if self.settings.use_fidelity:
            check_fidelity(self.fidelity, image)
        restraints.check(image)
        check_start(self.settings, self.backbone)

    def fitted(self) -> "Enhancer":
        """The same with settings that its backbone can follow; says so if they are others."""
        settings = settings_for(self.settings, self.backbone)
        if settings != self.settings:
            log.warning(
                "%s is not conditioned on the picture, so at strength %g its estimate would be any "
                "picture: the ascent starts at the input; for the estimate give it a ControlNet, "
                "or a strength of at most %g",
                self.backbone.name,
                settings.inversion.strength,
                MOST_BLIND,
            )
        return replace(self, settings=settings)

    def problem(self, picture: Tensor, restraints: Restraints = FREE) -> tuple[Space, Objective]:
        """Where one picture, (1, 3, H, W), is optimised, and its energy there."""
        if self.settings.space == "pixel":
            return PixelSpace(picture), self._objective(restraints)
        bound = bind_picture(self.backbone, picture, self.settings.inversion)
        return self.problem_of(bound, restraints)

    def problem_of(
        self, bound: BoundPicture, restraints: Restraints = FREE, noise: LatentPair | None = None
    ) -> tuple[DiffusionSpace, Objective]:
        """The same of a bound picture, which may have been inverted already."""
        settings, restrain = self.settings, restraints.of(bound.picture)
        expected = Expected(settings, restrain)
        # Of the space's present map: where memory runs out, it binds its picture anew.
        objective = self._objective(restraints, lambda: expected.picture(weakly.bound))
        seen = objective.without_noise()

        def begin_there(bound: BoundPicture) -> Beginning:
            def judge(latents: Tensor) -> float:
                images = restrain(bound.decode(latents)).clamp(0, 1)
                reference = bound.picture.to(images).expand_as(images)
                return float(seen(images, reference).energy.mean())

            return begin(Given(bound, settings, judge, expected))

        check = settings.check_round_trip
        space = DiffusionSpace(bound, settings.memory, check, noise, begin_there)
        # The space knows the objective: that would be a circle, and keep both until it is found.
        weakly = weakref.proxy(space)
        return space, objective

    def _objective(
        self, restraints: Restraints, expected: Callable[[], Tensor] | None = None
    ) -> Objective:
        given = Ingredients(self.prior, self.fidelity, self.settings, restraints, expected)
        return Objective(terms_of(given))
