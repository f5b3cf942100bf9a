"""A diffusers scheduler's noise levels."""

from typing import Any

import torch
from torch import Tensor

from ...choices import Prediction

_PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v"}


def noise_levels(scheduler: dict[str, Any], source: object) -> tuple[Tensor, Prediction]:
    """Cumulative alphas of the training steps and what the network predicts.

    Args:
        scheduler: diffusers' scheduler configuration.
        source: the checkpoint, for errors.
    Returns: alphas, float64, shape (N,), falling, in [0, 1); "eps" or "v".
    Raises: ValueError for a model that is not variance-preserving, predicts something else, or
        trains to zero signal with eps-prediction, which cannot be inverted.
    Source: betas as in Ho et al., arXiv 2006.11239; zero terminal SNR as in Lin et al.,
        arXiv 2305.08891, Algorithm 1.
    """
    kind = str(scheduler.get("_class_name", ""))
    predicted = scheduler.get("prediction_type", "epsilon")
    if kind.startswith(("Flow", "EDM")) or predicted not in _PREDICTIONS:
        raise ValueError(
            f"{source} is a {kind or 'diffusion'} model that predicts {predicted!r}: choose an SD "
            "1.5, SD 2.x or SDXL checkpoint with eps- or v-prediction"
        )
    alphas = (1 - _betas(scheduler, source)).cumprod(0)
    if scheduler.get("rescale_betas_zero_snr"):
        if predicted == "epsilon":
            raise ValueError(
                f"{source} trains to zero signal with eps-prediction, which cannot be inverted: "
                "say prediction v if that is what it predicts, or choose another checkpoint"
            )
        roots = alphas.sqrt()
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
        alphas = roots**2
    return alphas, _PREDICTIONS[predicted]


def _betas(scheduler: dict[str, Any], source: object) -> Tensor:
    if scheduler.get("trained_betas") is not None:
        return torch.tensor(scheduler["trained_betas"], dtype=torch.float64)
    shape = scheduler.get("beta_schedule", "linear")
    power = {"linear": 1.0, "scaled_linear": 0.5}.get(shape)
    if power is None:
        raise ValueError(
            f"{source} has the noise schedule {shape!r}: only linear and scaled_linear are known; "
            "choose another checkpoint"
        )
    start, end = scheduler.get("beta_start", 0.0001), scheduler.get("beta_end", 0.02)
    steps = scheduler.get("num_train_timesteps", 1000)
    return torch.linspace(start**power, end**power, steps, dtype=torch.float64) ** (1 / power)
