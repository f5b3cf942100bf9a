import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.edict.backbones import load_backbone
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.edict import Edict, EdictOptions
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.schedule import scaled_linear_alphas, vp_schedule
from latent_map.edict.tape import Tape
from latent_map.edict.tiling import tiles
from latent_map.edict.tiling.tiles import TiledDenoiser, Tiling, cover, spans, tiling

from .toys import ConvDenoiser, noise, picture

EXACT = 1e-12  # float64, the bound
PARTITION = 1e-15  # weights are divided by their sum in float64
NETWORK = 1e-6  # a float32 network
AS_WHOLE = 1e-5  # of velocities about 1; convolutions of another size round otherwise
CELL = 2  # pixels of a cell of the toys' latents

proofs = settings(max_examples=60, deadline=None)


@st.composite
def cuts(draw):
    """(size, tile, overlap, align, outputs) as pictures and networks have them."""
    align = draw(st.sampled_from([1, 2, 4, 8]))
    tile = align * draw(st.integers(2, 12))
    overlap = draw(st.integers(0, tile - align))
    size = draw(st.integers(1, 200))
    return size, tile, overlap, align, draw(st.sampled_from([1, 8]))


class WindowedConv(ConvDenoiser):
    """A toy whose condition is cut with the tile; remembers the largest latent it saw."""

    largest = 0

    def __call__(self, latent, label):
        WindowedConv.largest = max(WindowedConv.largest, latent.shape[-1] * latent.shape[-2])
        return super().__call__(latent, label)

    def window(self, top, left, height, width):
        part = WindowedConv(self.weight.shape[0], self.weight.dtype)
        rows = slice(top // CELL, (top + height) // CELL)
        columns = slice(left // CELL, (left + width) // CELL)
        part.condition = self.condition[..., rows, columns]
        return part


def tiled_conv(height=24, width=17, dtype=torch.float64, chosen=None):
    denoiser = WindowedConv(3, dtype, noise(5, 1, 3, height, width))
    return TiledDenoiser(denoiser, chosen or Tiling(20, 6, 2), CELL * height), denoiser


def by_hand(denoiser, latent, label):
    """The blended map written out, for autograd to differentiate."""
    output = torch.zeros_like(latent)
    for part in denoiser.parts(latent):
        tile = part.tile
        rows = slice(tile.rows.start, tile.rows.start + tile.rows.length)
        columns = slice(tile.columns.start, tile.columns.start + tile.columns.length)
        weights = tile.rows.weights[:, None] * tile.columns.weights[None, :]
        values = part.denoiser(latent[..., rows, columns], label).to(latent) * weights
        whole = torch.zeros_like(latent)
        whole[..., rows, columns] = values
        output = output + whole
    return output


def relative(ours, wanted):
    return float(((ours - wanted).norm() / wanted.norm()).detach())


@proofs
@given(cuts())
def test_tiles_are_equal_cover_the_size_and_share_the_overlap(cut):
    size, tile, overlap, align, _ = cut
    found = spans(*cut)
    assert {span.length for span in found} == {min(size, tile)}
    assert found[0].start == 0
    assert found[-1].start + found[-1].length == size
    for before, after in pairwise(found):
        assert after.start > before.start
        assert before.start + tile - after.start >= overlap
    if (size - tile) % align == 0:
        assert all(span.start % align == 0 for span in found)


@proofs
@given(cuts())
def test_weights_sum_to_one_everywhere_and_none_is_negative(cut):
    size, _, _, _, outputs = cut
    total = torch.zeros(size * outputs, dtype=torch.float64)
    for span in spans(*cut):
        assert (span.weights >= 0).all()
        total[span.start * outputs :][: len(span.weights)] += span.weights
    assert float((total - 1).abs().max()) <= PARTITION


@proofs
@given(cuts(), st.integers(0, 40))
def test_a_margin_is_seen_and_weighs_nothing(cut, margin):
    size, _, _, _, outputs = cut
    for plain, span in zip(spans(*cut), spans(*cut, margin), strict=True):
        before, after = max(0, plain.start - margin), plain.start + plain.length + margin
        assert (span.start, span.start + span.length) == (before, min(size, after))
        wanted = torch.zeros(size * outputs, dtype=torch.float64)
        wanted[plain.start * outputs :][: len(plain.weights)] = plain.weights
        assert torch.equal(wanted[span.start * outputs :][: len(span.weights)], span.weights)
        assert len(span.weights) == span.length * outputs


def test_tiles_with_a_margin_as_far_as_the_network_sees_are_the_whole():
    """The toy is one convolution of 3 x 3: it sees a cell, CELL pixels."""
    latent = noise(1, 1, 3, 24, 17)
    exact, denoiser = tiled_conv(chosen=tiling(20, 2, reach=CELL))
    usual, _ = tiled_conv(chosen=tiling(20, 2))
    whole = denoiser(latent, 400.0)
    assert len(exact.parts(latent)) > 1
    assert relative(exact(latent, 400.0), whole) < EXACT
    assert relative(usual(latent, 400.0), whole) > 1e-3


def test_places_that_one_tile_covers_have_weight_one_in_the_corners_too():
    first, *_, last = cover(40, 40, Tiling(16, 4))
    corner = torch.ones(1, 1, 16, 16)
    canvas = torch.zeros(1, 1, 40, 40)
    first.blend(corner, canvas)
    last.blend(corner, canvas)
    assert canvas[0, 0, 0, 0] == canvas[0, 0, -1, -1] == 1
    assert (canvas[0, 0, :10, :10] == 1).all()


def test_weights_rise_smoothly_from_zero_at_a_tiles_inner_border():
    _, second, *_ = spans(256, 64, 32)
    rise = second.weights[:32]
    assert float(rise[0]) == 0
    assert float(rise[1:].diff().min()) >= 0
    assert float(rise.diff().max()) < 0.08  # a step would be 1
    assert float(rise[-1]) == 1


def test_tiles_that_cannot_work_are_refused_with_what_to_choose():
    with pytest.raises(ValueError, match=r"tiles of 20 pixels do not fit.*multiple of 16"):
        tiling(20, 16)
    with pytest.raises(ValueError, match=r"overlap of 64 pixels.*choose 1 to 48"):
        Tiling(64, 64, 16)


@pytest.mark.parametrize("size", [(24, 17), (9, 31), (10, 10), (5, 40)])
def test_the_tiled_map_and_its_gradient_are_those_of_the_blend_written_out(size):
    denoiser, _ = tiled_conv(*size)
    latent = noise(1, 2, 3, *size).requires_grad_(True)
    loss = noise(2, 2, 3, *size)
    ours, wanted = denoiser(latent, 300.0), by_hand(denoiser, latent, 300.0)
    assert relative(ours, wanted) < EXACT
    (pulled,) = torch.autograd.grad(ours, latent, loss)
    (expected,) = torch.autograd.grad(wanted, latent, loss)
    assert relative(pulled, expected) < EXACT


def test_a_latent_no_larger_than_a_tile_is_the_untiled_map():
    denoiser, untiled = tiled_conv(8, 10)
    latent = noise(1, 1, 3, 8, 10)
    assert len(denoiser.parts(latent)) == 1
    assert torch.equal(denoiser(latent, 300.0), untiled(latent, 300.0))


def test_the_network_sees_tiles_of_one_shape_only():
    denoiser, _ = tiled_conv(31, 22)
    shapes = {
        part.cut(noise(1, 1, 3, 31, 22)).shape for part in denoiser.parts(noise(1, 1, 3, 31, 22))
    }
    assert shapes == {(1, 3, 10, 10)}
    WindowedConv.largest = 0
    latent = noise(1, 1, 3, 31, 22).requires_grad_(True)
    denoiser(latent, 10.0).sum().backward()
    assert WindowedConv.largest == 100


def test_the_condition_is_cut_with_the_tile():
    denoiser, untiled = tiled_conv(24, 17)
    for part in denoiser.parts(noise(0, 1, 3, 24, 17)):
        assert torch.equal(part.denoiser.condition, part.tile.cut(untiled.condition))


def bijection(denoiser, steps=5):
    return Edict(denoiser, vp_schedule(scaled_linear_alphas(), steps, "v", "trailing"), 0.93)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, EXACT), (torch.float32, NETWORK)])
