"""Test-only custom node: a native SD 1.5 model of 1 M random weights, and a census of gradients.

On import it registers the size with ComfyUI and writes `tiny.safetensors` into models/checkpoints,
and a ControlNet for it into models/controlnet.
"""

import gc
import json
import sys
from pathlib import Path
from typing import ClassVar

import comfy.supported_models
import folder_paths
import torch
from comfy.comfy_types.node_typing import IO
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.taesd.taesd import TAESD
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parent))  # of what this file is a link to
from native_models import CONTEXT, UNET, control_network, randomise

TOLD = ("context_dim", "model_channels", "use_linear_in_transformer")  # from a checkpoint
TOLD += ("adm_in_channels", "use_temporal_attention")


class TinySD15(comfy.supported_models.SD15):
    unet_config: ClassVar = {name: UNET[name] for name in TOLD}
    unet_extra_config: ClassVar = {"num_heads": 4, "num_head_channels": -1}


def write(path: Path, **parts: torch.nn.Module) -> None:
    weights = {
        prefix + name: weight.contiguous()
        for seed, (prefix, network) in enumerate(parts.items())
        for name, weight in randomise(network, seed).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def write_checkpoint(path: Path) -> None:
    write(path, **{"model.diffusion_model.": UNetModel(**UNET), "first_stage_model.": TAESD()})


def write_control_net(path: Path) -> None:
    write(path, **{"": control_network()})


class TinyConditioning:
    """Random conditioning, as a text encoder would make it."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "test"

    def make(self, seed):
        generator = torch.Generator().manual_seed(seed)
        return ([[torch.randn((1, 77, CONTEXT), generator=generator), {}]],)


class GradientCensus:
    """What of autograd is in the process once `after` is there, as JSON text."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": (IO.ANY, {}), "turn": ("INT", {"default": 0})}}

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "count", "test", True

    def count(self, after, turn):
        gc.collect()
        found = [item for item in gc.get_objects() if isinstance(item, torch.Tensor)]
        parameters = [item for item in found if isinstance(item, torch.nn.Parameter)]
        census = {
            "parameters": len(parameters),
            "parameters_requiring_grad": sum(item.requires_grad for item in parameters),
            "tensors_with_graph": sum(item.grad_fn is not None for item in found),
            "tensors_with_grad": sum(item.is_leaf and item.grad is not None for item in found),
            "inference_mode": torch.is_inference_mode_enabled(),
        }
        return {"ui": {"text": [json.dumps(census)]}}


comfy.supported_models.models.append(TinySD15)
write_checkpoint(Path(folder_paths.get_folder_paths("checkpoints")[0]) / "tiny.safetensors")
write_control_net(Path(folder_paths.get_folder_paths("controlnet")[0]) / "tiny.safetensors")
NODE_CLASS_MAPPINGS = {"TinyConditioning": TinyConditioning, "GradientCensus": GradientCensus}
