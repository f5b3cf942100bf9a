"""Precision of the coupled state."""

import torch


def state_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices without it (Apple's MPS).

    Un-mixing amplifies rounding by up to (1/p)^(2T): half precision states do not survive it.
    """
    return torch.float32 if device.type == "mps" else torch.float64
