"""A call of ComfyUI's network, with all that it depends on at hand."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from .. import core_versions
from .sampling import NativeSampling


@dataclass(frozen=True)
class NativeCall:
    """The network's raw direction, conditioned on a picture, while a node uses the model.

    Attributes:
        inner: the model (comfy's BaseModel), loaded.
        options: its options, with gradients made possible.
        device: where it computes.
        sampling: how it is called.
        conds: conditionings by name, ready for the network.
        guidance: classifier-free guidance.
    """

    inner: Any
    options: dict
    device: torch.device
    sampling: NativeSampling
    conds: dict[str, list[dict]]
    guidance: float

    def __call__(self, latent: Tensor, label: float | Tensor) -> Tensor:
        """eps, v or velocity for a variance-preserving (flow: native) latent (B, C, h, w)."""
        sigma = self.sampling.sigma(label, self.device).expand(len(latent))
        noisy = self.sampling.network_latent(latent.to(self.device, torch.float32), sigma)
        denoised = self.denoised(noisy, sigma)
        return self.sampling.direction(noisy, denoised, sigma).to(latent.device)

    def denoised(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The path of ComfyUI's samplers, with guidance and all patches; sigma is (B,)."""
        negative, positive = self.conds.get("negative"), self.conds["positive"]
        return comfy.samplers.sampling_function(
            self.inner, noisy, sigma, negative, positive, self.guidance, model_options=self.options
        )

    def bound(self) -> dict[str, Tensor]:
        """The tensors that conditionings and ControlNets give the network, by name."""
        found: dict[str, Tensor] = {}

        def note(name: str, tensor: Tensor) -> Tensor:
            return found.setdefault(name, tensor)

        _with_tensors(self.conds, note)
        return found

    def holding(self, bound: dict[str, Tensor]) -> "NativeCall":
        """The same call with other tensors in the places of those named."""
        return replace(self, conds=_with_tensors(self.conds, lambda name, _: bound[name]))

    def weights_at(self) -> int:
        """The address of the network's first weight."""
        return next(self.inner.diffusion_model.parameters()).data_ptr()


def allow_gradients(options: dict) -> None:
    """Change our copy of a model's options so that gradients pass, and always the same way."""
    inside = options["transformer_options"] = dict(options.get("transformer_options", {}))
    patches = inside["patches"] = dict(inside.get("patches", {}))
    # ControlNets are added in place to skip tensors that the next block has saved for backward.
    clone = [lambda hidden, _options: hidden.clone()]
    name = "input_block_patch_after_skip"
    patches[name] = [*patches.get(name, []), *clone]
    inside["optimized_attention_override"] = lambda _original, *args, **kwargs: (
        core_versions.differentiable_attention(*args, **kwargs)
    )
    options.setdefault("sampler_calc_cond_batch_function", _one_by_one)


def _one_by_one(given: dict) -> list[Tensor]:
    """Prompts one after the other: ComfyUI joins them as memory allows, and rounding follows."""
    model, latent, sigma = given["model"], given["input"], given["sigma"]
    return [
        comfy.samplers.calc_cond_batch(model, [cond], latent, sigma, given["model_options"])[0]
        for cond in given["conds"]
    ]


Change = Callable[[str, Tensor], Tensor]


def _with_tensors(conds: dict[str, list[dict]], change: Change) -> dict[str, list[dict]]:
    """Copies of ready conditionings whose tensors are what `change` gives for name and tensor."""
    controls: dict[int, Any] = {}

    def changed_item(item: dict, name: str) -> dict:
        ready = {
            key: _changed_cond(cond, f"{name} {key}", change)
            for key, cond in item["model_conds"].items()
        }
        changed = {**item, "model_conds": ready}
        if item.get("control") is not None:
            changed["control"] = changed_control(item["control"])
        return changed

    def changed_control(control: Any) -> Any:
        if control is None:
            return None
        if id(control) not in controls:
            new = controls[id(control)] = copy(control)
            new.cond_hint = change(f"hint {len(controls)}", control.cond_hint)
            new.previous_controlnet = changed_control(control.previous_controlnet)
        return controls[id(control)]

    return {
        name: [changed_item(item, f"{name} {index}") for index, item in enumerate(items)]
        for name, items in conds.items()
    }


def _changed_cond(cond: Any, name: str, change: Change) -> Any:
    """A copy of one of comfy.conds' objects, which hold a tensor, a list of them, or a constant."""
    new = copy(cond)
    if isinstance(cond.cond, Tensor):
        new.cond = change(name, cond.cond)
    elif isinstance(cond.cond, list):
        new.cond = [
            change(f"{name} {index}", each) if isinstance(each, Tensor) else each
            for index, each in enumerate(cond.cond)
        ]
    return new
