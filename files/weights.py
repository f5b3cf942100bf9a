"""Reading weight files with errors that say what to do."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from .own_files import check_own
from .pickles import is_program, program_tensors, read_pickle
from .reading import FETCH_AGAIN, FileError, reading
from .safetensors_header import read_header
from .stored import Stored

PICKLES = {".bin", ".ckpt", ".pt", ".pth"}
SUFFIXES = {".safetensors", *PICKLES}
WRAPPERS = ("state_dict", "params", "model_state_dict")  # as trainers save them
MOST_VIEWS = 4  # times the file's size: tied weights are stored once
_SAMPLES, _SAMPLE_BYTES = 64, 4096


def read_tensors(
    path: Path, what: str, remedy: str = "restore the file or choose another"
) -> dict[str, Tensor]:
    """All tensors of a safetensors file; those of the pack itself must be the very ones.

    Args:
        path: the file.
        what: what it should hold, for the error.
        remedy: end of the error.
    Raises: FileError if the file is missing, cut off, no safetensors file, or changed.
    """
    with reading(path, what, remedy):
        check_own(path)
        stored = _find_in_safetensors(path)
    return {name: read_stored(tensor, remedy) for name, tensor in stored.items()}


def read_table(
    path: Path, what: str, shapes: Mapping[str, tuple[int | None, ...]]
) -> dict[str, Tensor]:
    """The tensors of a safetensors file that holds just these.

    Args:
        path, what: as for `read_tensors`.
        shapes: by name; None is any size.
    Raises: FileError as `read_tensors`, and if a shape is another, or numbers are not finite.
    """
    tensors = read_tensors(path, what)
    for name, shape in shapes.items():
        given = tensors.get(name)
        sides = () if given is None else zip(given.shape, shape, strict=False)
        fits = given is not None and given.ndim == len(shape)
        if not fits or any(mine != its for mine, its in sides if its is not None):
            raise FileError(f"{path} has no usable {name}: restore the file or choose another")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not _finite(tensor):
            raise FileError(
                f"{path} is damaged ({name} has numbers that are none): restore the file or choose "
                "another"
            )
    return tensors


def load_module(
    module: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path
) -> nn.Module:
    """Load the tensors under `prefix` into a module, frozen, float32.

    Raises: ValueError if names or shapes do not fit or weights are not finite, naming the first.
    """
    state = check_module(module, tensors, prefix, path)
    module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return module.eval().requires_grad_(False)


def check_module(
    module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path
) -> dict[str, Tensor]:
    """The tensors under `prefix`, which are just a module's; it may be on the meta device.

    Raises: FileError as `load_module`.
    """
    state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        problem = _misfit(wanted.get(name), state.get(name))
        if problem:
            raise FileError(
                f"{path} does not fit this network ({prefix}{name} {problem}): restore the file or "
                "choose another"
            )
    return state


def _misfit(wanted: Tensor | None, given: Tensor | None) -> str | None:
    if given is None:
        return "is missing"
    if wanted is None:
        return "is not part of it"
    if given.shape != wanted.shape:
        return f"has shape {tuple(given.shape)} instead of {tuple(wanted.shape)}"
    if given.is_floating_point() != wanted.is_floating_point():
        return f"has numbers of kind {_kind(given.dtype)} instead of {_kind(wanted.dtype)}"
    return None if _finite(given) else "has NaN or infinite weights"


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _finite(tensor: Tensor) -> bool:
    # isfinite knows no 8-bit floats.
    small = tensor.is_floating_point() and tensor.element_size() == 1
    return bool(torch.isfinite(tensor.float() if small else tensor).all())


def find_tensors(
    path: Path, what: str, wrappers: tuple[str, ...] = WRAPPERS, remedy: str = FETCH_AGAIN
) -> dict[str, Stored]:
    """The tensors of a weight file by name, read when they are needed.

    Args:
        path: .safetensors, or a PyTorch pickle (.bin, .ckpt, .pt, .pth), which is read without
            running anything; a TorchScript program will do, too.
        what: what it should hold, for the error.
        wrappers: keys that a pickle's tensors may be nested in.
        remedy: end of the error.
    Raises: FileError if the file is missing, cut off, a Git LFS pointer, a web page, or unsafe.
    """
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise FileError(f"{path} is no {what}: choose one of {', '.join(sorted(SUFFIXES))}")
    with reading(path, what, remedy):
        if path.suffix.lower() == ".safetensors":
            return _find_in_safetensors(path)
        _sniff(path)
        if is_program(path):
            return program_tensors(path, what)
        return _unwrapped(read_pickle(path, what, remedy), wrappers)


def _find_in_safetensors(path: Path) -> dict[str, Stored]:
    from safetensors import safe_open

    _sniff(path)
    header = read_header(path)
    file = safe_open(path, "pt")

    def reader(name: str) -> Callable[[], Tensor]:
        return lambda: file.get_tensor(name)

    return {
        name: Stored(path, name, entry.shape, reader(name), entry.dtype)
        for name, entry in header.entries.items()
    }


def file_metadata(path: Path, what: str) -> dict[str, str]:
    """The texts that come along in a safetensors file. Raises FileError as `find_tensors`."""
    with reading(path, what):
        return read_header(path).metadata


def _unwrapped(content: object, wrappers: tuple[str, ...]) -> dict[str, Stored]:
    for wrapper in wrappers:
        inner = content.get(wrapper) if isinstance(content, dict) else None
        content = inner if isinstance(inner, dict) else content
    tensors = content.items() if isinstance(content, dict) else ()
    found = {
        str(name): tensor._replace(name=str(name))
        for name, tensor in tensors
        if isinstance(tensor, Stored)
    }
    if not found:
        raise ValueError("it holds no table of tensors")
    return found


def what_is_wrong(path: Path, suffix: str | None = None) -> str | None:
    """Why a file cannot be what its name says, as far as size and beginning tell; None if not.

    Args:
        path: the file.
        suffix: what its name will end in, if that is not its own.
    """
    try:
        _sniff(path)
        if (suffix or path.suffix).lower() == ".safetensors":
            read_header(path)
    except OSError as error:
        return error.strerror
    except ValueError as error:
        return str(error)
    return None


def _sniff(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ValueError("it is empty")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError("it is a Git LFS pointer, not the file it stands for: run git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(
            "it is a web page: the download was answered with an error or a log-in page"
        )


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
        if not stored.dtype.is_floating_point:  # a counter, as the check has found
            state[name] = read_stored(stored).to(device)
            continue
        tensor = read_finite(stored)
        state[name] = tensor.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def check_fit(module: nn.Module, tensors: dict[str, Stored], what: str) -> None:
    """Raise FileError unless the tensors are exactly the module's, in names, shapes and kind."""
    wanted = dict(module.state_dict())
    missing = sorted(wanted.keys() - tensors.keys())
    extra = sorted(tensors.keys() - wanted.keys())
    path = next(iter(tensors.values())).path if tensors else "the file"
    advice = "the file is of another model or incomplete: choose another or fetch it again"
    if missing or extra:
        first = f"{missing[0]} is missing" if missing else f"{extra[0]} is not part of it"
        counts = f"{len(missing)} tensors missing, {len(extra)} too many"
        raise FileError(f"{path} does not fit {what} ({first}; {counts}): {advice}")
    for name, own in wanted.items():
        given, problem = tensors[name], ""
        if given.shape != own.shape:
            problem = f"has shape {given.shape} instead of {tuple(own.shape)}"
        elif given.dtype.is_floating_point != own.dtype.is_floating_point:
            problem = f"has numbers of kind {_kind(given.dtype)} instead of {_kind(own.dtype)}"
        if problem:
            raise FileError(f"{given.path} does not fit {what} ({given.name} {problem}): {advice}")


