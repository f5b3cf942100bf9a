"""Quality models whose calls are captured as CUDA graphs, as the network's are.

LIQE launches twice as many kernels as the network's call (benchmarks/results/launches.md). But a
judge is called once or twice an iteration only, and a capture takes calls itself, to warm up and to
compare: it is for many evaluations of pictures of one size. From how many on it pays was not
measured.

Scores have the plain ones' bits. So have gradients, as far as they come from one view of a picture;
with other terms or views they are summed in another order.
"""

import logging
from dataclasses import dataclass, replace

from torch import Tensor

from ..edict.backbones.graphed import Capture, CudaCapture, GraphedDenoiser, Graphs
from ..iqa_priors.prior import CombinedPrior, Metric, Prior, QualityPrior

log = logging.getLogger(__name__)


def graphed_judge(prior: Prior, capture: Capture | None = None) -> Prior:
    """The prior with its calls replayed: the same scores, and gradients to rounding.

    Priors that cannot be captured stay as they are, which is said.

    Args:
        prior: on a CUDA device, unless captures are simulated.
        capture: how calls are captured; default CUDA graphs.
    """
    capture = capture or CudaCapture()
    if isinstance(prior, CombinedPrior):
        return replace(prior, priors=tuple(graphed_judge(each, capture) for each in prior.priors))
    if not isinstance(prior, QualityPrior) or not prior.capturable:
        log.warning("no CUDA graphs for the prior %s: its calls are made plainly", prior.name)
        return prior
    return replace(prior, metric=_GraphedMetric(prior.metric, capture))


class _GraphedMetric:
    """A metric as what `GraphedDenoiser` replays: pictures are its latents, nothing is bound."""

    def __init__(self, metric: Metric, capture: Capture):
        self._replayed = GraphedDenoiser(_Unlabelled(metric), Graphs(capture))

    def __call__(self, image: Tensor) -> Tensor:
        return self._replayed(image, 0.0)


@dataclass(frozen=True)
class _Unlabelled:
    metric: Metric

    def __call__(self, latent: Tensor, label: float | Tensor) -> Tensor:  # noqa: ARG002
        return self.metric(latent)

    def bound(self) -> dict[str, Tensor]:
        return {}

    def holding(self, bound: dict[str, Tensor]) -> "_Unlabelled":  # noqa: ARG002
        return self

    def weights_at(self) -> int:
        return 0  # they are frozen where they are