def test_the_round_trip_stays_exact_on_tiles(dtype, bound):
    denoiser, _ = tiled_conv(24, 17, dtype)
    latent = noise(3, 1, 3, 24, 17)
    pair = bijection(denoiser).invert(LatentPair(latent, latent))
    back = bijection(denoiser).reconstruct(pair)
    assert max(relative(z, latent) for z in back) < bound
    untiled = bijection(denoiser.denoiser).invert(LatentPair(latent, latent))
    assert relative(pair.x, untiled.x) > NETWORK  # it is another map


@pytest.mark.parametrize("memory", ["store", "recompute", "auto", 7])
def test_the_tapes_gradient_on_tiles_is_autograds(memory):
    denoiser, _ = tiled_conv(24, 17)
    pair = LatentPair(noise(3, 1, 3, 24, 17), noise(4, 1, 3, 24, 17))
    map_ = bijection(denoiser, 3)
    tape = Tape(map_.calls, memory)
    image = map_.reconstruct(pair, tape)
    ours = map_.pull_back(tape, LatentPair(image.x.cos(), image.y))
    leaves = LatentPair(*(z.clone().requires_grad_(True) for z in pair))
    plain = bijection(lambda latent, label: by_hand(denoiser, latent, label), 3)
    out = plain.reconstruct(leaves)
    wanted = torch.autograd.grad(out.x.sin().sum() + out.y.square().sum() / 2, leaves)
    assert max(relative(a, b) for a, b in zip(ours, wanted, strict=True)) < EXACT


