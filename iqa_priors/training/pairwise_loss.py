"""Learning from comparisons: labels, Thurstone's model and the fidelity loss, Eqs. (25) to (27)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..choices import Ties


def preference_label(first: Tensor, second: Tensor, ties: Ties = "half") -> Tensor:
    """Probability that the first picture is the better one by its opinion score, Eq. (25).

    Args:
        first, second: mean opinion scores, higher is better, shapes that broadcast.
        ties: label of equal scores: "half" is 0.5, as in LIQE's code; "first" is 1, as Eq. (25) is
            printed, which makes the loss of a tie depend on the order of the pair.
    Returns: 0, 0.5 or 1, in the scores' dtype.
    Source: Zhang et al., arXiv 2403.06406, Eq. (25); Zhang et al., CVPR 2023 (LIQE).
    """
    if ties == "first":
        return (first >= second).to(first.dtype)
    return ((first - second).sign() + 1) / 2


def log_preference(first: Tensor, second: Tensor) -> Tensor:
    """Logarithm of the probability that the first picture beats the second, Eq. (26).

    log Phi((q_x - q_y) / sqrt 2): finite, with a finite slope, where the probability itself is 0 in
    floating point. LIQE's code leaves the root out, so its scores come out closer together.

    Args:
        first, second: predicted qualities in Thurstone's units, shapes that broadcast.
    """
    return torch.special.log_ndtr((first - second) / math.sqrt(2))


def fidelity_loss(
    first: Tensor, second: Tensor, label: Tensor | float, tail: float = 0.0
) -> Tensor:
    """Fidelity loss of each pair under Thurstone's model, Eqs. (26) and (27).

    Args:
        first, second: predicted qualities, shapes that broadcast.
        label: probability that the first is the better one, in [0, 1].
        tail: weight of a softplus of the difference against its label, not in the paper. The loss
            is flat below differences of about -5, so wrongly ordered pairs that far apart are
            hardly corrected without it.
    Returns: the loss per pair, in [0, 1] for tail 0: 0 where the prediction equals the label.
    Source: Zhang et al., arXiv 2403.06406, Eq. (27); Tsai et al., SIGIR 2007 (FRank).
    """
    label = torch.as_tensor(label, dtype=first.dtype, device=first.device)
    # Roots of probabilities from their logarithms: sqrt(Phi) has no derivative where Phi is 0.
    wins = label.sqrt() * (log_preference(first, second) / 2).exp()
    losses = (1 - label).sqrt() * (log_preference(second, first) / 2).exp()
    loss = 1 - wins - losses
    if tail:
        loss = loss + tail * (2 * label - 1).abs() * F.softplus((1 - 2 * label) * (first - second))
    return loss


def dataset_loss(scores: Tensor, opinions: Tensor, ties: Ties = "half") -> Tensor:
    """Mean fidelity loss of all pairs within one dataset's share of a batch.

    Args:
        scores: predicted qualities, shape (N,).
        opinions: mean opinion scores, shape (N,), higher is better; any scale.
        ties: as for `preference_label`.
    Returns: a scalar; 0 with a gradient of 0 for fewer than two pictures.
    Source: Zhang et al., arXiv 2403.06406, Sec. V: pairs are formed within a dataset.
    """
    if len(scores) < 2:
        return scores.sum() * 0
    i, j = torch.triu_indices(len(scores), len(scores), offset=1, device=scores.device)
    labels = preference_label(opinions[i], opinions[j], ties).to(scores.dtype)
    return fidelity_loss(scores[i], scores[j], labels).mean()


def mixture_loss(scores: list[Tensor], opinions: list[Tensor], ties: Ties = "half") -> Tensor:
    """Mean over the datasets of each one's mean loss: a large dataset counts no more than a small.

    Args:
        scores, opinions: one pair of vectors per dataset, see `dataset_loss`.
    Raises: ValueError if no dataset has two pictures, since nothing can be compared then.
    """
    pairs = list(zip(scores, opinions, strict=True))
    losses = [dataset_loss(s, o, ties) for s, o in pairs if len(s) > 1]
    if not losses:
        raise ValueError("no dataset has two pictures in this batch: give each at least 2")
    return torch.stack(losses).mean()
