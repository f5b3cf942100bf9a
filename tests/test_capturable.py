"""What is captured as a CUDA graph does nothing that a capture forbids, as fake tensors see it.

These are the very functions that `edict/backbones/graphed.py` captures, through small networks of
every kind. Their gradients are walked on the CPU, in tests/test_graphed.py.
"""

from dataclasses import replace

import pytest
import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.backbones.graphed import _Captured
from latent_map.edict.backbones.stable_diffusion.denoiser import Networks, UNetDenoiser, VaeCodec
from latent_map.edict.backbones.stable_diffusion.text import Conditioning
from latent_map.edict.tiling.binding import tiled
from latent_map.files.image_values import checked_image
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.clip.clipiqa import ClipIqa
from latent_map.iqa_priors.clip.liqe import Liqe, one_level
from latent_map.iqa_priors.clip.model import Clip, clip_tensors, shape_of
from latent_map.iqa_priors.clip.ms_liqe import three_levels
from latent_map.iqa_priors.clip.qualiclip import qualiclip
from latent_map.iqa_priors.pocket import PocketPrior
from torch import Tensor

from . import clip_weights as cw
from . import tiny_diffusers as tiny
from .fake_cuda import FakeCuda, forbidden
from .tiny_diffusers import SIDE
from .tiny_pictures import load
from .tiny_seesr import write_seesr

CELLS = SIDE // 8
# With a ControlNet, but for "guided" (two branches) and "told" (the guidance is an input).
KINDS = (*tiny.FAMILIES, "guided", "told", "seesr", "exact")
HALF = torch.bfloat16  # as on GPUs; the autoencoder is float32 there, too
LCM = replace(tiny.SD15, told=16)


@pytest.fixture(scope="module")
def device():
    return FakeCuda()


@pytest.fixture(
    scope="module", params=["sd15", "sd2", "sd2_v", "sdxl", "guided", "told", "seesr", "exact"]
)
def backbone(models, tmp_path_factory, device, request):
    """Each with what the others lack: a ControlNet, guidance, one that is told, image tokens."""
    name = request.param
    if name == "told":
        folder = tmp_path_factory.mktemp("told")
        tiny.write_folder(folder / "lcm", LCM, _class_name="LCMScheduler")
        plain = load(folder, "lcm", cfg=8.5)
    elif name == "seesr":
        files = write_seesr(tmp_path_factory.mktemp("seesr"))
        plain = load_backbone("seesr", without_dape=True, **files)
    elif name == "guided":
        plain = load(models, "sd15", cfg=2.0, negative="noise", prompt="photo")
    else:
        name = "sd15" if name == "exact" else name
        plain = load(models, name, controlnet=str(models / f"{name}_control"))
    return on(device, plain, torch.float32 if request.param == "exact" else HALF)


def on(device: FakeCuda, backbone, dtype=HALF):
    """The backbone, its networks and its text on the device."""
    told, given = backbone.conditioning, backbone.networks
    pooled = None if told.pooled is None else device.tensor(told.pooled)
    backbone.conditioning = Conditioning(device.tensor(told.text), pooled)
    control = None if given.controlnet is None else device.network(given.controlnet, dtype)
    unet, vae = device.network(given.unet, dtype), device.network(given.vae)
    backbone.networks = Networks(unet, control, vae)
    return backbone


def picture(side: int = SIDE) -> Tensor:
    return torch.zeros(1, 3, side, side, device="cuda")


def latent(cells: int = CELLS) -> Tensor:
    return torch.zeros(1, 4, cells, cells, dtype=torch.float64, device="cuda")


def captured(denoiser, latent: Tensor):
    """The function that is captured for such latents; nothing is."""
    return _Captured(denoiser, latent, capture=pytest.fail)._call


# Network calls


def test_a_network_call_can_be_captured(backbone, device):
    with device.entered():
        denoiser = backbone.bind(picture()).denoiser
        assert forbidden(captured(denoiser, latent())) == []


def test_a_call_on_a_tile_can_be_captured(backbone, device):
    with device.entered():
        image = picture(2 * SIDE)
        denoiser = tiled(backbone.bind(image), image, SIDE, backbone).denoiser
        part = denoiser.parts(latent(2 * CELLS))[-1]
        assert part.tile is not None
        assert forbidden(captured(part.denoiser, latent())) == []


