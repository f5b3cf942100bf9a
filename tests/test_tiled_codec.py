from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from latent_map.edict.backbones.stable_diffusion.denoiser import VaeCodec
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.protocols import Binding
from latent_map.edict.tiling import frozen_norms
from latent_map.edict.tiling.codec import TiledCodec
from latent_map.edict.tiling.frozen_norms import FrozenNorms
from latent_map.edict.tiling.tiles import TiledDenoiser, Tiling
from torch import nn

from .test_tiles import WindowedConv
from .toys import ToyBackbone, edict, noise, picture

EXACT = 1e-12  # float64, the bound
CELL = 4  # pixels of a latent's cell
TILING = Tiling(32, 16, 16)
HEIGHT, WIDTH = 40, 56


@pytest.fixture(scope="module")
def vae():
    """A small autoencoder of Stable Diffusion's kind with random weights, float64."""
    from diffusers import AutoencoderKL

    torch.manual_seed(3)
    network = AutoencoderKL(
        block_out_channels=(4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
    )
    return network.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def image():
    return picture(1, HEIGHT, WIDTH).double()


@pytest.fixture(scope="module")
def tiled(vae, image):
    return TiledCodec(VaeCodec(vae), image, TILING)


def own_latent(image):
    """A latent with the picture's structure: what random weights encode has none."""
    colours = F.avg_pool2d(image, CELL)
    colours = (colours - colours.mean()) / colours.std()
    return torch.cat((colours, noise(4, 1, 1, *colours.shape[-2:])), 1)


def relative(ours, wanted):
    return float((ours - wanted).detach().norm() / wanted.detach().norm())


class Pointwise(nn.Module):
    """Norms and 1x1 convolutions: a tile needs nothing of its neighbours but the statistics."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        channels = (3, 8, 8, 4)
        pairs = pairwise(channels)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(g, c) for g, c in ((4, 8), (2, 8), (4, 4)))
        for norm in self.norms:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
        self.double().requires_grad_(False)

    def forward(self, x):
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x)).sin()
        return x


class PointwiseCodec:
    """Encodes by a Pointwise network."""

    def __init__(self):
        self.vae = Pointwise()

    def encode(self, image):
        return self.vae(F.avg_pool2d(image.double(), CELL))

    def decode(self, latent):
        return F.interpolate(self.vae(latent[:, :3]), scale_factor=CELL)[:, :3]


def test_a_network_without_reach_is_the_untiled_one_exactly(image, monkeypatch):
    monkeypatch.setattr(frozen_norms, "SETTLED", 0.0)
    codec = PointwiseCodec()
    tiled = TiledCodec(codec, image, TILING)
    assert relative(tiled.encode(image), codec.encode(image)) < EXACT
    latent = codec.encode(image)
    assert relative(tiled.decode(latent), codec.decode(latent)) < EXACT


def test_without_the_whole_pictures_statistics_it_would_not_be(image, monkeypatch):
    monkeypatch.setattr(FrozenNorms, "_replaced", lambda self, forward: torch.no_grad())
    monkeypatch.setattr(FrozenNorms, "measure", lambda self, calls: 0)
    codec = PointwiseCodec()
    assert relative(TiledCodec(codec, image, TILING).encode(image), codec.encode(image)) > 0.05


def test_statistics_settle_after_as_many_passes_as_there_are_norms(image, monkeypatch):
    monkeypatch.setattr(frozen_norms, "SETTLED", EXACT)
    codec, passes = PointwiseCodec(), []
    measure = FrozenNorms.measure
    tiled = TiledCodec(codec, image, TILING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FrozenNorms, "measure", lambda self, calls: passes.append(measure(self, calls))
        )
        tiled.encode(image)
    assert passes == [4]  # three norms, and the pass that finds nothing changed


def blended(half, x):
    """The tiled map written out, for autograd to differentiate."""
    shape = [side // half.inputs * half.outputs for side in x.shape[-2:]]
    items = []
    for item, single in enumerate(x.split(1)):
        whole = 0.0
        for tile in half.tiles(x):
            weights = tile.rows.weights[:, None] * tile.columns.weights
            y = half.call(item, tile.cut(single)) * weights
            top, left = tile.rows.start * half.outputs, tile.columns.start * half.outputs
            below, right = shape[0] - top - y.shape[-2], shape[1] - left - y.shape[-1]
            whole = whole + F.pad(y, (left, right, top, below))
        items.append(whole)
    return torch.cat(items)


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_value_and_gradient_are_those_of_the_blended_map(way, tiled, image):
    start = image if way == "encode" else own_latent(image)
    x = torch.cat((start, start.flip(-1))).requires_grad_(True)  # the pair's two members
    ours = getattr(tiled, way)(x)
    wanted = blended(tiled._encoder if way == "encode" else tiled._decoder, x)
    assert relative(ours, wanted) < EXACT
    loss = noise(8, *ours.shape)
    (pulled,) = torch.autograd.grad(ours, x, loss)
    (expected,) = torch.autograd.grad(wanted, x, loss)
    assert relative(pulled, expected) < EXACT


def test_one_tile_is_the_untiled_codec(vae, image):
    codec = VaeCodec(vae)
    tiled = TiledCodec(codec, image, Tiling(64, 16, 16))
    assert relative(tiled.encode(image), codec.encode(image)) < EXACT
    latent = codec.encode(image)
    assert relative(tiled.decode(latent), codec.decode(latent)) < EXACT


def test_the_network_is_left_as_it_was(vae, tiled, image):
    before = VaeCodec(vae).encode(image)
    tiled.encode(image)
    assert torch.equal(VaeCodec(vae).encode(image), before)
    assert not any("forward" in vars(module) for module in vae.modules())
    own = vae.encoder.conv_norm_out.forward = vae.encoder.conv_norm_out.forward
    tiled.encode(image)
    assert vae.encoder.conv_norm_out.forward is own
    del vae.encoder.conv_norm_out.forward


def test_the_same_call_gives_the_same_bits(tiled, vae, image):
    again = TiledCodec(VaeCodec(vae), image, TILING)
    assert torch.equal(again.encode(image), tiled.encode(image))
    latent = own_latent(image)
    assert torch.equal(again.decode(latent), tiled.decode(latent))


def test_statistics_are_each_pictures_own(vae, tiled, image):
    other = 0.5 * picture(7, HEIGHT, WIDTH).double()
    both = torch.cat((image, other))
    together = TiledCodec(VaeCodec(vae), both, TILING).encode(both)
    alone = TiledCodec(VaeCodec(vae), other, TILING).encode(other)
    assert relative(together, torch.cat((tiled.encode(image), alone))) < EXACT


class VaeBackbone(ToyBackbone):
    """A toy denoiser behind a real autoencoder."""

    multiple = 16

    def __init__(self, vae):
        super().__init__()
        self.codec = VaeCodec(vae)

    def bind(self, image):
        height, width = (side // CELL for side in image.shape[-2:])
        condition = 0.3 * noise(9, 1, 4, height, width)
        return Binding(CelledConv(4, condition=condition), self.codec)


class CelledConv(WindowedConv):
    """The toy with this autoencoder's cell."""

    def window(self, top, left, height, width):
        part = CelledConv(4)
        rows = slice(top // CELL, (top + height) // CELL)
        part.condition = self.condition[..., rows, left // CELL : (left + width) // CELL]
        return part


def test_pictures_larger_than_a_tile_get_a_tiled_denoiser_and_codec(vae, image):
    backbone = VaeBackbone(vae)
    latents = invert_picture(backbone, image, edict(3, tile=32))
    assert isinstance(latents.bound.bijection.denoiser, TiledDenoiser)
    assert isinstance(latents.bound.codec, TiledCodec)
    assert round_trip_error(latents) < EXACT
    whole = invert_picture(backbone, image, edict(3, tile=96))
    assert not isinstance(whole.bound.bijection.denoiser, TiledDenoiser)
    assert not isinstance(whole.bound.codec, TiledCodec)
