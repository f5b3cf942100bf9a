"""Reading weight files with errors that say what to do."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

PICKLES = {".bin", ".ckpt", ".pt", ".pth"}
SUFFIXES = {".safetensors", *PICKLES}
_SAMPLES, _SAMPLE_BYTES = 64, 4096


class Stored(NamedTuple):
    """A tensor in a weight file that is read when it is needed.

    Attributes:
        path: its file, for errors.
        name: what the file calls it.
        shape: after `changed`.
        read: reads it.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Stored":
        """The same tensor with a change of its layout."""
        shape = change(torch.empty(self.shape, device="meta")).shape
        return Stored(self.path, self.name, tuple(shape), lambda: change(self.read()))


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
        reason = what_is_wrong(path) or error
        raise ValueError(
            f"{path} is damaged or no safetensors file ({reason}): restore or make it again"
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


def find_tensors(path: Path, what: str) -> dict[str, Stored]:
    """The tensors of a weight file by name; of a safetensors file, only the header is read.

    Args:
        path: .safetensors, or a PyTorch pickle (.bin, .ckpt, .pt, .pth), which is read with
            `weights_only`, so that it cannot run code.
        what: what it should hold, for the error.
    Raises: ValueError if the file is missing, cut off, a Git LFS pointer, a web page, or unsafe.
    """
    if not path.is_file():
        raise ValueError(f"no {what} at {path}: check the name, or put the file there")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no {what}: choose one of {', '.join(sorted(SUFFIXES))}")
    pickle = path.suffix.lower() in PICKLES
    reason = what_is_wrong(path)
    if reason:
        raise ValueError(f"{path} is no usable {what} ({reason}): fetch it again")
    return _find_in_pickle(path, what) if pickle else _find_in_safetensors(path, what)


def _find_in_safetensors(path: Path, what: str) -> dict[str, Stored]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, "pt")
        names = list(file.keys())
        shapes = [tuple(file.get_slice(name).get_shape()) for name in names]
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no usable {what} ({error}): fetch it again") from error

    def reader(name: str) -> Callable[[], Tensor]:
        return lambda: file.get_tensor(name)

    return {
        name: Stored(path, name, shape, reader(name))
        for name, shape in zip(names, shapes, strict=True)
    }


def _find_in_pickle(path: Path, what: str) -> dict[str, Stored]:
    import pickle

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than weights, and reading that could run its code: convert it to "
            ".safetensors, or fetch the .safetensors file"
        ) from error
    except (RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        text = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is damaged or no {what} ({text}): fetch it again") from error
    for wrapper in ("state_dict", "params", "model_state_dict"):  # as trainers save them
        content = content.get(wrapper, content) if isinstance(content, dict) else {}
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}

    def reader(value: Tensor) -> Callable[[], Tensor]:
        return lambda: value

    return {
        name: Stored(path, name, tuple(value.shape), reader(value))
        for name, value in tensors.items()
    }


def what_is_wrong(path: Path, suffix: str | None = None) -> str | None:
    """Why a file cannot be what its name says, as far as size and beginning tell; None if not.

    Args:
        path: the file.
        suffix: what its name will end in, if that is not its own.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
            if (suffix or path.suffix).lower() == ".safetensors":
                return _sniff(head, size) or _wrong_header(file, head, size)
            return _sniff(head, size)
    except OSError as error:
        return error.strerror


def _sniff(head: bytes, size: int) -> str | None:
    if size == 0:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file it stands for: run git lfs pull"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page: the download was answered with an error or a log-in page"
    return None


def _wrong_header(file: Any, head: bytes, size: int) -> str | None:
    """What is wrong with a safetensors file by its header."""
    # A header of 128 bytes more than a multiple of 256 begins with the byte of a pickle, too.
    if head[8:9] != b"{" and (head.startswith(b"PK") or head[:1] == b"\x80"):
        return "it is a PyTorch pickle with the wrong name: call it .bin"
    length = struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else size
    if length > 100_000_000 or head[8:9] != b"{":
        return "it is no safetensors file"
    if 8 + length > size:
        return f"it is cut off: its header alone takes {8 + length} bytes, the file has {size}"
    file.seek(8)
    try:
        entries = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name[:2] != "__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "its header is damaged"
    wanted = 8 + length + max(ends, default=0)
    return f"it is cut off: {size} of {wanted} bytes are there" if size < wanted else None


def fill_module(
    module: nn.Module,
    tensors: dict[str, Stored],
    what: str,
    dtype: torch.dtype,
    device: torch.device | str,
) -> nn.Module:
    """Give a module built on the meta device its weights, frozen, one tensor at a time.

    Args:
        module: its parameters are on the meta device.
        tensors: by the module's own names; checked against it before any is read.
        what: what the module is, for errors.
        dtype, device: of the weights in use.
    Raises: ValueError if names or shapes do not fit or weights are not finite, naming the first.
    """
    check_fit(module, tensors, what)
    state = {}
    for name, stored in tensors.items():
        # A copy, since kernels round otherwise at another alignment: the same weights give the same
        # bits whatever file they come from. A part of a larger tensor would keep all of it, too.
        tensor = read_finite(stored)
        state[name] = tensor.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def check_fit(module: nn.Module, tensors: dict[str, Stored], what: str) -> None:
    """Raise ValueError unless the tensors are exactly the module's, in names and shapes."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = sorted(wanted.keys() - tensors.keys())
    extra = sorted(tensors.keys() - wanted.keys())
    path = next(iter(tensors.values())).path if tensors else "the file"
    advice = "the file is of another model or incomplete: choose another or fetch it again"
    if missing or extra:
        first = f"{missing[0]} is missing" if missing else f"{extra[0]} is not part of it"
        counts = f"{len(missing)} tensors missing, {len(extra)} too many"
        raise ValueError(f"{path} does not fit {what} ({first}; {counts}): {advice}")
    for name, shape in wanted.items():
        given = tensors[name]
        if given.shape != shape:
            raise ValueError(
                f"{given.path} does not fit {what} ({given.name} has shape {given.shape} instead "
                f"of {shape}): {advice}"
            )


def read_finite(stored: Stored) -> Tensor:
    """Read a tensor.

    Raises: ValueError if it cannot be read or has NaN or infinite numbers.
    """
    from safetensors import SafetensorError

    try:
        tensor = stored.read()
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{stored.path} cannot be read ({error}): fetch it again") from error
    # isfinite knows no 8-bit floats.
    checked = tensor.float() if tensor.element_size() == 1 else tensor
    if not torch.isfinite(checked).all():
        raise ValueError(
            f"{stored.path} is damaged ({stored.name} has NaN or infinite weights): fetch it again"
        )
    return tensor


def fingerprint(files: Iterable[Path]) -> str:
    """What tells files from others of the same names: sizes, beginnings and samples, hashed.

    Not a checksum of the whole files, whose gigabytes would take minutes to read.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(str(size).encode() + file.read(1 << 20))
            for index in range(_SAMPLES):
                file.seek(index * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
