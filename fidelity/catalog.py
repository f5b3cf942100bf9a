"""The fidelity measures by name: what each is, its options, and what it needs."""

from ..files.catalog import lazily
from ..files.weight_files import WeightFile
from .fidelity_row import FidelityRow, plain

_TORCHVISION = "https://download.pytorch.org/models"
_STABILITY = "https://huggingface.co/stabilityai/sd-vae-ft-mse-original/resolve/main"
# torchvision's names end in the beginning of the file's SHA-256.
VGG16 = WeightFile(
    name="vgg16-397923af.pth",
    size_mb=528,
    url=f"{_TORCHVISION}/vgg16-397923af.pth",
    sha256="397923af",
    cache="checkpoints",
)
ALEXNET = WeightFile(
    name="alexnet-owt-7be5be79.pth",
    size_mb=233,
    url=f"{_TORCHVISION}/alexnet-owt-7be5be79.pth",
    sha256="7be5be79",
    cache="checkpoints",
)
VAE = WeightFile(
    name="vae-ft-mse-840000-ema-pruned.safetensors",
    size_mb=335,
    url=f"{_STABILITY}/vae-ft-mse-840000-ema-pruned.safetensors",
    sha256="735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75",
    cache="checkpoints",
    marker="config.json",
)
OURS = "Apache-2.0 (this pack), from the paper"
SP5 = f"{OURS}; filters MIT"
PLANES = ("planes",)

FIDELITIES: dict[str, FidelityRow] = {
    "low_resolution": FidelityRow(
        load=plain("low_resolution:low_resolution_distance"),
        summary="distance after downsampling (Eq. 20): holds content and colour, leaves detail "
        "free",
        range="0 to 1 (mse, rms)",
        licence=OURS,
        min_side=1,
        options=("scale", "reduction"),
        defaults={"reduction": "rms"},
        known_as="low_resolution_distance",
        unsaid={"scale": 4, "reduction": "mse"},
    ),
    "mse": FidelityRow(
        load=plain("pixel:mean_squared_error"),
        summary="mean square of every pixel",
        range="0 to 1",
        licence=OURS,
        min_side=1,
        known_as="mean_squared_error",
    ),
    "mae": FidelityRow(
        load=plain("pixel:mean_absolute_error"),
        summary="mean modulus of every pixel",
        range="0 to 1",
        licence=OURS,
        min_side=1,
        known_as="mean_absolute_error",
    ),
    "ms_ssim": FidelityRow(
        load=plain("ms_ssim:ms_ssim_distance"),
        summary="structure over up to five scales",
        range="0 to 1",
        licence=OURS,
        options=PLANES,
        known_as="ms_ssim_distance",
    ),
    "vif": FidelityRow(
        load=plain("information:vif_distance"),
        summary="visual information lost; more contrast than the input scores below 0",
        range="below 0 to 1",
        licence=SP5,
        options=PLANES,
        known_as="vif_distance",
    ),
    "cw_ssim": FidelityRow(
        load=plain("cw_ssim:cw_ssim_distance"),
        summary="local phase in one octave; forgives small shifts, does not see brightness",
        range="0 to 1",
        licence=OURS,
        options=PLANES,
        known_as="cw_ssim_distance",
    ),
    "mad": FidelityRow(
        load=plain("mad:mad_distance"),
        summary="visible error, or changed texture where errors are large",
        range="0 to a few hundred",
        licence=OURS,
        options=PLANES,
        known_as="mad_distance",
    ),
    "fsim": FidelityRow(
        load=plain("fsim:fsim_distance"),
        summary="phase congruency, gradient and chroma",
        range="0 to 1",
        licence=OURS,
        known_as="fsim_distance",
    ),
    "gmsd": FidelityRow(
        load=plain("deviation:gmsd_distance"),
        summary="how unevenly edges changed; does not see a change of level",
        range="0 to 0.5",
        licence=OURS,
        options=PLANES,
        known_as="gmsd_distance",
    ),
    "vsi": FidelityRow(
        load=plain("vsi:vsi_distance"),
        summary="saliency, gradient and chroma",
        range="0 to 1",
        licence=OURS,
        known_as="vsi_distance",
    ),
    "nlpd": FidelityRow(
        load=plain("nlpd:nlpd_distance"),
        summary="locally normalised Laplacian pyramid",
        range="0 to about 1",
        licence=OURS,
        options=PLANES,
        known_as="nlpd_distance",
    ),
    "lpips": FidelityRow(
        load=lazily(__package__, "lpips:load_lpips", network="vgg"),
        summary="deep features of VGG-16, weighted by human judgments",
        range="0 to about 1",
        licence="linear layers BSD-2-Clause; torchvision's VGG-16 BSD-3-Clause, trained on "
        "ImageNet",
        files=(VGG16,),
        known_as="lpips (vgg)",
    ),
    "lpips_alex": FidelityRow(
        load=lazily(__package__, "lpips:load_lpips", network="alex"),
        summary="deep features of AlexNet, weighted by human judgments",
        range="0 to about 1",
        licence="linear layers BSD-2-Clause; torchvision's AlexNet BSD-3-Clause, trained on "
        "ImageNet",
        files=(ALEXNET,),
        min_side=32,
        known_as="lpips (alex)",
    ),
    "dists": FidelityRow(
        load=lazily(__package__, "dists:load_dists"),
        summary="structure and texture of VGG-16's features; tolerant of resampled texture",
        range="0 to 1",
        licence="weights MIT; torchvision's VGG-16 BSD-3-Clause, trained on ImageNet",
        files=(VGG16,),
    ),
    "pamse": FidelityRow(
        load=plain("smoothed:pamse_distance"),
        summary="mean square after Gaussian smoothing",
        range="0 to 1",
        licence=OURS,
        min_side=1,
        options=("sigma",),
        known_as="pamse_distance",
    ),
    "mcsd": FidelityRow(
        load=plain("deviation:mcsd_distance"),
        summary="how unevenly local contrast changed",
        range="0 to 0.5",
        licence=OURS,
        options=PLANES,
        known_as="mcsd_distance",
    ),
    "ifc": FidelityRow(
        load=plain("information:ifc_distance"),
        summary="information fidelity lost, relative to the input's own; can be below 0",
        range="below 0 to 1",
        licence=SP5,
        options=PLANES,
        known_as="ifc_distance",
    ),
    "vae_features": FidelityRow(
        load=lazily(__package__, "vae_features:load_vae_features"),
        packages=("diffusers",),
        summary="features of Stable Diffusion's VAE encoder; not fitted to human judgments",
        range="0 to 4",
        licence="the VAE's: MIT for the file named here",
        files=(VAE,),
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
