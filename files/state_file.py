"""Saved states: safetensors with a checksum, written whole or not at all."""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from .reading import FileError, reading
from .safetensors_header import read_header
from .written import is_stream, write_atomically

FORMAT = "latent-map state 1"


def _digest(tensors: dict[str, Tensor], metadata: str) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_state(path: Path, kind: str, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Write tensors and a JSON-able description; an existing file is replaced when all is done.

    Args:
        path: the file; its folder must exist.
        kind: what the state is, checked by `load_state`.
        tensors: named tensors, at least one element each.
        metadata: description, JSON types only.
    Raises: OSError when the disk is full or the folder not writable; nothing is lost then.
    """
    from safetensors.torch import save

    # Copies, because safetensors refuses tensors that share memory.
    tensors = {
        n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in tensors.items()
    }
    text = json.dumps({"kind": kind, **metadata}, sort_keys=True)
    header = {"format": FORMAT, "metadata": text, "sha256": _digest(tensors, text)}
    write_atomically(path, save(tensors, header))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import safe_open

    if not path.is_file():
        raise ValueError("it is no file")
    header = read_header(path)
    with safe_open(path, "pt") as file:
        return header.metadata, {name: file.get_tensor(name) for name in header.entries}


def load_state(
    path: Path, kind: str, remedy: str = "make it again"
) -> tuple[dict[str, Tensor], dict]:
    """Read a state and prove it whole.

    Args:
        path: the file.
        kind: what the state must be.
        remedy: what to do about a damaged one, as the end of a line.
    Returns: the tensors and the metadata.
    Raises: ValueError if the file is missing, damaged, of another kind or another format.
    """
    if is_stream(path):
        raise ValueError(f"{path} is a device or a pipe: give the name of a state file")
    if not path.exists():
        raise FileError(f"no state file {path}")
    with reading(path, "state file", remedy):
        header, tensors = _read(path)
        metadata = json.loads(header["metadata"]) if header.get("format") == FORMAT else None
        if metadata is not None and not isinstance(metadata.get("kind"), str):
            raise ValueError("it says of no kind")
        whole = metadata is not None and header["sha256"] == _digest(tensors, header["metadata"])
    if metadata is None:
        raise ValueError(f"{path} is no latent-map state (or of another version): {remedy}")
    if not whole:
        raise ValueError(f"{path} is damaged (checksum): {remedy}")
    if metadata["kind"] != kind:
        raise ValueError(f"{path} holds {metadata['kind']!r}, {kind!r} is needed: choose another")
    # Copies: tensors that are the file itself keep it open, and Windows replaces no open file.
    return {name: tensor.clone() for name, tensor in tensors.items()}, metadata
