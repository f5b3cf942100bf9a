"""Calls of ComfyUI's networks as CUDA graphs, where a call is nothing but kernels on its tensors.

A capture freezes what the processor decides in a call. ComfyUI's own U-Nets and ControlNets decide
nothing, once ControlNets that work at all noise levels do not look at the level; of what other
nodes attach to a model nobody knows, so with such a model calls are made plainly.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import comfy.controlnet
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn

from ...edict.backbones.graphed import Capture, CudaCapture, GraphedDenoiser, Graphs
from .. import core_versions
from .calls import NativeCall
from .conditioning import controls_of
from .session import current_session

log = logging.getLogger(__name__)
CONTROLS = (comfy.controlnet.ControlNet, comfy.controlnet.ControlLora)
ALWAYS = (0.0, 1.0)  # the share of the sampling in which a ControlNet works
# What of a conditioning is looked at in each call.
DECIDED = {"timestep_start", "timestep_end", "area", "mask", "gligen", "hooks", "default"}


def graphed(call: NativeCall, patchers: list, capture: Capture | None = None) -> GraphedDenoiser:
    """A call that is replayed, with the graphs that this node's session keeps for the model.

    Args:
        call: what is captured.
        patchers: ComfyUI's handles of all networks that it runs.
        capture: how; default CUDA graphs.
    """

    def opened(exits: ExitStack) -> Graphs:
        graphs = Graphs(capture or CudaCapture())
        if reason := next(reasons(call, patchers, capture is not None), ""):
            log.warning("no CUDA graphs: %s; the calls are made plainly", reason)
            graphs.usable = False
        exits.callback(graphs.close)
        return graphs

    graphs = current_session().once((call.inner, "graphs"), opened, lasting=True)
    return GraphedDenoiser(_made_capturable(call) if graphs.usable else call, graphs)


def reasons(call: NativeCall, patchers: list, simulated: bool = False) -> Iterator[str]:
    """Why calls cannot be captured, on CUDA if it is not simulated."""
    if call.device.type != "cuda" and not simulated:
        yield f"the model works on {call.device.type}"
    if not isinstance(call.inner.diffusion_model, UNetModel):
        yield f"{type(call.inner.diffusion_model).__name__} is no U-Net"
    for patcher in patchers:
        if attached := core_versions.attached(patcher):
            yield f"other nodes have attached {', '.join(attached)} to the model"
        if not all(_is_here(weight, call.device) for weight in patcher.model.parameters()):
            yield "weights are kept elsewhere, or quantised"
    yield from _reasons_of_conditionings(call.conds)


def _reasons_of_conditionings(conds: dict[str, list[dict]]) -> Iterator[str]:
    for item in (item for items in conds.values() for item in items):
        if decided := sorted(DECIDED & {key for key, value in item.items() if value is not None}):
            yield f"the conditioning carries {', '.join(decided)}"
    for control in controls_of(conds):
        if type(control) not in CONTROLS:
            yield f"{type(control).__name__} is no ControlNet of ComfyUI's own"
        elif tuple(control.timestep_percent_range) != ALWAYS:
            yield "a ControlNet works in a part of the steps"


def _is_here(weight: Tensor, device: torch.device) -> bool:
    return weight.device.type == device.type and type(weight) in (Tensor, nn.Parameter)


def _made_capturable(call: NativeCall) -> NativeCall:
    """The same call, on tensors of the device alone, with ControlNets that look at no level."""
    call = call.holding({name: each.to(call.device) for name, each in call.bound().items()})
    for control in controls_of(call.conds):
        control.timestep_range = None  # every level is inside
    levels = replace(call.sampling, sigmas=call.sampling.sigmas.to(call.device))
    return replace(call, sampling=levels)
