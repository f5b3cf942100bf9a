"""What differs between versions of ComfyUI's core, detected by feature, in this one place."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.model_management as mm
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.ldm.modules import attention
from torch import Tensor

# Asks ComfyUI to unload everything else, as its own trainer does: activations need the room.
ALL_MEMORY = 1e20


def static_clone(patcher: Any) -> Any:
    """A clone of a model patcher whose weights stay where they are while gradients need them.

    Dynamic VRAM casts weights into pages that the next layer may overwrite before backward.
    """
    if not getattr(patcher, "is_dynamic", lambda: False)():
        return patcher.clone()
    if not _takes(patcher.clone, "disable_dynamic"):
        raise ValueError(
            "this ComfyUI moves weights while the network runs (dynamic VRAM) and offers no way "
            "around it: start it with --disable-dynamic-vram, or update it"
        )
    return patcher.clone(disable_dynamic=True)


def prepare_sampling(patcher: Any, shape: tuple[int, ...], conds: dict, options: dict) -> tuple:
    """ComfyUI's preparation of a sampling run: (inner model, conds, additional patchers)."""
    prepare = comfy.sampler_helpers.prepare_sampling
    extra = {"force_full_load": True} if _takes(prepare, "force_full_load") else {}
    return prepare(patcher, shape, conds, options, **extra)


def load_whole(patchers: list[Any]) -> None:
    """Load models, all of their weights; must run in inference mode."""
    mm.load_models_gpu(patchers, memory_required=ALL_MEMORY, force_full_load=True)


def unpatched(patcher: Any, name: str) -> Tensor:
    """A loaded model's weight as it was before patches were added to it in memory."""
    kept = patcher.backup.get(name)
    return patcher.model.get_parameter(name) if kept is None else kept.weight


def attached(patcher: Any) -> list[str]:
    """What other nodes have attached to a model that takes part in its calls, by kind."""
    kinds = {
        "options": patcher.model_options,
        "objects": [name for name in patcher.object_patches if name != "model_sampling"],
        "wrappers": getattr(patcher, "wrappers", {}),
        "injections": getattr(patcher, "injections", {}),
        "hooks": getattr(patcher, "hook_patches", {}),
    }
    return [kind for kind, content in kinds.items() if _holds_something(content)]


def process_conds(inner: Any, latent: Tensor, conds: dict, device: torch.device) -> dict:
    """Conditionings made ready for one latent size; ControlNets prepared for the run."""
    process = comfy.samplers.process_conds
    shapes = {"latent_shapes": [tuple(latent.shape)]} if _takes(process, "latent_shapes") else {}
    return process(inner, latent, conds, device, latent_image=latent, seed=0, **shapes)


def reuses_cast_buffers() -> bool:
    """Whether weights that live elsewhere are cast into a buffer that the next layer overwrites.

    A weight saved for backward would then be another layer's: a wrong gradient, and no error.
    """
    return hasattr(mm, "get_cast_buffer") and getattr(mm, "NUM_STREAMS", 1) > 0


def differentiable_attention(*inputs: Any, **options: Any) -> Tensor:
    """PyTorch's own attention. Other backends have no backward, and say nothing of it."""
    return attention.attention_pytorch(*inputs, **options)


@contextmanager
def gradients_allowed(device: torch.device) -> Iterator[None]:
    """ComfyUI's process-wide switches set for gradients, and set back at the end.

    ControlNets take no attention override, hence the module's own name is changed.
    """
    with ExitStack() as exits:
        if hasattr(mm, "cuda_device_context"):
            exits.enter_context(mm.cuda_device_context(device))
        changes = [(attention, "optimized_attention", attention.attention_pytorch)]
        changes += [(attention, "optimized_attention_masked", attention.attention_pytorch)]
        if hasattr(mm, "in_training"):  # switches fused in-place kernels off
            changes += [(mm, "in_training", True)]
        for owner, name, value in changes:
            exits.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


def _holds_something(content: Any) -> bool:
    """Whether nested dicts and lists have anything but themselves in them."""
    if isinstance(content, dict):
        return any(_holds_something(value) for value in content.values())
    if isinstance(content, list):
        return any(_holds_something(value) for value in content)
    return content is not None


def _takes(function: Callable, name: str) -> bool:
    return name in inspect.signature(function).parameters
