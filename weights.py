"""Reading safetensors files with errors that say what to do."""

from pathlib import Path

import torch
from torch import Tensor, nn


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Args:
        path: the file.
        what: what it should hold, for the error.
    Raises: ValueError if the file is missing, cut off or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"no {what} at {path}: restore the file or choose another") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}): restore or make it again"
        ) from error


def load_module(
    module: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path
) -> nn.Module:
    """Load the tensors under `prefix` into a module, frozen, float32.

    Raises: ValueError if names or shapes do not fit or weights are not finite, naming the first.
    """
    state = {k[len(prefix) :]: v.float() for k, v in tensors.items() if k.startswith(prefix)}
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        problem = _misfit(wanted.get(name), state.get(name))
        if problem:
            raise ValueError(
                f"{path} does not fit this network ({prefix}{name} {problem}): restore the file or "
                "choose another"
            )
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def _misfit(wanted: Tensor | None, given: Tensor | None) -> str | None:
    if given is None:
        return "is missing"
    if wanted is None:
        return "is not part of it"
    if given.shape != wanted.shape:
        return f"has shape {tuple(given.shape)} instead of {tuple(wanted.shape)}"
    return None if torch.isfinite(given).all() else "has NaN or infinite weights"
