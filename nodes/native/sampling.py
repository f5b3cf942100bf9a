"""ComfyUI's noise levels as the bijection's steps, and its networks as raw directions.

ComfyUI's networks take z = u sqrt(1 + sigma^2) and give the denoised picture. The bijection
needs the network's own output for exactly the variance-preserving input u, also in the second
half step, where u has the amplitude of the next level but carries the label of this one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_sampling import CONST, EPS, V_PREDICTION
from torch import Tensor

from ...edict.choices import Prediction, Spacing
from ...edict.schedule import Schedule, flow_schedule, vp_schedule

SMALLEST_EPS_ALPHA = 1e-5  # Stable Diffusion ends at 4.7e-3; zero terminal SNR at 4.9e-8


@dataclass(frozen=True)
class NativeSampling:
    """How a model's network is called.

    Attributes:
        prediction: what it predicts.
        sigmas: the model's noise levels, rising, shape (N,), float32. For "flow" they
            are times in (0, 1].
    """

    prediction: Prediction
    sigmas: Tensor

    def schedule(self, steps: int, spacing: Spacing) -> Schedule:
        """The model's levels in `steps` steps. Raises ValueError for steps that cannot work."""
        if self.prediction == "flow":
            return flow_schedule(self.sigmas, steps, spacing)
        alphas = 1 / (1 + self.sigmas.double().square())
        return vp_schedule(alphas, steps, self.prediction, spacing)

    def sigma(self, label: float | Tensor, device: torch.device) -> Tensor:
        """The noise level that a step's label stands for, shape (1,), float32, on a device.

        A label in a tensor (1,) is not read by the processor; the levels must be on the device.
        """
        if isinstance(label, Tensor):
            return label if self.prediction == "flow" else self.sigmas[label.long()]
        level = label if self.prediction == "flow" else float(self.sigmas[int(label)])
        return torch.full((1,), level, device=device)

    def network_latent(self, latent: Tensor, sigma: Tensor) -> Tensor:
        """The latent ComfyUI must be given so that its network sees `latent` (B, C, h, w).

        Args:
            sigma: one level per item, shape (B,).
        """
        if self.prediction == "flow":
            return latent
        sigma = sigma[:, None, None, None]
        return latent * (sigma**2 + 1.0) ** 0.5

    def direction(self, noisy: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        """The network's own output, from what ComfyUI was given and gave back."""
        sigma = sigma[:, None, None, None]
        slope = (noisy - denoised) / sigma  # eps, or the velocity of a flow
        if self.prediction != "v":
            return slope
        return (slope - sigma * denoised) / (sigma**2 + 1.0) ** 0.5


def read_sampling(model_sampling: Any) -> NativeSampling:
    """What a model's `model_sampling` (that of the last ModelSampling node upstream) means here.

    Raises: ValueError, with its name, for a kind of sampling that has no such steps.
    """
    kind, prediction = type(model_sampling), _prediction(type(model_sampling))
    name = f"{kind.__name__} ({', '.join(base.__name__ for base in kind.__bases__)})"
    sigmas = getattr(model_sampling, "sigmas", None)
    if prediction is None or sigmas is None or getattr(model_sampling, "sigma_data", 1.0) != 1.0:
        raise ValueError(
            f"models of sampling type {name} are not supported: noise prediction (eps), "
            "v-prediction and rectified flow are"
        )
    sigmas = sigmas.detach().clone().float().cpu()
    if prediction != "flow" and not _has_labels(model_sampling, sigmas):
        raise ValueError(
            f"models of sampling type {name} have continuous noise levels, which is not "
            "supported: use a model with the usual discrete ones"
        )
    if prediction == "eps" and 1 / (1 + float(sigmas[-1]) ** 2) < SMALLEST_EPS_ALPHA:
        raise ValueError(
            "a noise-predicting (eps) model with zero terminal SNR cannot be inverted, its first "
            "step divides by zero: switch zsnr off in ModelSamplingDiscrete, or use v_prediction "
            "if the model was trained so"
        )
    return NativeSampling(prediction, sigmas)


def _prediction(kind: type) -> Prediction | None:
    """By the two formulas themselves: subclasses that change them are other methods."""
    makes = getattr(kind, "calculate_input", None), getattr(kind, "calculate_denoised", None)
    known: dict[tuple, Prediction] = {
        (EPS.calculate_input, EPS.calculate_denoised): "eps",
        (EPS.calculate_input, V_PREDICTION.calculate_denoised): "v",
        (CONST.calculate_input, CONST.calculate_denoised): "flow",
    }
    return known.get(makes)


def _has_labels(model_sampling: Any, sigmas: Tensor) -> bool:
    given = model_sampling.sigmas.detach().clone()
    labels = model_sampling.timestep(given).cpu().float()
    return torch.equal(labels, torch.arange(len(sigmas), dtype=torch.float32))
