"""The tensors of a TorchScript program, read without running it.

PyTorch reads such files only by loading the program, which may do harm, and not as weights alone.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
}


class _Part:
    """What stands for an object of the program: its attributes, no code."""


def is_program(path: Path) -> bool:
    """Whether a file is a TorchScript program."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def program_tensors(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of a TorchScript program, by their dotted names.

    Raises: ValueError if the file is damaged or holds anything but modules, tensors and numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (data,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(data) as file:
                top = _Reader(file, archive, data.removesuffix(".pkl")).load()
        return _tensors_below(top, "")
    except (pickle.UnpicklingError, zipfile.BadZipFile, OSError, RuntimeError) as error:
        reason: object = error
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, EOFError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise ValueError(f"{path} is damaged or no TorchScript module ({reason}): fetch it again")


def _tensors_below(part: Any, prefix: str) -> dict[str, Tensor]:
    tensors = {}
    for name, value in vars(part).items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, _Part):
            tensors |= _tensors_below(value, f"{prefix}{name}.")
    return tensors


class _Reader(pickle.Unpickler):
    """Makes nothing but tensors, plain values and `_Part`s."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name of the file; none of the names is imported."""
        if module.startswith("__torch__"):
            return _Part
        if module == "torch" and name in _STORAGES:
            return name
        stand_ins = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): dict,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            ("torch.jit._pickle", "build_intlist"): list,
        }
        if (module, name) not in stand_ins:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no tensor")
        return stand_ins[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """The numbers that a tensor is a view of."""
        _, storage, key, _, count = pid
        content = bytearray(self._archive.read(f"{self._folder}/{key}"))
        return torch.frombuffer(content, dtype=_STORAGES[storage], count=count)


def _tensor(numbers: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    return numbers.as_strided(size, stride, offset)
