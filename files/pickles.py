"""PyTorch's pickles and TorchScript programs, read as tensors and plain values, running nothing.

torch.load believes the sizes that a file states: a few hundred bytes can ask for gigabytes. Here
the pickle is looked through before it is read, and no storage may be larger than what the file has
of it. Tensors stay on disk until they are asked for.
"""

import io
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .reading import FETCH_AGAIN, FileError, reading
from .stored import Stored

MOST_BYTES = 16_000_000  # of a pickle, and of a zip's directory; tensors are not part of them
MOST_STEPS = 400_000  # of a pickle; a tensor takes some 30
MOST_PARTS = 100_000  # of a program
DEEPEST = 64  # parts in parts
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001  # of files before PyTorch 1.6
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")


class _Storage(NamedTuple):
    """Where a tensor's numbers are: `read(start, end)` gives bytes of them."""

    dtype: torch.dtype
    count: int
    read: Callable[[int, int], bytearray]


class _ForeignError(Exception):
    """The pickle asks for something that is no tensor."""


def read_pickle(path: Path, what: str, remedy: str = FETCH_AGAIN) -> Any:
    """What a file of torch.save holds: tables, lists, plain values, and `Stored` for tensors.

    Args:
        path: the file, in today's format or that before PyTorch 1.6.
        what: what it should hold, for the error.
        remedy: end of the error.
    Raises: FileError if it is damaged, states sizes that it has not, or holds anything else.
    """
    with _pickle_of(path, what, remedy):
        if zipfile.is_zipfile(path):
            content, parts = _from_zip(path)
            return vars(content) if isinstance(content, parts) else content
        return _from_legacy(path)