@pytest.mark.parametrize(("memory", "again"), [("store", 0), ("recompute", 1)])
def test_no_tile_is_computed_more_often_than_the_memory_mode_says(memory, again):
    denoiser, _ = tiled_conv(24, 17)
    latent = noise(3, 1, 3, 24, 17)
    map_ = bijection(denoiser, 2)
    tape = Tape(map_.calls, memory)
    pair = map_.invert(LatentPair(latent, latent), tape)
    map_.pull_back(tape, pair)
    parts = denoiser.parts(latent)
    assert len(parts) == 6
    assert [part.denoiser.calls for part in parts] == [map_.calls * (1 + again)] * 6


def test_a_tapes_kept_activations_are_counted_in_tiles():
    denoiser, _ = tiled_conv(24, 17)
    latent = noise(3, 1, 3, 24, 17)
    map_ = bijection(denoiser, 2)
    tape = Tape(map_.calls, 5)
    pair = map_.invert(LatentPair(latent, latent), tape)
    map_.pull_back(tape, pair)
    calls = sum(part.denoiser.calls for part in denoiser.parts(latent))
    assert calls == 2 * 6 * map_.calls - 5


@pytest.fixture(scope="module")
def pocket():
    return load_backbone("pocket")


def test_the_pocket_denoisers_window_has_the_pictures_part_of_all_that_has_places(pocket):
    whole = pocket.bind(picture(2, 96, 64)).denoiser
    part = whole.window(32, 16, 48, 32)
    bound = {name: value for name, value in vars(whole).items() if torch.is_tensor(value)}
    assert bound.keys() == {"condition", "degradation"}
    for name, value in bound.items():
        wanted = value[..., 8:20, 4:12] if value.ndim == 4 else value
        assert torch.equal(getattr(part, name), wanted)
    assert part(noise(1, 1, 48, 12, 8), 400.0).shape == (1, 48, 12, 8)


def test_the_pocket_denoiser_on_tiles_round_trips(pocket):
    image = picture(2, 96, 64)
    denoiser = TiledDenoiser(pocket.bind(image).denoiser, tiling(48, 16), 96)
    latent = torch.zeros(1, 48, 24, 16, dtype=torch.float64)
    map_ = Edict(denoiser, pocket.schedule(4, "trailing"), 0.93)
    assert len(denoiser.parts(latent)) == 8
    back = map_.reconstruct(map_.invert(LatentPair(latent, latent)))
    assert max(float(z.norm()) for z in back) / math.sqrt(latent.numel()) < NETWORK


