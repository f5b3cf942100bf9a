"""Quality priors: a no-reference metric behind its logistic, and weighted combinations."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..files.image_values import checked_image
from .logistic import Logistic
from .one_by_one import one_by_one
from .views import check_views, several_views

Metric = Callable[[Tensor], Tensor]


class Scorer(NamedTuple):
    """The ways to score pictures with one set of weights.

    Attributes:
        official: the published rule, pictures (B, 3, H, W) in [0, 1] to raw scores (B,).
        covering: the same network so that each pixel of the picture weighs the same; None where
            the published rule has no crops.
        local: pictures to raw local scores (B, rows, columns), spread evenly over the picture;
            None where the metric has none.
    """

    official: Metric
    covering: Metric | None = None
    local: Metric | None = None


class Prior(Protocol):
    """q(image): quality in [0, 1] per item, higher is better, differentiable."""

    @property
    def name(self) -> str:
        """The prior's name, for reports."""
        ...

    @property
    def identity(self) -> str:
        """The name, and what else tells it from others, for saved runs."""
        ...

    @property
    def ranges(self) -> dict[str, str]:
        """Usual raw scores per metric, as text; of the metrics that `scores` has."""
        ...

    @property
    def min_side(self) -> int:
        """Smallest side in pixels that it takes."""
        ...

    @property
    def no_gradient(self) -> str:
        """Why it can score but not be climbed; empty if it can."""
        ...

    def __call__(self, image: Tensor) -> Tensor:
        """Quality of pictures (B, 3, H, W), RGB in [0, 1]: shape (B,), in [0, 1]."""
        ...

    def scores(self, image: Tensor) -> dict[str, Tensor]:
        """Raw scores per metric, each (B,), in the metric's own units and direction."""
        ...

    def as_published(self) -> "Prior":
        """The prior as its authors would score."""
        ...

    def in_one_view(self) -> "Prior":
        """The same of the picture itself alone, whose gradient is its slope."""
        ...


@dataclass(frozen=True)
class QualityPrior:
    """A no-reference metric seen through its logistic.

    Attributes:
        name: the metric's name.
        metric: pictures (B, 3, H, W) in [0, 1] to raw scores (B,); its gradient is what counts.
        logistic: the calibration, Eq. (21).
        min_side: smallest side in pixels that the metric takes.
        official: the published rule where `metric` covers the picture by another one.
        local: raw local scores (B, rows, columns), or None.
        no_gradient: why the metric can score but not be climbed; empty if it can.
        range: usual raw scores, as text; empty where that is not known.
        views: how many views of a picture the quality is the mean of, 1 to 4: itself, mirrored,
            shifted, lightly compressed. Raw scores by the published rule are of the picture alone.
        variant: what its quality is by, where that is not what the name alone means: weight
            files by a hash, crops, constants of the logistic.
        capturable: whether `metric` can be captured as a CUDA graph: nothing in it waits for the
            device.
    """

    name: str
    metric: Metric
    logistic: Logistic
    min_side: int = 1
    official: Metric | None = None
    local: Metric | None = None
    no_gradient: str = ""
    range: str = ""
    views: int = 1
    variant: str = ""
    capturable: bool = False

    def __post_init__(self):
        check_views(self.views)

    @property
    def identity(self) -> str:
        """The name, the views if there are several, and the variant."""
        several = "" if self.views == 1 else f" in {self.views} views"
        return f"{self.name}{several}{self.variant and f' {self.variant}'}"

    @property
    def ranges(self) -> dict[str, str]:
        """Usual raw scores, {name: text}."""
        return {self.name: self.range}

    def __call__(self, image: Tensor) -> Tensor:
        """Quality in [0, 1], shape (B,).

        Raises: ValueError if a gradient is wanted of a metric that has none.
        """
        if torch.is_grad_enabled() and image.requires_grad:
            check_climbable(self)
        return self.logistic(one_by_one(several_views(self.metric, self.views), image))

    def scores(self, image: Tensor) -> dict[str, Tensor]:
        """The raw score by the published rule, {name: (B,)}."""
        return {self.name: (self.official or self.metric)(image)}

    def as_published(self) -> "QualityPrior":
        """The same prior with its quality from the published rule as well, in one view."""
        return replace(self, metric=self.official or self.metric, views=1)

    def in_one_view(self) -> "QualityPrior":
        """The same without further views: the gradient of a compressed one is not its slope."""
        return replace(self, views=1)


@dataclass(frozen=True)
class CombinedPrior:
    """Weighted mean of several priors' qualities.

    Attributes:
        priors: at least one.
        weights: one positive number each; only their ratios matter.
    """

    priors: tuple[Prior, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        if not self.priors or len(self.priors) != len(self.weights):
            raise ValueError(
                f"{len(self.priors)} priors and {len(self.weights)} weights: give one weight each"
            )
        if not all(math.isfinite(w) and w > 0 for w in self.weights):
            raise ValueError(f"weights {self.weights} must be positive")

    @property
    def name(self) -> str:
        """Names and weights, as in "pocket + 0.5 niqe"."""
        return self._sum([prior.name for prior in self.priors])

    @property
    def identity(self) -> str:
        """Identities and weights."""
        return self._sum([prior.identity for prior in self.priors])

    def _sum(self, names: list[str]) -> str:
        parts = zip(names, self.weights, strict=True)
        return " + ".join(name if w == 1 else f"{w:g} {name}" for name, w in parts)

    @property
    def min_side(self) -> int:
        """The largest of the priors' smallest sides, in pixels."""
        return max(prior.min_side for prior in self.priors)

    @property
    def ranges(self) -> dict[str, str]:
        """Usual raw scores of all priors, {name: text}."""
        return {name: r for prior in self.priors for name, r in prior.ranges.items()}

    @property
    def no_gradient(self) -> str:
        """Why one of the priors cannot be climbed; empty if all can."""
        return next((prior.no_gradient for prior in self.priors if prior.no_gradient), "")

    def __call__(self, image: Tensor) -> Tensor:
        """Quality in [0, 1], shape (B,)."""
        parts = zip(self.priors, self.weights, strict=True)
        qualities = [weight * prior(image) for prior, weight in parts]
        return sum(qualities[1:], qualities[0]) / sum(self.weights)

    def scores(self, image: Tensor) -> dict[str, Tensor]:
        """Raw scores of all priors, {name: (B,)}."""
        return {name: s for prior in self.priors for name, s in prior.scores(image).items()}

    def as_published(self) -> "CombinedPrior":
        """The same combination with the published rules."""
        return replace(self, priors=tuple(prior.as_published() for prior in self.priors))

    def in_one_view(self) -> "CombinedPrior":
        """The same combination, each without further views."""
        return replace(self, priors=tuple(prior.in_one_view() for prior in self.priors))


def check_prior(prior: Prior, image: Tensor) -> None:
    """Raise ValueError if the pictures are none, or too small for the prior."""
    checked_image(image)
    height, width = image.shape[-2:]
    if min(height, width) < prior.min_side:
        raise ValueError(
            f"picture is {width}x{height} pixels, prior {prior.name!r} needs {prior.min_side} a "
            "side: enlarge the picture or choose another prior"
        )


def check_climbable(prior: Prior) -> None:
    """Raise ValueError if the prior can only score."""
    if prior.no_gradient:
        raise ValueError(
            f"{prior.name!r} can score pictures but not improve them: {prior.no_gradient}; choose "
            "another prior"
        )
