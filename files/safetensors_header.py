"""The header of a safetensors file: read and checked before anything believes it."""

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import torch

MOST_BYTES = 8_000_000  # of a header; SDXL's largest files have half a million
MOST_TENSORS = 100_000
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    **{f"U{bits}": getattr(torch, f"uint{bits}") for bits in (16, 32, 64)},
}


class Entry(NamedTuple):
    """What a header says of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    end: int  # in bytes behind the header


class Header(NamedTuple):
    """A header: its tensors by name, and the texts that come along."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file that is all there.

    Raises: ValueError that says what is wrong with it; OSError where it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
        # A header of 128 bytes more than a multiple of 256 begins with the byte of a pickle, too.
        if head[8:9] != b"{" and (head.startswith(b"PK") or head[:1] == b"\x80"):
            raise ValueError("it is a PyTorch pickle with the wrong name: call it .bin")
        if head[8:9] != b"{":
            raise ValueError("it is no safetensors file")
        (length,) = struct.unpack("<Q", head[:8])
        if 8 + length > size:
            words = f"its header alone takes {8 + length} bytes, the file has {size}"
            raise ValueError(
                f"it is cut off: {words}" if length <= MOST_BYTES else "it is no safetensors file"
            )
        if length > MOST_BYTES:
            raise ValueError(f"its header has {length} bytes, {MOST_BYTES} are the most")
        file.seek(8)
        content = file.read(length)
    try:
        table = json.loads(content)
        metadata = table.pop("__metadata__", {})
        entries = {name: _entry(value) for name, value in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {str(error)[:80]}") from error
    if not _texts(metadata) or len(entries) > MOST_TENSORS:
        raise ValueError("its header is damaged")
    wanted = 8 + length + max((entry.end for entry in entries.values()), default=0)
    if size < wanted:
        raise ValueError(f"it is cut off: {size} of {wanted} bytes are there")
    return Header(entries, metadata)


def _entry(value: Any) -> Entry:
    dtype, shape, (start, end) = _DTYPES[value["dtype"]], value["shape"], value["data_offsets"]
    numbers = [start, end, *shape]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
        raise ValueError("sizes that are none")
    count = dtype.itemsize
    for side in shape:
        count *= side
    if count != end - start:
        raise ValueError(f"a tensor of {count} bytes in {end - start}")
    return Entry(dtype, tuple(shape), end)


def _texts(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
