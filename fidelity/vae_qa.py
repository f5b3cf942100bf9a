"""VAE-QA-style learned quality on VAE features; untrained until you train it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.json_files import TABLE, check_table, parse_text, sequence, text, whole
from ..files.outlines import outline
from ..files.reading import FileError, reading
from ..files.weights import check_module, file_metadata, load_module, read_tensors
from .fidelity import MeasuredFidelity
from .planes import SMALLEST_SIDE, check_pair
from .vae_features import VaeEncoder, load_vae_encoder

KIND = "vae_qa"
MAKE_ONE = "make one with training/train_vae_qa.py"
_SIZE = whole(1, 65536)
ABOUT = {"kind": text(KIND), "channels": sequence(_SIZE, 1, 64), "options": TABLE}
OPTIONS = {
    "width": _SIZE,
    "pooled": whole(1, 1024),
    "across": _SIZE,
    "flattened": _SIZE,
    "hidden": sequence(_SIZE, 2, 2),
    "groups": _SIZE,
    "crop": whole(16, 65536),
}


@dataclass(frozen=True)
class VaeQaOptions:
    """What the paper leaves open, with our choices; 13.7 million parameters on SD's VAE.

    Attributes:
        width: channels of each map after the fusion within layers.
        pooled: side of the maps after average pooling.
        across: channels after the fusion across layers.
        flattened: channels of the strided convolution before the flattening.
        hidden: widths of the perceptron's two hidden layers.
        groups: of the group normalisations.
        crop: side in pixels of the crops that are scored and averaged.
    """

    width: int = 128
    pooled: int = 16
    across: int = 256
    flattened: int = 128
    hidden: tuple[int, int] = (1024, 256)
    groups: int = 32
    crop: int = 256


class VaeQaHead(nn.Module):
    """Fusion within layers, fusion across layers, perceptron; shared by its two branches.

    One branch sees the reference's features, the other their difference from the distorted
    picture's.

    Args:
        channels: of the encoder's maps.
        options: sizes.
    Source: Raviv and Chechik, arXiv 2404.18178, as far as figure and size table tell.
    """

    def __init__(self, channels: Sequence[int], options: VaeQaOptions) -> None:
        super().__init__()
        self.options, width = options, options.width
        self.within = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1) for c in channels)
        self.within_norm = nn.ModuleList(nn.GroupNorm(options.groups, width) for _ in channels)
        self.across = nn.Conv2d(width * len(channels), options.across, 3, padding=1)
        self.across_norm = nn.GroupNorm(options.groups, options.across)
        self.flatten = nn.Conv2d(2 * options.across, options.flattened, 3, stride=2, padding=1)
        side = (options.pooled + 1) // 2
        first, second = options.hidden
        self.perceptron = nn.Sequential(
            nn.Linear(options.flattened * side**2, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, 1),
        )

    def forward(self, reference: list[Tensor], distorted: list[Tensor]) -> Tensor:
        """Quality in (0, 1), higher is better, shape (B,), from the encoder's maps of both."""
        difference = [a - b for a, b in zip(reference, distorted, strict=True)]
        both = torch.cat((self._fuse(reference), self._fuse(difference)), dim=1)
        return self.perceptron(self.flatten(both).relu().flatten(1)).sigmoid().flatten()

    def _fuse(self, maps: list[Tensor]) -> Tensor:
        layers = zip(maps, self.within, self.within_norm, strict=True)
        fused = [
            norm(F.adaptive_avg_pool2d(convolution(m).relu(), self.options.pooled))
            for m, convolution, norm in layers
        ]
        return self.across_norm(self.across(torch.cat(fused, dim=1)).relu())


class VaeQa:
    """1 - quality relative to the reference's own: q(ref, ref) - q(ref, x).

    Crops cover the picture evenly and are averaged. A picture that the network prefers to the
    reference scores below 0.

    Args:
        encoder: frozen features.
        head: trained.
    """

    def __init__(self, encoder: VaeEncoder, head: VaeQaHead) -> None:
        self.encoder, self.head = encoder, head

    def __call__(self, x: Tensor, x_init: Tensor) -> Tensor:
        """Distance of RGB pictures (B, 3, H, W) in [0, 1], shape (B,); 0 when equal, at most 1.

        Raises: ValueError if shapes differ or a side is below 16.
        """
        check_pair(x, x_init)
        losses = []
        height, width = x.shape[-2:]
        for rows, columns in even_crops(height, width, self.head.options.crop):
            reference = self.encoder(x_init[..., rows, columns])
            distorted = self.encoder(x[..., rows, columns])
            losses.append(self.head(reference, reference) - self.head(reference, distorted))
        return torch.stack(losses).mean(0).to(x.dtype)


def even_crops(height: int, width: int, crop: int) -> list[tuple[slice, slice]]:
    """The fewest evenly spaced squares that cover a picture; smaller pictures are one crop."""
    rows, columns = (_starts(side, crop) for side in (height, width))
    return [(slice(r, r + crop), slice(c, c + crop)) for r in rows for c in columns]


def _starts(side: int, crop: int) -> list[int]:
    if side <= crop:
        return [0]
    number = -(-side // crop)
    return [round(i * (side - crop) / (number - 1)) for i in range(number)]


def save_head(path: Path, head: VaeQaHead, channels: Sequence[int], facts: dict) -> None:
    """Write a trained head, with its sizes and what is known of its training.

    Raises: OSError if the file cannot be written.
    """
    from safetensors.torch import save

    from ..files.written import write_atomically

    about = {"kind": KIND, "channels": list(channels), "options": asdict(head.options), **facts}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    write_atomically(path, save(state, {"about": json.dumps(about)}))


def _about(head: Path) -> tuple[tuple[int, ...], VaeQaOptions]:
    """The channels of the VAE and the sizes that a head's file states."""
    where = f"{head} is no VAE-QA head"
    with reading(head, "VAE-QA head", MAKE_ONE):
        texts = file_metadata(head, "VAE-QA head")
        if "about" not in texts:
            raise FileError(f"{where} (it says of no kind): {MAKE_ONE}")
        about = parse_text(texts["about"], "its description")
        check_table(about, ABOUT, tuple(ABOUT), where, MAKE_ONE)
        check_table(about["options"], OPTIONS, tuple(OPTIONS), where, MAKE_ONE)
        given = {name: about["options"][name] for name in OPTIONS}
        return tuple(about["channels"]), VaeQaOptions(**{**given, "hidden": (*given["hidden"],)})


def load_vae_qa(head: Path, vae: Path, device: str | torch.device = "cpu") -> MeasuredFidelity:
    """A head of your own training on the VAE it was trained with.

    Args:
        head: file of `training/train_vae_qa.py`.
        vae: VAE file or folder.
        device: where the weights go.
    Raises: ValueError if a file is missing or damaged, or they do not fit each other.
    """
    head = Path(head)
    tensors = read_tensors(head, "trained VAE-QA head")
    channels, options = _about(head)
    encoder = load_vae_encoder(vae, device)
    if encoder.channels != channels:
        raise ValueError(
            f"{head} was trained on a VAE with maps of {channels} channels, {vae} has "
            f"{encoder.channels}: give the VAE it was trained with"
        )
    with reading(head, "VAE-QA head", MAKE_ONE), outline(len(tensors)):
        outlined = VaeQaHead(channels, options)
    check_module(outlined, tensors, "", head)
    module = load_module(VaeQaHead(channels, options), tensors, "", head)
    measure = VaeQa(encoder, module.to(device))  # type: ignore[arg-type]
    return MeasuredFidelity(KIND, measure, SMALLEST_SIDE)
