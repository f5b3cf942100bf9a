"""The fidelity measures by name: what each is, its options, and what it needs."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.weight_files import WeightFile
from .cw_ssim import cw_ssim_distance
from .deviation import gmsd_distance, mcsd_distance
from .fidelity import Fidelity
from .fsim import fsim_distance
from .information import ifc_distance, vif_distance
from .low_resolution import low_resolution_distance
from .mad import mad_distance
from .ms_ssim import ms_ssim_distance
from .nlpd import nlpd_distance
from .pixel import mean_absolute_error, mean_squared_error
from .smoothed import pamse_distance
from .vsi import vsi_distance

Device = str | torch.device
_TORCHVISION = "https://download.pytorch.org/models"
_STABILITY = "https://huggingface.co/stabilityai/sd-vae-ft-mse-original/resolve/main"
# torchvision's names end in the beginning of the file's SHA-256.
VGG16 = WeightFile(
    "vgg16-397923af.pth", 528, f"{_TORCHVISION}/vgg16-397923af.pth", "397923af", "checkpoints"
)
ALEXNET = WeightFile(
    "alexnet-owt-7be5be79.pth",
    233,
    f"{_TORCHVISION}/alexnet-owt-7be5be79.pth",
    "7be5be79",
    "checkpoints",
)
VAE = WeightFile(
    "vae-ft-mse-840000-ema-pruned.safetensors",
    335,
    f"{_STABILITY}/vae-ft-mse-840000-ema-pruned.safetensors",
    cache="checkpoints",
    marker="config.json",
)


class FidelityRow(NamedTuple):
    """What is known of a measure.

    Attributes:
        summary: what it is, for tooltips.
        range: of its values, for tooltips; 0 when equal, lower is better.
        licence: of code and weights.
        measure: the function, whose further arguments are its options; None where `load` is set.
        options: their names.
        min_side: smallest side in pixels.
        load: (device, path of `file`) -> Fidelity.
        file: weight file it needs besides the pack's own.
    """

    summary: str
    range: str
    licence: str
    measure: Callable[..., Tensor] | None = None
    options: tuple[str, ...] = ()
    min_side: int = 16
    load: Callable[[Device, Path], Fidelity] | None = None
    file: WeightFile | None = None


def _lpips_vgg(device: Device, path: Path) -> Fidelity:
    from .lpips import load_lpips

    return load_lpips("vgg", device, path)


def _lpips_alex(device: Device, path: Path) -> Fidelity:
    from .lpips import load_lpips

    return load_lpips("alex", device, path)


def _dists(device: Device, path: Path) -> Fidelity:
    from .dists import load_dists

    return load_dists(device, path)


def _vae_features(device: Device, path: Path) -> Fidelity:
    from .vae_features import load_vae_features

    return load_vae_features(device, path)


OURS = "Apache-2.0 (this pack), from the paper"
SP5 = f"{OURS}; filters MIT"
PLANES = ("planes",)

FIDELITIES = {
    "low_resolution": FidelityRow(
        "distance after downsampling (Eq. 20): holds content and colour, leaves detail free",
        "0 to 1 (mse, rms)",
        OURS,
        low_resolution_distance,
        ("scale", "reduction"),
        1,
    ),
    "mse": FidelityRow("mean square of every pixel", "0 to 1", OURS, mean_squared_error, (), 1),
    "mae": FidelityRow("mean modulus of every pixel", "0 to 1", OURS, mean_absolute_error, (), 1),
    "ms_ssim": FidelityRow(
        "structure over up to five scales", "0 to 1", OURS, ms_ssim_distance, PLANES
    ),
    "vif": FidelityRow(
        "visual information lost; more contrast than the input scores below 0",
        "below 0 to 1",
        SP5,
        vif_distance,
        PLANES,
    ),
    "cw_ssim": FidelityRow(
        "local phase in one octave; forgives small shifts, does not see brightness",
        "0 to 1",
        OURS,
        cw_ssim_distance,
        PLANES,
    ),
    "mad": FidelityRow(
        "visible error, or changed texture where errors are large",
        "0 to a few hundred",
        OURS,
        mad_distance,
        PLANES,
    ),
    "fsim": FidelityRow("phase congruency, gradient and chroma", "0 to 1", OURS, fsim_distance),
    "gmsd": FidelityRow(
        "how unevenly edges changed; does not see a change of level",
        "0 to 0.5",
        OURS,
        gmsd_distance,
        PLANES,
    ),
    "vsi": FidelityRow("saliency, gradient and chroma", "0 to 1", OURS, vsi_distance),
    "nlpd": FidelityRow(
        "locally normalised Laplacian pyramid", "0 to about 1", OURS, nlpd_distance, PLANES
    ),
    "lpips": FidelityRow(
        "deep features of VGG-16, weighted by human judgments",
        "0 to about 1",
        "linear layers BSD-2-Clause; torchvision's VGG-16 BSD-3-Clause, trained on ImageNet",
        load=_lpips_vgg,
        file=VGG16,
    ),
    "lpips_alex": FidelityRow(
        "deep features of AlexNet, weighted by human judgments",
        "0 to about 1",
        "linear layers BSD-2-Clause; torchvision's AlexNet BSD-3-Clause, trained on ImageNet",
        min_side=32,
        load=_lpips_alex,
        file=ALEXNET,
    ),
    "dists": FidelityRow(
        "structure and texture of VGG-16's features; tolerant of resampled texture",
        "0 to 1",
        "weights MIT; torchvision's VGG-16 BSD-3-Clause, trained on ImageNet",
        load=_dists,
        file=VGG16,
    ),
    "pamse": FidelityRow(
        "mean square after Gaussian smoothing", "0 to 1", OURS, pamse_distance, ("sigma",), 1
    ),
    "mcsd": FidelityRow(
        "how unevenly local contrast changed", "0 to 0.5", OURS, mcsd_distance, PLANES
    ),
    "ifc": FidelityRow(
        "information fidelity lost, relative to the input's own; can be below 0",
        "below 0 to 1",
        SP5,
        ifc_distance,
        PLANES,
    ),
    "vae_features": FidelityRow(
        "features of Stable Diffusion's VAE encoder; not fitted to human judgments",
        "0 to 4",
        "the VAE's: MIT for the file named here",
        load=_vae_features,
        file=VAE,
    ),
}

REFUSED = {
    "vae_qa": "its authors publish no weights, and untrained it measures nothing; train your own "
    "with training/train_vae_qa.py, load it with fidelity.vae_qa.load_vae_qa, or use vae_features",
    "sff": "its learned filters exist in a MATLAB release only",
    "gti_cnn": "its weights exist in a MATLAB release only",
    "deepiqa": "its weights are not offered in a form that we could test; ours would be untried",
    "pieapp": "its weights are not offered in a form that we could test, and its patches need more "
    "memory than a diffusion model leaves",
}