class _Spoilt(UNetDenoiser):
    """A denoiser that does something besides."""

    def __call__(self, latent, label):
        return super().__call__(latent, label) + self.spoil(latent, label)


SPOILS = {
    "reads its label": lambda latent, label: float(label),
    "decides by its input": lambda latent, label: 1.0 if latent.max() > 0 else 0.0,
    "copies a constant": lambda latent, label: torch.ones(1).to(latent.device),
    "makes a tensor of numbers": lambda latent, label: torch.tensor(3.0, device=latent.device),
    "makes a tensor like its input": lambda latent, label: latent.new_tensor([3.0]),
    "selects by a mask": lambda latent, label: latent[latent > 0].sum(),
    "writes by a mask": lambda latent, label: latent.index_put((latent > 0,), latent.sum()),
    "selects by numbers of the processor's": lambda latent, label: latent[..., torch.tensor([0])],
    "counts": lambda latent, label: latent.nonzero().sum(),
    "goes by the processor": lambda latent, label: latent.cpu().sin().to(latent.device),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
def test_what_cannot_be_captured_is_seen(models, device, spoil):
    backbone = on(device, load(models, "sd15"))
    with device.entered():
        denoiser = _Spoilt(backbone.networks, backbone.conditioning, picture())
        denoiser.spoil = spoil
        found = forbidden(captured(denoiser, latent()))
    assert found
    assert all(place.where.startswith("test_capturable.py:") for place in found)


def test_a_number_of_the_processors_goes_along_with_a_kernel(device):
    with device.entered():
        x, number = torch.zeros(3, device="cuda"), torch.tensor(2.0)
        assert forbidden(lambda: (x * number, torch.where(x > 0, 0.0, x), x.fill_(2.0))) == []


# What else an iteration calls


@pytest.fixture(scope="module")
def pictures(device):
    with device.entered():
        return torch.zeros(2, 3, 400, 340, device="cuda")


@torch.no_grad()
def test_the_autoencoder_can_be_captured(models, device):
    codec = VaeCodec(on(device, load(models, "sd15")).networks.vae)
    with device.entered():
        latents = torch.zeros(2, 4, 8, 8, dtype=torch.float64, device="cuda")
        assert forbidden(lambda: codec.encode(codec.decode(latents))) == []


def clip(checkpoint) -> Clip:
    tensors = clip_tensors(checkpoint)
    network = Clip(shape_of(tensors))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def transformer() -> Clip:
    return clip(cw.transformer_checkpoint())


def residual() -> Clip:
    return clip(cw.resnet_checkpoint())


# Of the pack's own networks at small size: network and texts on the device to a metric.
JUDGES = {
    "pocket": (PocketPrior, lambda network, _: network),
    "liqe": (transformer, lambda network, texts: Liqe(network, texts, one_level).covering),
    "ms_liqe": (transformer, lambda network, texts: Liqe(network, texts, three_levels()).covering),
    "clipiqa": (residual, ClipIqa),
    "clipiqa+_rn50_512": (residual, lambda *parts: ClipIqa(*parts, positions=True)),
    "clipiqa+_vitL14_512": (
        transformer,
        lambda *parts: lambda image: ClipIqa(*parts, positions=True)(image, whole=True),
    ),
    "qualiclip": (residual, qualiclip),
}
# The same networks with other weights or texts.
SAME = {"liqe_mix": "liqe", "clipiqa+": "clipiqa", "qualiclip+": "qualiclip"}


def test_every_prior_that_is_captured_is_walked():
    assert {name for name, row in PRIORS.items() if row.capturable} == {*JUDGES, *SAME}


@torch.no_grad()
@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_can_be_captured(device, pictures, name):
    build, metric_of = JUDGES[name]
    network = device.network(build())
    texts = device.tensor(torch.zeros(10, cw.FEATURES))
    with device.entered():
        metric = metric_of(network, texts)
        metric(pictures)  # constants go to the device at the first call, before a capture
        assert forbidden(lambda: metric(pictures)) == []


@torch.no_grad()
def test_a_judge_that_reads_its_pictures_is_seen(device, pictures):
    network = device.network(PocketPrior())
    with device.entered():
        assert forbidden(lambda: network(checked_image(pictures)))
