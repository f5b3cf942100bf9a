"""Two-level Haar transform of 4x4 pixel blocks: orthonormal, so distances are kept."""

import math

import torch
from einops import rearrange
from torch import Tensor

BLOCK = 4
_S = math.sqrt(0.5)
# One row per basis vector: mean, coarse edge, and the two fine edges.
_HAAR = ((0.5, 0.5, 0.5, 0.5), (0.5, 0.5, -0.5, -0.5), (_S, -_S, 0.0, 0.0), (0.0, 0.0, _S, -_S))


def haar(image: Tensor) -> Tensor:
    """Orthonormal two-level Haar transform, separable in rows and columns.

    Args:
        image: shape (B, C, H, W), any range; H and W must be multiples of 4.
    Returns: coefficients, (B, 16 C, H / 4, W / 4); channel order (row basis, column basis, C).
    Raises: ValueError if H or W is not a multiple of 4.
    """
    height, width = image.shape[-2:]
    if height % BLOCK or width % BLOCK:
        raise ValueError(f"image is {height}x{width}: pad height and width to multiples of {BLOCK}")
    basis = torch.tensor(_HAAR, dtype=image.dtype, device=image.device)
    blocks = rearrange(image, "b c (h i) (w j) -> b c h w i j", i=BLOCK, j=BLOCK)
    coefficients = torch.einsum("ki,bchwij,lj->bklchw", basis, blocks, basis)
    return rearrange(coefficients, "b k l c h w -> b (k l c) h w")


def inverse_haar(coefficients: Tensor) -> Tensor:
    """Inverse (and transpose) of `haar`: (B, 16 C, h, w) to (B, C, 4 h, 4 w)."""
    if coefficients.shape[1] % BLOCK**2:
        raise ValueError(f"{coefficients.shape[1]} channels: a multiple of {BLOCK**2} is needed")
    basis = torch.tensor(_HAAR, dtype=coefficients.dtype, device=coefficients.device)
    bands = rearrange(coefficients, "b (k l c) h w -> b k l c h w", k=BLOCK, l=BLOCK)
    blocks = torch.einsum("ki,bklchw,lj->bchwij", basis, bands, basis)
    return rearrange(blocks, "b c h w i j -> b c (h i) (w j)")