def read_stored(stored: Stored, remedy: str = FETCH_AGAIN) -> Tensor:
    """Read a tensor. Raises FileError if it cannot be read."""
    with reading(stored.path, "weights", remedy):
        return stored.read()


def read_finite(stored: Stored) -> Tensor:
    """Read a tensor of weights.

    Raises: FileError if it cannot be read, or has numbers that are no weights: whole, complex,
        NaN or infinite ones.
    """
    if not stored.dtype.is_floating_point:
        raise FileError(
            f"{stored.path} is damaged or of another model ({stored.name} has numbers of kind "
            f"{_kind(stored.dtype)}, which are no weights): fetch it again"
        )
    tensor = read_stored(stored)
    if not _finite(tensor):
        raise FileError(
            f"{stored.path} is damaged ({stored.name} has NaN or infinite weights): fetch it again"
        )
    return tensor


def read_weights(tensors: dict[str, Stored]) -> dict[str, Tensor]:
    """Read tensors of weights, which are finite; whole numbers among them are left as they are.

    Raises: FileError as `read_finite`, and before anything is read if a file holds views that
        would together take far more memory than it has bytes.
    """
    for path in {tensor.path for tensor in tensors.values()}:
        size, wanted = path.stat().st_size, sum(t.bytes for t in tensors.values() if t.path == path)
        if wanted > MOST_VIEWS * size:
            raise FileError(
                f"{path} is no weight file ({wanted} bytes of tensors in {size}): fetch it again"
            )
    whole = (torch.int64, torch.int32)
    return {
        name: read_stored(tensor) if tensor.dtype in whole else read_finite(tensor)
        for name, tensor in tensors.items()
    }


def fingerprint(files: Iterable[Path]) -> str:
    """What tells files from others of the same names: sizes, beginnings and samples, hashed.

    A folder stands for all files in it. Not a checksum of the whole files, whose gigabytes would
    take minutes to read.
    """
    digest = hashlib.sha256()
    for path in chain.from_iterable(map(_inside, files)):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(str(size).encode() + file.read(1 << 20))
            for index in range(_SAMPLES):
                file.seek(index * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _inside(path: Path) -> list[Path]:
    """The file, or all files of a folder."""
    if not path.is_dir():
        return [path]
    return sorted(inner for inner in path.rglob("*") if inner.is_file())
