"""What a loaded model of ComfyUI is made of, by parts, in short digests: names do not tell it.

Numbers are those of the files: patches that ComfyUI has added to weights in memory are left out of
them, and digested by themselves, so that a state is recognised whatever was loaded before. What
patches of other packs do by their code is not seen.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor, nn

from .. import core_versions
from .conditioning import Conditioning
from .sampling import NativeSampling

WEIGHTS = 32  # looked at of a network, evenly spread
NUMBERS = 64  # of each of them


def made_of(
    patchers: Sequence[Any], sampling: NativeSampling, conditioning: Conditioning
) -> dict[str, str]:
    """Digests by the words that a user knows the parts by.

    Args:
        patchers: of the model, its VAE, and whatever else is loaded for it; loaded.
        sampling, conditioning: of the model.
    """
    model, vae, *others = patchers
    steered = [conditioning.positive, conditioning.guidance, conditioning.strength]
    if conditioning.guidance != 1:
        steered.append(conditioning.negative)
    return {
        "model's weights": _digest(_weights(model)),
        "model's patches, such as LoRAs": _digest(_patches(model)),
        "model's noise levels": _digest([sampling.prediction, sampling.sigmas]),
        "VAE": _digest(_weights(vae)),
        "ControlNets": _digest([_weights(other) for other in others]),
        "prompt, cfg or strength": _digest(steered),
    }


def _weights(patcher: Any) -> list:
    names = sorted(name for name, _ in patcher.model.named_parameters())
    return [names, *(core_versions.unpatched(patcher, name) for name in _spread(names))]


def _patches(patcher: Any) -> list:
    names = sorted(patcher.patches)
    strengths = [[part for p in patcher.patches[n] for part in (p[0], p[2])] for n in names]
    return [names, strengths, *(patcher.patches[name] for name in _spread(names))]


def _spread(names: list[str]) -> list[str]:
    return names[:: -(-len(names) // WEIGHTS) or 1]


def _digest(value: Any) -> str:
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()[:16]


def _add(digest: Any, value: Any) -> None:
    """Take in numbers, texts and tensors, however nested; of other objects the type alone."""
    if isinstance(value, WeightAdapterBase):
        value = [type(value).__qualname__, value.weights]
    if isinstance(value, Tensor):
        digest.update(str(tuple(value.shape)).encode() + _some_numbers(value))
    elif isinstance(value, dict):
        _add(digest, [[str(key), value[key]] for key in sorted(value, key=str)])
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for item in value:
            _add(digest, item)
    elif value is None or isinstance(value, str | int | float):
        digest.update(repr(value).encode() + b";")
    else:
        digest.update(type(value).__qualname__.encode() + b";")


@torch.no_grad()
def _some_numbers(tensor: Tensor) -> bytes:
    if type(tensor) not in (Tensor, nn.Parameter):  # quantised: its shape has to do
        return b""
    flat = tensor.detach().reshape(-1)
    return flat[:: -(-len(flat) // NUMBERS) or 1].float().cpu().numpy().tobytes()
