"""Metrics of pyiqa that can score a picture but not improve it: they have no usable gradient."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ...files.reading import reading
from ...files.weights import find_tensors, read_weights
from ..prior import Metric, Scorer
from .offline import pyiqa_arch

AGAIN = "download it again"


def load_score(device: str | torch.device, paths: tuple[Path, ...], name: str) -> Scorer:
    """One of SCORES, on the CPU whatever the device of the pictures, never with a graph.

    Args:
        device: not used; the results go where the pictures are.
        paths: the files it needs, in the catalogue's order.
        name: key of SCORES.
    Raises: ValueError if pyiqa is missing or a file is damaged.
    """
    del device
    metric = SCORES[name](*paths)

    def score(image: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != 3 or not image.isfinite().all():
            raise ValueError(
                f"{name} was given shape {tuple(image.shape)}: pass finite RGB, (B, 3, H, W)"
            )
        with torch.no_grad():
            pixels = image.detach().float().cpu().clamp(0, 1)
            scores = [metric(item).reshape(1) for item in pixels.split(1)]
        return torch.cat(scores).to(image)

    return Scorer(score)


def _entropy() -> Metric:
    return pyiqa_arch("entropy_arch").Entropy()


def _piqe() -> Metric:
    return pyiqa_arch("piqe_arch").PIQE()


def _brisque(path: Path) -> Metric:
    # What passes here holds tensors only, so pyiqa's own unpickling of it is harmless.
    read_weights(find_tensors(path, "BRISQUE's regressor", remedy=AGAIN))
    return _from_file(pyiqa_arch("brisque_arch").BRISQUE, path)


def _nrqm(path: Path) -> Metric:
    return _from_file(pyiqa_arch("nrqm_arch").NRQM, path)


def _pi(nrqm_path: Path, niqe_path: Path) -> Metric:
    """Perceptual index: half of (10 - NRQM) + NIQE, Blau et al. 2018."""
    options = {"crop_border": 4, "color_space": "ycbcr"}
    nrqm = _from_file(pyiqa_arch("nrqm_arch").NRQM, nrqm_path, **options)
    niqe = _from_file(pyiqa_arch("niqe_arch").NIQE, niqe_path, **options)
    return lambda image: (10 - nrqm(image) + niqe(image)) / 2


def _from_file(build: Callable[..., Metric], path: Path, **options: object) -> Metric:
    with reading(path, "file of that name", AGAIN):
        return build(pretrained_model_path=str(path), **options)


SCORES: dict[str, Callable[..., Metric]] = {
    "entropy": _entropy,
    "piqe": _piqe,
    "brisque": _brisque,
    "nrqm": _nrqm,
    "pi": _pi,
}
