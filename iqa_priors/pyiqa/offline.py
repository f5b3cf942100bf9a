"""Building pyiqa's networks without its downloads, and reading its checkpoints without its loader.

pyiqa fetches ImageNet backbones that the checkpoint overwrites anyway, and unpickles whatever a
file holds. Here a network is built with random weights and gets its own from a file that is read
as tensors only.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ...files.packages import need_packages
from ...files.weights import find_tensors, load_module, read_weights

log = logging.getLogger(__name__)
NOTICE = (
    "pyiqa is licensed for noncommercial use only (PolyForm Noncommercial 1.0.0); the weights have "
    "licences of their own"
)
FACTORIES = ("torchvision", "tv", "models", "timm")  # names under which pyiqa imports them
WRAPPERS = ("params", "state_dict", "model")  # keys a checkpoint may be nested in
COUNTERS = ".num_batches_tracked"  # absent from files of PyTorch before 0.4.1, unused in scoring
_LOCK = threading.Lock()
_told: list[str] = []


def pyiqa_arch(module: str) -> ModuleType:
    """Import one of pyiqa's architecture files, and tell its licence once.

    Raises: ValueError if pyiqa or something it needs is not installed.
    """
    need_packages("this prior", "pyiqa")
    try:
        arch = import_module(f"pyiqa.archs.{module}")
    except ImportError as error:
        raise ValueError(
            f"this prior needs pyiqa, which does not import here ({error}): run "
            f"`{sys.executable} -m pip install pyiqa`, or choose another prior; {NOTICE}"
        ) from error
    if not _told:
        _told.append(NOTICE)
        log.warning(NOTICE)
    return arch


class _Offline:
    """A package whose factories never ask for pretrained weights."""

    def __init__(self, package: Any):
        self._package = package

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._package, name)
        if isinstance(value, ModuleType):
            return _Offline(value)
        if callable(value) and not isinstance(value, type):
            return _without_pretraining(value)
        return value


def _without_pretraining(factory: Callable) -> Callable:
    def build(*positional: Any, **named: Any):
        disarmed = {"weights": None, "pretrained": False}
        return factory(*positional, **{k: disarmed.get(k, v) for k, v in named.items()})

    return build


@contextmanager
def no_downloads(arch: ModuleType) -> Iterator[None]:
    """While it lasts, one of pyiqa's files builds its networks without fetching anything.

    Only names inside that file are replaced, under a lock, and put back whatever happens.
    """
    replaced: dict[str, Any] = {
        name: _Offline(value) for name, value in vars(arch).items() if name in FACTORIES
    }
    if hasattr(arch, "load_pretrained_network"):
        replaced["load_pretrained_network"] = lambda *_, **__: None
    with _LOCK:
        kept = {name: vars(arch)[name] for name in replaced}
        try:
            vars(arch).update(replaced)
            yield
        finally:
            vars(arch).update(kept)


def build_network(module: str, class_name: str, options: Mapping[str, Any]) -> nn.Module:
    """One of pyiqa's networks with random weights, frozen, in evaluation mode, on the CPU.

    The caller's random numbers go on as if nothing had been drawn.

    Args:
        module: file in pyiqa.archs, as "dbcnn_arch".
        class_name: the class in it.
        options: its arguments.
    Raises: ValueError if pyiqa is missing.
    """
    arch = pyiqa_arch(module)
    with no_downloads(arch), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(arch, class_name)(**options)
    return network.eval().requires_grad_(False)


def load_checkpoint(network: nn.Module, path: Path, what: str) -> nn.Module:
    """Give a network the weights of a file, all of them, float32, frozen.

    Raises: ValueError if the file is damaged, holds more than tensors, or does not fit.
    """
    state = read_checkpoint(path, what)
    counters = {k: v for k, v in network.state_dict().items() if k.endswith(COUNTERS)}
    return load_module(network, {**counters, **state}, "", path)


def read_checkpoint(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint (.pth, .pt, or .safetensors), unnested, by their plain names.

    Raises: ValueError if the file is damaged or holds more than tensors.
    """
    remedy = "download it again"
    tensors = read_weights(find_tensors(path, f"checkpoint of {what}", WRAPPERS, remedy))
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
