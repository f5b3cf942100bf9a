"""Where a command works."""

from typing import Any

from .arguments import option


def device_option() -> Any:
    """A field for the device."""
    return option("cpu, cuda, cuda:1, mps", default="cpu")


def check_device(name: str) -> None:
    """Raise ValueError unless PyTorch can use the device here."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}: choose cpu, cuda, cuda:1 or mps") from None
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= counts.get(device.type, 0):
        raise ValueError(f"there is no device {name!r} that PyTorch can use: choose --device cpu")
