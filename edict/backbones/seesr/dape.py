"""DAPE, SeeSR's change of RAM's image encoder, from its files: read safely, merged, converted.

`ram_swin_large_14m.pth` holds RAM: the image encoder, and a tagger that is not needed here.
`DAPE.pth` holds low-rank additions to the queries and values of its attention, which make the
tokens of a degraded picture those of a clean one.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ....files.stored import Stored
from ....files.weights import fill_module, find_tensors, read_finite
from ....files.written import written_beside
from .ram import PATCH, ImageEncoder, SwinGeometry

RAM_FILE, DAPE_FILE, MERGED_FILE = "ram_swin_large_14m.pth", "DAPE.pth", "dape.safetensors"
MERGED = "dape."  # prefix in the converted file, so that nobody takes RAM alone for it
RAM_TAGS = 4585
_PARTS = ("visual_encoder.", "image_proj.")
_BUFFERS = ("relative_position_index", "attn_mask")  # follow from the geometry
_QKV, _DOWN, _UP = "attn.qkv.weight", "attn.qkv.lora_A", "attn.qkv.lora_B"


def load_image_encoder(tensors: Mapping[str, Stored]) -> ImageEncoder:
    """RAM's image encoder with DAPE, frozen, float32, on the CPU.

    Args:
        tensors: from `find_encoder`.
    Raises: ValueError if names or shapes do not fit, or weights are not finite.
    """
    encoder = ImageEncoder(geometry_of(tensors))
    named = {_timm_name(name): stored for name, stored in tensors.items()}
    fill_module(encoder, named, "RAM's image encoder", torch.float32, "cpu")
    return encoder


def geometry_of(tensors: Mapping[str, Stored]) -> SwinGeometry:
    """The encoder's sizes, read off its tensors' shapes. Raises ValueError if it is no Swin."""
    prefix = "visual_encoder."
    tables = {
        tuple(int(part) for part in name.split(".")[2:5:2]): stored.shape
        for name, stored in tensors.items()
        if name.startswith(prefix + "layers.") and name.endswith(".relative_position_bias_table")
    }
    patches = tensors.get(prefix + "patch_embed.proj.weight")
    if patches is None or not tables:
        path = next(iter(tensors.values())).path
        raise ValueError(f"{path} holds no Swin transformer: give {RAM_FILE}")
    levels = range(1 + max(level for level, _ in tables))
    (offsets, _) = next(iter(tables.values()))
    window = (math.isqrt(offsets) + 1) // 2
    return SwinGeometry(
        side=PATCH * window * 2 ** (len(levels) - 1),  # the last level is one window
        window=window,
        width=patches.shape[0],
        depths=tuple(sum(level == k for level, _ in tables) for k in levels),
        heads=tuple(tables.get((k, 0), (0, 1))[1] for k in levels),
    )


def convert(ram: Path, dape: Path, out: Path) -> int:
    """Write RAM's image encoder with DAPE merged as one safetensors file.

    Args:
        ram: ram_swin_large_14m.pth.
        dape: DAPE.pth.
        out: the new file, .safetensors; its folder exists.
    Returns: how many tensors were written.
    Raises: ValueError if a file is missing, cut off, unsafe, or something else; nothing is written.
    """
    from safetensors.torch import save_file

    if out.suffix != ".safetensors":
        raise ValueError(f"{out} is no name for the converted file: call it {MERGED_FILE}")
    merged = find_encoder(dape, ram)
    content = {MERGED + k: read_finite(v).float().contiguous() for k, v in merged.items()}
    with written_beside(out) as part:
        save_file(content, part, {"content": "RAM's image encoder with SeeSR's DAPE"})
    return len(content)


def find_encoder(dape: Path, ram: Path | None = None) -> dict[str, Stored]:
    """The image encoder's tensors with DAPE merged, by RAM's names, read when needed.

    Args:
        dape: the file `convert` wrote, or DAPE.pth.
        ram: ram_swin_large_14m.pth; not needed for a converted file.
    Raises: ValueError if a file is missing, cut off, unsafe, or something else.
    """
    additions = _find(dape, "DAPE")
    merged = {k[len(MERGED) :]: v for k, v in additions.items() if k.startswith(MERGED)}
    if merged:
        return merged
    additions = {k: v for k, v in additions.items() if k.startswith(_PARTS) and "lora_" in k}
    if not additions:
        raise ValueError(
            f"{dape} holds no DAPE (low-rank additions to visual_encoder): give SeeSR's "
            f"{DAPE_FILE}, or the file that was converted from it"
        )
    if ram is None:
        raise ValueError(
            f"{dape} holds additions to RAM's image encoder, not the encoder: give {RAM_FILE} too"
        )
    return _merge(_encoder_of(_find(ram, "RAM"), ram), additions, dape)


def _encoder_of(tensors: Mapping[str, Stored], path: Path) -> dict[str, Stored]:
    tags = tensors.get("label_embed")
    if tags is not None and tags.shape[0] != RAM_TAGS:
        raise ValueError(
            f"{path} knows {tags.shape[0]} descriptions, RAM {RAM_TAGS} tags (is it RAM++?): DAPE "
            f"adds to RAM, give {RAM_FILE}"
        )
    encoder = {k: v for k, v in tensors.items() if k.startswith(_PARTS)}
    encoder = {k: v for k, v in encoder.items() if not k.endswith(_BUFFERS)}
    if not encoder:
        raise ValueError(f"{path} holds no RAM (no visual_encoder): give {RAM_FILE}")
    return encoder


def _merge(
    encoder: dict[str, Stored], additions: Mapping[str, Stored], path: Path
) -> dict[str, Stored]:
    blocks = [name.removesuffix(_QKV) for name in encoder if name.endswith(_QKV)]
    wanted = {block + half for block in blocks for half in (_DOWN, _UP)}
    if wanted != additions.keys():
        odd = sorted(wanted ^ additions.keys())[0]
        problem = "is missing" if odd in wanted else "has no place in RAM's encoder"
        raise ValueError(f"{path} does not fit RAM ({odd} {problem}): give SeeSR's {DAPE_FILE}")
    merged = dict(encoder)
    for block in blocks:
        down, up = additions[block + _DOWN], additions[block + _UP]
        merged[block + _QKV] = _merged(encoder[block + _QKV], down, up)
    return merged


def _merged(weight: Stored, down: Stored, up: Stored) -> Stored:
    channels, rank = weight.shape[1], up.shape[1]
    shapes = (weight.shape, down.shape, up.shape)
    if shapes != ((3 * channels, channels), (2 * rank, channels), (2 * channels, rank)):
        raise ValueError(
            f"{down.path} does not fit RAM ({down.name} and _B have shapes {down.shape} and "
            f"{up.shape} for a weight of {weight.shape}): give SeeSR's {DAPE_FILE}"
        )

    def read() -> Tensor:
        return add_low_rank(*(read_finite(part).float() for part in (weight, down, up)))

    return Stored(down.path, weight.name, weight.shape, read)


def add_low_rank(weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """Add a low-rank update to the queries and values of a joint attention weight.

    Args:
        weight: of queries, keys and values, (3 C, C).
        down: lora_A of queries and values, (2 r, C).
        up: lora_B of queries and values, (2 C, r).
    Returns: (3 C, C), float32.
    Source: Hu et al., arXiv 2106.09685, with alpha = 1, so that the update is scaled by 1 / r.
    """
    rank = up.shape[1]
    query, value = (b @ a / rank for a, b in zip(down.chunk(2), up.chunk(2), strict=True))
    return weight + torch.cat((query, torch.zeros_like(query), value))


def _timm_name(name: str) -> str:
    """Timm counts a level's downsampling to the next level."""
    parts = name.split(".")
    if len(parts) > 3 and parts[3] == "downsample":
        parts[2] = str(int(parts[2]) + 1)
    return ".".join(parts)


def _find(path: Path, what: str) -> dict[str, Stored]:
    return find_tensors(path, f"{what} weights", ("model", "params"))
