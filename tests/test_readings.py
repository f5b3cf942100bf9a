"""How often an iteration has the processor wait for a device; each time a GPU runs dry.

Counted on a simulated GPU, gradients and optimisers included.
"""

import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from latent_map.edict.backbones.stable_diffusion.text import Conditioning
from latent_map.edict.tiling.codec import _Half
from latent_map.edict.tiling.frozen_norms import FrozenNorms, Place, PlacedCall
from latent_map.edict.tiling.tiles import Tiling, cover
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.fidelity.loading import load_fidelity
from latent_map.files import devices
from latent_map.iqa_priors.clip.clipiqa import build_clipiqa
from latent_map.iqa_priors.clip.liqe import build_liqe
from latent_map.iqa_priors.clip.model import built_clip
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.pocket import load_pocket_scorer
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.restraints import FREE, Restraints
from latent_map.map_estimation.settings import MapSettings, preset
from latent_map.map_estimation.solver import MapSolver
from torch import nn

from . import clip_weights
from . import tiny_diffusers as tiny
from .simulated_gpu import GPU, Waits
from .tiny_diffusers import SIDE
from .tiny_pictures import load
from .toys import PRIOR, ToyBackbone, edict, fidelity, picture

ONCE = Counter({("copies from", "iterate.py:read_numbers"): 1})
# Pictures, latents and variables of a new best go to the CPU, when the device has nothing to do.
BEST = 4
SIDES = 96  # of pictures that every fidelity measure takes
# MAD's filters are as large as the picture, and too many to be kept on the device.
COPIED = {"mad": 20}
NEED_FILES = ("lpips", "lpips_alex", "dists", "vae_features")


@pytest.fixture(autouse=True)
def as_cuda(monkeypatch):
    """The meta device is taken for one that has float64, and is not asked for autocast."""
    monkeypatch.setattr(devices, "_has_float64", lambda _kind: True)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny.write_folder(folder / "sd15", tiny.SD15)
    tiny.write_controlnet(folder / "control", tiny.SD15)
    loaded = load(folder, "sd15", controlnet=str(folder / "control"))
    for network in vars(loaded.networks).values():
        network.to(GPU)
    loaded.conditioning = Conditioning(loaded.conditioning.text.to(GPU), None)
    return loaded


def on_gpu(metric):
    return replace(metric, clip=metric.clip.to(GPU), text=metric.text.to(GPU))


def liqe():
    clip = built_clip(clip_weights.transformer_checkpoint(), Path("clip"))
    return on_gpu(build_liqe(clip)).covering


def clipiqa():
    return on_gpu(build_clipiqa(built_clip(clip_weights.resnet_checkpoint(), Path("clip"))))


JUDGES = {
    "pocket": lambda: load_pocket_scorer(GPU).official,
    "liqe": liqe,
    "clipiqa": clipiqa,
}


def settings_of(name: str, **changes) -> MapSettings:
    """A preset with few steps and iterations, without the checks of a start."""
    chosen = preset(name)
    changes |= {"check_round_trip": False, "check_gradient": False, "draws": 1}
    return replace(chosen, inversion=edict(1, tile=None), iterations=2, **changes)


def waits(
    backbone,
    settings: MapSettings,
    prior=PRIOR,
    measure="mse",
    side: int = SIDE,
    restraints=FREE,
    falling: bool = False,
) -> Counter:
    """Those of the second iteration."""
    enhancer = Enhancer(backbone, prior, load_fidelity(measure), settings)
    seen = []
    with Waits(falling) as counted:
        image = torch.zeros(1, 3, side, side, device=GPU)
        space, objective = enhancer.problem(image, restraints)
        solver = MapSolver(space, image, objective, settings, restraints.of(image))
        solver.run(moved=lambda: seen.append(counted.found.copy()))
    assert len(seen) == settings.iterations + 1
    return seen[1] - seen[0]


@pytest.mark.parametrize("name", ["fast", "paper", "pixel_map"])
def test_an_iteration_waits_once(backbone, name):
    assert waits(backbone, settings_of(name)) == ONCE