def test_the_pocket_denoiser_on_tiles_is_the_untiled_one(pocket):
    image = picture(2, 64, 736).float()
    image = (image + 0.1 * noise(3, *image.shape).float()).clamp(0, 1)
    options = InversionOptions(4, bijection=EdictOptions(0.93), tile=128)
    tiled = bind_picture(pocket, image, options)
    whole = bind_picture(pocket, image, replace(options, tile=None))
    latent, gradient = noise(1, 1, 48, 16, 184), noise(2, 1, 48, 16, 184)
    assert isinstance(tiled.bijection.denoiser, TiledDenoiser)
    widths = [part.tile.columns.length for part in tiled.bijection.denoiser.parts(latent)]
    assert max(widths) < 184
    for label in (999.0, 500.0, 100.0):
        ours, wanted = (
            with_graph(bound.bijection.denoiser, latent, label) for bound in (tiled, whole)
        )
        assert (ours[1] - wanted[1]).abs().max() < AS_WHOLE
        by_tiles, by_whole = (vector_jacobian(*pair, gradient) for pair in (ours, wanted))
        assert (by_tiles - by_whole).abs().max() < AS_WHOLE * by_whole.abs().max()


def test_the_pocket_denoiser_sees_no_further_than_it_says(pocket):
    """And not much less: half of it would not do."""
    image, latent = picture(2, 64, 736), noise(1, 1, 48, 16, 184)
    denoiser = pocket.bind(image).denoiser
    part = denoiser.window(0, 0, 64, 512)(latent[..., :128], 999.0)
    apart = (part - denoiser(latent, 999.0)[..., :128]).abs()
    cells = pocket.reach // 4
    assert apart[..., : 128 - cells].max() < AS_WHOLE
    assert apart[..., 128 - cells // 2 :].max() > 100 * AS_WHOLE


@pytest.fixture(scope="module")
def unet():
    """A small U-Net with group norms and random weights, halving twice."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=1,
        add_attention=False,
        norm_num_groups=4,
    )
    return Everywhere(network.double().eval().requires_grad_(False))


class Everywhere:
    """A network without a condition."""

    def __init__(self, network):
        self.network = network

    def __call__(self, latent, label):
        return self.network(latent, label, return_dict=False)[0]

    def window(self, *extent):
        return self


def seam(unet):
    """Tiled minus untiled output, where tiles overlap and where not; cells of 4 pixels.

    Returns: mean difference at borders and inside; mean jump from cell to cell across the middle
        of an overlap, where hard tiles would meet, and elsewhere.
    """
    coarse = F.interpolate(noise(2, 1, 4, 4, 8), size=(16, 56), mode="bicubic")
    latent = noise(1, 1, 4, 16, 56) + 4 * coarse
    cut = tiling(128, 16)
    with torch.no_grad():
        error = TiledDenoiser(unet, cut, 64)(latent, 500.0) - unet(latent, 500.0)
    starts = [span.start for span in spans(56, 32, cut.overlap // 4, 4)]
    counts = torch.zeros(56)
    for start in starts:
        counts[start : start + 32] += 1
    size = error.abs().mean((0, 1, 2))
    jumps = error.diff(dim=-1).abs().mean((0, 1, 2))
    met = [(before + 32 + after) // 2 - 1 for before, after in pairwise(starts)]
    apart = [i for i in range(len(jumps)) if i not in met]
    sizes = float(size[counts > 1].mean()), float(size[counts == 1].mean())
    return *sizes, float(jumps[met].mean()), float(jumps[apart].mean())


def test_tiles_differ_from_the_whole_no_more_at_their_borders_than_inside(unet):
    borders, inside, met, apart = seam(unet)
    assert borders < inside  # 0.023 and 0.027
    assert met < 1.2 * apart  # 0.017 and 0.015: few columns against many


def test_hard_tiles_would_show_their_borders(unet, monkeypatch):
    def step(length, margin, rise):
        return (torch.arange(length) >= margin + rise // 2).double()

    monkeypatch.setattr(tiles, "_ramp", step)
    borders, inside, met, apart = seam(unet)
    assert borders > inside
    assert met > 3 * apart  # 0.059 and 0.016
