"""Which prior a command scores by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import option
from .device import check_device

if TYPE_CHECKING:
    from ..iqa_priors.prior import Prior


@dataclass(frozen=True, kw_only=True)
class PriorChoice:
    """One prior, or several for their mean."""

    prior: str = option("see docs/priors.md; A,B for several and their mean", default="pocket")
    calibration: Path | None = option("JSON file of the calibrate command", default=None)
    views: int = option(
        "views of a picture that its quality is the mean of, 1 to 4: itself, mirrored, shifted, "
        "lightly compressed; what fools a prior in one hardly fools it in all",
        default=1,
    )

    def load(self, device: str) -> Prior:
        """Load it.

        Raises: ValueError for an unknown name or device, a number of views that there is not, or
            a calibration of several priors.
        """
        from ..iqa_priors.loading import load_prior
        from ..iqa_priors.prior import CombinedPrior

        check_device(device)
        names = [name.strip() for name in self.prior.split(",")]
        if not all(names):
            raise ValueError(f"--prior {self.prior!r}: give one name, or several as in A,B")
        if self.calibration and len(names) > 1:
            raise ValueError("--calibration is for a single prior: give one name with --prior")
        priors = tuple(
            load_prior(name, device, self.calibration, views=self.views) for name in names
        )
        return priors[0] if len(priors) == 1 else CombinedPrior(priors, (1.0,) * len(priors))