def test_a_tile_s_weights_go_to_the_device_once():
    tiles = cover(8, 8, Tiling(4, 2))
    canvas = torch.zeros(1, 4, 8, 8, device=GPU)
    with Waits() as counted:
        for tile in (*tiles, *tiles):
            tile.blend(tile.cut(canvas), canvas)
            tile.spread(tile.weigh(canvas), canvas)
    assert counted.found.total() <= 2 * len(tiles)


def test_measuring_norms_waits_once_a_pass():
    norms = FrozenNorms(nn.Sequential(nn.GroupNorm(1, 4), nn.GroupNorm(2, 4)).to(GPU))
    tiles, x = cover(8, 8, Tiling(4, 2)), torch.zeros(1, 4, 4, 4, device=GPU)
    calls = [
        PlacedCall(
            Place(4, 4, lambda _, tile=tile: (tile.rows.weights, tile.columns.weights)),
            lambda: [norm(x) for norm in norms.norms],
        )
        for tile in tiles
    ]
    with Waits() as counted:
        passes = norms.measure(calls)
    assert passes > 1
    copied = {what: count for (what, _), count in counted.found.items()}
    weights = {id(each) for t in tiles for each in (t.rows.weights, t.columns.weights)}
    assert copied == {"reads": passes - 1, "copies to": len(weights)}


def test_an_autoencoder_s_tiles_are_cut_once():
    half = _Half(lambda x: x, nn.Identity(), Tiling(4, 2), (1, 1))
    x = torch.zeros(2, 4, 8, 8)
    assert half.tiles(x) is half.tiles(x[:1])


def test_a_new_best_is_brought_away_besides(backbone):
    found = waits(backbone, settings_of("paper"), falling=True) - ONCE
    assert found.total() == BEST
    assert all(what == "copies from" for what, _ in found)


@pytest.mark.parametrize("name", JUDGES)
def test_judges_do_not_wait(backbone, name):
    prior = QualityPrior(name, JUDGES[name](), Logistic(0.0, 1.0))
    assert waits(backbone, settings_of("pixel_map"), prior, side=2 * SIDE) == ONCE


@pytest.mark.parametrize("name", [name for name in FIDELITIES if name not in NEED_FILES])
def test_fidelity_measures_do_not_wait(backbone, name):
    found = waits(backbone, settings_of("pixel_map"), measure=name, side=SIDES)
    assert (found - ONCE).total() == COPIED.get(name, 0)


def test_restraints_do_not_wait(backbone):
    mask = torch.zeros(1, 1, SIDE, SIDE, device=GPU)
    held = Restraints(mask, mask, anchor_colours=True, grey=True)
    assert waits(backbone, settings_of("pixel_map"), restraints=held) == ONCE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: image.mean().item(),
        lambda image: 1.0 if image.max() > 0 else 0.0,
        lambda image: image.detach().mean().cpu(),
        lambda image: torch.ones(1).to(image),
    ],
)
def test_who_waits_is_seen(backbone, spoil):
    prior = replace(PRIOR, metric=lambda image: PRIOR.metric(image) + spoil(image))
    found = waits(backbone, settings_of("pixel_map"), prior) - ONCE
    assert found
    assert all(place.startswith("test_readings.py:") for _, place in found)


# As one batch


class _Seen(nn.Module):
    """A function, and the shapes that it was given."""

    def __init__(self, function):
        super().__init__()
        self.function, self.shapes = function, []

    def forward(self, *given):
        self.shapes.append(tuple(given[0].shape))
        return self.function(*given)


class _Watched(ToyBackbone):
    decode: _Seen

    def bind(self, image):
        binding = super().bind(image)
        self.decode = binding.codec.decode = _Seen(binding.codec.decode)
        return binding


@pytest.mark.parametrize("memory", ["auto", "store", "recompute"])
def test_both_pictures_are_decoded_and_judged_as_one_batch(memory):
    settings = settings_of("paper", memory=memory, start="input")
    backbone, measure = _Watched(), _Seen(load_fidelity("mse"))
    judge = _Seen(PRIOR.metric)
    prior = replace(PRIOR, metric=judge)
    enhance(picture(), backbone, prior, fidelity(measure), settings)
    iterates = settings.iterations + 1
    assert backbone.decode.shapes == [(2, 12, 8, 8)] * iterates
    for seen in (judge, measure):  # and the very input, once
        assert seen.shapes == [(2, 3, 16, 16)] * iterates + [(1, 3, 16, 16)]