def is_program(path: Path) -> bool:
    """Whether a file is a TorchScript program."""
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return False
        with _open_zip(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False  # reading it as a pickle says what is wrong


def program_tensors(path: Path, what: str) -> dict[str, Stored]:
    """The parameters and buffers of a TorchScript program, by their dotted names.

    Raises: FileError if it is damaged or holds anything but modules, tensors and numbers.
    """
    with _pickle_of(path, f"TorchScript module for {what}", FETCH_AGAIN):
        top, parts = _from_zip(path)
        tensors = {}
        for seen, (name, value) in enumerate(_below(top, parts)):
            if seen >= MOST_PARTS:
                raise ValueError(f"it has more than {MOST_PARTS} parts")
            if isinstance(value, Stored):
                tensors[name] = value._replace(name=name)
        return tensors


def tree_tensors(tree: Any) -> Any:
    """The same tree of tables and lists with every `Stored` read."""
    if isinstance(tree, Stored):
        with reading(tree.path, "weights"):
            return tree.read()
    if isinstance(tree, dict):
        return {name: tree_tensors(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(map(tree_tensors, tree))
    return tree


@contextmanager
def _pickle_of(path: Path, what: str, remedy: str) -> Iterator[None]:
    with reading(path, what, remedy):
        try:
            yield
        except _ForeignError as error:
            raise FileError(
                f"{path} holds more than weights ({error}), and reading that could run "
                "its code: convert it to .safetensors, or fetch the .safetensors file"
            ) from error


def _below(part: Any, parts: type, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > DEEPEST:
        raise ValueError(f"its parts are nested deeper than {DEEPEST}")
    for name, value in vars(part).items():
        yield f"{prefix}{name}", value
        if isinstance(value, parts):
            yield from _below(value, parts, f"{prefix}{name}.", depth + 1)


class _Bounded(io.FileIO):
    """A file of which no single read is large: zip directories state their own sizes."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most MOST_BYTES."""
        rest = os.fstat(self.fileno()).st_size - self.tell()
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > MOST_BYTES:
            raise ValueError(f"its directory has more than {MOST_BYTES} bytes")
        return super().read(max(0, wanted)) or b""


def _open_zip(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(_Bounded(path))


def _from_zip(path: Path) -> tuple[Any, type]:
    """What the archive's data.pkl holds, and the type that stands for modules in it."""
    archive, size = _open_zip(path), path.stat().st_size
    members = {info.filename: info for info in archive.infolist()}
    (data,) = (name for name in members if name == "data.pkl" or name.endswith("/data.pkl"))
    folder = data.removesuffix("data.pkl")
    stored = [info for info in members.values() if info.compress_type == zipfile.ZIP_STORED]
    if sum(info.file_size for info in stored) > size:
        raise ValueError("its members are larger than the file")
    order = members.get(f"{folder}byteorder")
    if order is not None and archive.open(order).read(8) != b"little":
        raise ValueError("its numbers are big-endian")

    def storage(dtype: torch.dtype, key: str, count: int) -> _Storage:
        member = members.get(f"{folder}data/{key}") or members[f"{folder}{key}"]
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{member.filename} is compressed, as PyTorch writes none")
        if count * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} has {member.file_size} bytes of {count} numbers")
        return _Storage(dtype, count, lambda start, end: _read_member(path, member, start, end))

    with archive.open(data) as file:
        return _unpickle(path, file.read(MOST_BYTES + 1), storage)


def _read_member(path: Path, member: zipfile.ZipInfo, start: int, end: int) -> bytearray:
    with path.open("rb") as file:
        file.seek(member.header_offset)
        signature, *_, name, extra = struct.unpack("<4s5H3L2H", file.read(30))
        if signature != b"PK\3\4":
            raise ValueError(f"{member.filename} is not where the file says")
        file.seek(name + extra + start, io.SEEK_CUR)
        content = _filled(file, end - start)
    if len(content) == member.file_size and zlib.crc32(content) != member.CRC:
        raise ValueError(f"{member.filename} has another checksum")
    return content


def _filled(file: Any, count: int) -> bytearray:
    content = bytearray(count)
    if file.readinto(content) != count:
        raise ValueError("it ends before its tensors do")
    return content


def _from_legacy(path: Path) -> Any:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(MOST_BYTES + 1)
    places: dict[str, int] = {}
    sizes: dict[str, int] = {}

    def storage(dtype: torch.dtype, key: str, count: int) -> _Storage:
        if count * dtype.itemsize > size:
            raise ValueError(f"it has {size} bytes, and states a storage of {count} numbers")
        sizes[key] = max(count * dtype.itemsize, sizes.get(key, 0))

        def read(start: int, end: int) -> bytearray:
            with path.open("rb") as file:
                file.seek(places[key] + start)
                return _filled(file, end - start)

        return _Storage(dtype, count, read)

    at, parts = 0, []
    for _ in range(5):
        end = _checked(head[at:])
        parts.append(_load(path, head[at : at + end], storage)[0])
        at += end
    magic, version, _, content, keys = parts
    if (magic, version) != (_LEGACY_MAGIC, _LEGACY_VERSION):
        raise ValueError("it does not begin as PyTorch's files do")
    if not sizes.keys() <= set(keys):
        raise ValueError("it states storages that it has not")
    for key in keys:
        places[key] = at + 8  # behind the count of its numbers
        at = places[key] + sizes[key]
    if at > size:
        raise ValueError(f"it is cut off: {size} of {at} bytes are there")
    return content


def _checked(content: bytes) -> int:
    """Look through a pickle; returns where it ends.

    Raises: ValueError if it is long, or asks for memory that nothing in it needs.
    """
    end = 0
    for steps, (step, argument, place) in enumerate(pickletools.genops(content)):
        end = (place or 0) + 1
        if steps > MOST_STEPS or end > MOST_BYTES:
            raise ValueError("it holds far more than weights do")
        if step.name in _MEMO and isinstance(argument, int) and argument > steps + 1:
            raise ValueError(f"its memo is said to have {argument} entries")
    return end


Find = Callable[[torch.dtype, str, int], _Storage]


def _unpickle(path: Path, content: bytes, storage: Find) -> tuple[Any, type]:
    _checked(content)
    return _load(path, content, storage)


def _load(path: Path, content: bytes, storage: Find) -> tuple[Any, type]:
    reader = _Reader(path, content, storage)
    return reader.load(), reader.parts


class _Reader(pickle.Unpickler):
    """Makes nothing but `Stored`s, plain values and parts.

    What stands for the names in a file is made anew for each, so that none can change it for all.
    """

    def __init__(self, path: Path, content: bytes, storage: Find) -> None:
        super().__init__(io.BytesIO(content))
        self._storage = storage

        class Table(dict):
            """An OrderedDict: state dicts hang notes on theirs."""

        class Part:
            """What stands for an object of a program: its attributes, no code."""

        def tensor(storage: _Storage, offset: int, size: tuple, stride: tuple, *_: Any) -> Stored:
            return _stored(path, storage, offset, size, stride)

        def typed(storage: _Storage, offset: int, size: tuple, stride: tuple, *rest: Any) -> Stored:
            dtype = rest[2]
            count = storage.count // dtype.itemsize
            return _stored(path, storage._replace(dtype=dtype, count=count), offset, size, stride)

        self.parts = Part
        self._names: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor"): tensor,
            ("torch._utils", "_rebuild_tensor_v2"): tensor,
            ("torch._utils", "_rebuild_tensor_v3"): typed,
            ("torch._utils", "_rebuild_parameter"): lambda value, *_: value,
            ("torch._utils", "_rebuild_parameter_with_state"): lambda value, *_: value,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, *_: value,
            ("collections", "OrderedDict"): Table,
            ("torch", "Size"): lambda size=(): tuple(size),
            ("torch", "device"): lambda *place: place,
        }
        for kind in ("int", "double", "bool", "tensor"):
            self._names["torch.jit._pickle", f"build_{kind}list"] = lambda values: values
        for package in ("builtins", "__builtin__"):
            self._names[package, "set"] = lambda values=(): set(values)

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name of the file; none of the names is imported."""
        if module.startswith("__torch__"):
            return self.parts
        if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        if (module, name) not in self._names:
            raise _ForeignError(f"{module}.{name}"[:80])
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The numbers that a tensor is a view of."""
        _, dtype, key, _, count, *view = pid
        if not isinstance(count, int) or count < 0 or any(view):
            raise ValueError(f"a storage of {count!r} numbers")
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"a storage of {dtype!r}")
        return self._storage(dtype, str(key), count)


def _stored(path: Path, storage: _Storage, offset: int, size: tuple, stride: tuple) -> Stored:
    """A view of a storage, which ends within it and is no larger.

    Raises: ValueError for any other.
    """
    numbers = (offset, *size, *stride)
    if not all(isinstance(n, int) and n >= 0 for n in numbers) or len(size) != len(stride):
        raise ValueError(f"a tensor of shape {size!r}"[:80])
    count = 1
    for side in size:
        count *= side
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise ValueError(f"a tensor of shape {tuple(size)} in {storage.count} numbers"[:120])
    item = storage.dtype.itemsize

    def read() -> Tensor:
        if not count:
            return torch.empty(size, dtype=storage.dtype)
        content = storage.read(offset * item, (last + 1) * item)
        return torch.frombuffer(content, dtype=storage.dtype).as_strided(size, stride)

    return Stored(path, "", tuple(size), read, storage.dtype)
