"""Conditionings and ControlNets of ComfyUI, copied for one picture and frozen on it."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
from torch import Tensor

from .weights import thaw


@dataclass(frozen=True)
class Conditioning:
    """What steers the network, as it came in on the sockets.

    Attributes:
        positive: CONDITIONING.
        negative: CONDITIONING for guidance, or None.
        guidance: classifier-free guidance (cfg); at 1 the negative one is never looked at.
        control: a ControlNet whose hint is the picture being enhanced, or None.
        strength: that ControlNet's strength.
        vae: the VAE, for ControlNets that encode their hint.
    """

    positive: list
    negative: list | None = None
    guidance: float = 1.0
    control: Any = None
    strength: float = 1.0
    vae: Any = None

    def __post_init__(self):
        if self.negative is None and self.guidance != 1:
            raise ValueError(
                f"cfg {self.guidance} needs a negative conditioning: connect one, or set cfg to 1"
            )
        for conditioning in (self.positive, self.negative):
            if any(_has_hooks(options) for _, options in conditioning or ()):
                raise ValueError(
                    "conditioning with hooks changes the model's weights while it runs, which "
                    "gradients do not survive: take the hook nodes out (LoRA loaders are fine)"
                )

    @property
    def has_control(self) -> bool:
        """Whether a ControlNet sees a picture; carried ones see their own."""
        carried = any(options.get("control") for _, options in self.positive)
        return carried or self.control is not None

    def copies(self, hint: Tensor) -> dict[str, list[dict]]:
        """ComfyUI's conditionings by name, with ControlNets of our own.

        Args:
            hint: the picture, (B, 3, H, W), RGB in [0, 1].
        """
        given = {"positive": self.positive}
        if self.negative is not None and self.guidance != 1:
            given["negative"] = self.negative
        copied: dict[Hashable, Any] = {}
        return {
            name: [
                self._controlled(item, hint, copied)
                for item in comfy.sampler_helpers.convert_cond(conditioning)
            ]
            for name, conditioning in given.items()
        }

    def _controlled(self, item: dict, hint: Tensor, copied: dict[Hashable, Any]) -> dict:
        control = item.get("control")
        if control is not None:
            # hints are cached on the object, and this one may be a sampler's, too
            if id(control) not in copied:
                copied[id(control)] = _copy_chain(control)
            control = copied[id(control)]
        if self.control is not None:
            key = id(control)
            if ("own", key) not in copied:
                own = self.control.copy().set_cond_hint(
                    hint, self.strength, (0.0, 1.0), vae=self.vae
                )
                copied["own", key] = own.set_previous_controlnet(control)
            control = copied["own", key]
            item["control_apply_to_uncond"] = False
        if control is not None:
            item["control"] = control
        return item


def thaw_conditionings(conds: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """The same with all tensors cloned, so that autograd may save them."""
    return thaw(conds)


def controls_of(conds: dict[str, list[dict]]) -> Iterator[Any]:
    """Every ControlNet, once, with those chained before it."""
    seen = set()
    for item in (item for conditioning in conds.values() for item in conditioning):
        control = item.get("control")
        while control is not None and id(control) not in seen:
            seen.add(id(control))
            yield control
            control = control.previous_controlnet


def refuse_extra_channels(conds: dict[str, list[dict]], model: str) -> None:
    """Raise ValueError for models that want another picture beside the latent."""
    if any("c_concat" in item["model_conds"] for items in conds.values() for item in items):
        raise ValueError(
            f"{model} takes a mask or a second picture beside the latent (an inpainting or editing "
            "model): use the ordinary checkpoint of the same family"
        )


def _has_hooks(options: dict) -> bool:
    control = options.get("control")
    return "hooks" in options or (control is not None and bool(control.get_extra_hooks()))


def _copy_chain(control: Any) -> Any:
    copy = control.copy()
    if control.previous_controlnet is not None:
        copy.set_previous_controlnet(_copy_chain(control.previous_controlnet))
    return copy
