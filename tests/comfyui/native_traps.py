"""The traps of gradients inside ComfyUI, each with its guard and without."""

from contextlib import contextmanager

import comfy.ldm.modules.attention as attention  # noqa: PLR0402
import comfy.model_management as mm
import torch
from latent_map.nodes import core_versions
from latent_map.nodes.native import backbone as native_backbone
from native_checks import check_nodes
from native_process import (
    CORE_ATTENTION,
    backbone,
    changed,
    finite_differences,
    in_node,
    ksampler,
    load,
    load_control,
    picture,
)


def attempt(bound):
    """The relative error of the gradient, or the error's text."""
    try:
        return {"relative_error": in_node(lambda: finite_differences(bound))["relative_error"]}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def with_and_without(bound, owner, name, value):
    """The gradient with a guard, and with it replaced."""
    with changed(owner, name, value):
        without = attempt(bound)
    return {"guarded": attempt(bound), "unguarded": without}


def check_trap_skip():
    """ControlNets add in place to what the next block has saved."""

    def allow(options):
        allow_gradients(options)
        options["transformer_options"]["patches"].pop("input_block_patch_after_skip")

    allow_gradients = native_backbone.allow_gradients
    bound = backbone(load("sd15"), control=load_control())
    return with_and_without(bound, native_backbone, "allow_gradients", allow)


def cut_attention(function, *args, **kwargs):
    """A backend without a backward, as sage attention is: no error, half of the gradient."""
    return function(*(item.detach() for item in args[:3]), *args[3:], **kwargs)


def check_trap_attention():
    """An attention patch on the MODEL without a backward."""

    def allow(options):
        allow_gradients(options)
        options["transformer_options"]["optimized_attention_override"] = cut_attention

    allow_gradients = native_backbone.allow_gradients
    tiny = load("sd15")
    model = tiny.model.clone()
    options = model.model_options.setdefault("transformer_options", {})
    options["optimized_attention_override"] = cut_attention
    bound = backbone(tiny._replace(model=model))
    return with_and_without(bound, native_backbone, "allow_gradients", allow)


def check_trap_control_attention():
    """A core started with such a backend; ControlNets look it up in its module."""

    def cut(*args, **kwargs):
        return cut_attention(CORE_ATTENTION, *args, **kwargs)

    @contextmanager
    def nothing(device):
        yield

    bound = backbone(load("sd15"), control=load_control(), strength=2.0)
    with (
        changed(attention, "optimized_attention", cut),
        changed(attention, "optimized_attention_masked", cut),
    ):
        return with_and_without(bound, core_versions, "gradients_allowed", nothing)


def check_trap_buffers():
    """Weights left elsewhere on a core that casts into reused buffers: refused."""
    tiny = load("sd15")
    bound = backbone(tiny)
    part = tiny.model.model.diffusion_model.out[2]

    def load_partly(patchers):
        load_whole(patchers)
        part._parameters["bias"] = torch.nn.Parameter(part.bias.to("meta"), requires_grad=False)

    load_whole = core_versions.load_whole
    with (
        changed(core_versions, "load_whole", load_partly),
        changed(core_versions, "reuses_cast_buffers", lambda: True),
    ):
        return attempt(bound)


def check_trap_decode():
    """Running out of memory in the decoder: an error, where VAE.decode goes on without gradient."""
    tiny = load("sd15")
    bound = backbone(tiny)
    first_stage = tiny.vae.first_stage_model
    decode = first_stage.decode
    calls = []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("pretended")
        return decode(*args, **kwargs)

    def ours():
        binding = bound.bind(picture())
        latent = binding.codec.encode(picture()).requires_grad_(True)
        with torch.enable_grad():
            whole = binding.codec.decode(latent)
            found = {"whole": whole.requires_grad, "below_0": float((whole < 0).float().mean())}
            first_stage.decode = full
            try:
                binding.codec.decode(latent)
            except torch.OutOfMemoryError as error:
                found["guarded"] = f"{error}"
            calls.clear()
            found["unguarded"] = tiny.vae.decode(latent).requires_grad
        return found

    try:
        return in_node(ours)
    finally:
        del first_stage.decode


def check_trap_move():
    """Loading one model moves others: only inside inference mode do they survive that."""
    outcomes = {}
    for guarded in (True, False):
        tiny, other = load("sd15"), load("sd15_v")
        bound = backbone(tiny)
        weights = list(other.model.model.parameters())

        def push_out(patchers, weights=weights, load_whole=core_versions.load_whole):
            load_whole(patchers)
            for weight in weights:
                weight.data = weight.data.clone()  # what Module.to does on its way to the CPU

        def load_outside(live, push_out=push_out):
            push_out(live.patchers)
            for patcher in live.patchers:
                native_backbone.freeze(patcher.model, patcher.load_device)

        change = (core_versions, "load_whole", push_out)
        if not guarded:
            change = (native_backbone.LiveModel, "load", load_outside)
        with changed(*change):
            in_node(lambda bound=bound: finite_differences(bound))
        try:
            ksampler(other)
            outcomes["guarded" if guarded else "unguarded"] = "fine"
        except RuntimeError as error:
            outcomes["guarded" if guarded else "unguarded"] = str(error)
    return outcomes


def check_trap_freeze():
    """Weights as they come out of inference mode cannot be saved for backward."""
    bound = backbone(load("sd15"))
    return with_and_without(bound, native_backbone, "freeze", lambda module, device: None)


def check_moves():
    """Every place where weights may move is inside inference mode."""
    modes = []

    def watched(function):
        def call(*args, **kwargs):
            modes.append(torch.is_inference_mode_enabled())
            return function(*args, **kwargs)

        return call

    with (
        changed(mm, "load_models_gpu", watched(mm.load_models_gpu)),
        changed(mm, "free_memory", watched(mm.free_memory)),
    ):
        check_nodes(control="c")
    return {"moves": len(modes), "outside": modes.count(False)}


class Patcher:
    """As much of a model patcher of a core with dynamic memory as its clone takes."""

    def __init__(self, dynamic):
        self.dynamic = dynamic

    def is_dynamic(self):
        return self.dynamic

    def clone(self, disable_dynamic=False):
        return Patcher(self.dynamic and not disable_dynamic)


class OldPatcher(Patcher):
    def clone(self):
        return OldPatcher(self.dynamic)


def check_trap_dynamic():
    """The dynamic path needs a GPU: here only what is asked of the patcher."""
    found = {
        "static": not core_versions.static_clone(Patcher(True)).is_dynamic(),
        "plain": not core_versions.static_clone(OldPatcher(False)).is_dynamic(),
    }
    try:
        core_versions.static_clone(OldPatcher(True))
    except ValueError as error:
        found["refused"] = str(error)
    return found
