"""Compiled networks: the same map with and without a gradient, and a way back where it fails."""

import logging

import pytest
import torch
import torch.nn.functional as F
from latent_map.edict.backbones import load_backbone
from latent_map.edict.backbones.compiled import CompiledBackbone
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.protocols import Binding
from latent_map.edict.tape import Tape
from torch import nn

from .toys import LATENT_CHANNELS, FoldingCodec, ToyBackbone, edict, noise, picture

# Traced and differentiated ahead of time as the real compiler does it, but no C++ is made.
TRACED = "aot_eager"
SAME = 1e-12  # the state's rounding in float64
ALIKE = 1e-5  # the network's, in float32
OPTIONS = edict(3, tile=None)


class Network(nn.Module):
    """Two convolutions and a norm; the time is added as a number."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(LATENT_CHANNELS, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.last = nn.Conv2d(16, LATENT_CHANNELS, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        return self.first.weight.dtype

    def forward(self, x, time):
        return self.last(F.silu(self.norm(self.first(x)) + time / 1000))


class Denoiser:
    def __init__(self, network):
        self.network = network

    def __call__(self, latent, label):
        return self.network(latent.float(), label)

    def window(self, *_):
        return self


class Backbone(ToyBackbone):
    name = "network"

    def __init__(self):
        super().__init__()
        self.network = Network().requires_grad_(False)

    def bind(self, image):
        return Binding(Denoiser(self.network), FoldingCodec())


@pytest.fixture(scope="module")
def traced():
    return CompiledBackbone(Backbone(), TRACED)


def failing(*_):
    raise RuntimeError("no compiler here")


def adding_one(graph, _):
    return lambda *inputs: [output + 1 for output in graph(*inputs)]


def never_the_same(graph, _):
    return lambda *inputs: [output + 1e-6 * torch.rand(()) for output in graph(*inputs)]


def gradient(backbone, image, memory):
    bijection = bind_picture(backbone, image, OPTIONS).bijection
    pair = LatentPair(*noise(3, 2, 1, LATENT_CHANNELS, 8, 8))
    tape = Tape(bijection.calls, memory)
    bijection.reconstruct(pair, tape)
    return torch.cat(bijection.pull_back(tape, LatentPair(*noise(4, 2, 1, LATENT_CHANNELS, 8, 8))))


def test_the_round_trip_through_a_compiled_network_is_exact(traced):
    assert round_trip_error(invert_picture(traced, picture(), OPTIONS)) < SAME
    assert all(network.compiled for network in traced.networks_compiled)


def test_a_compiled_network_gives_the_same_bits_with_and_without_a_gradient(traced):
    denoiser, codec = traced.bind(picture())
    latent = codec.encode(picture())
    with torch.no_grad():
        without = denoiser(latent, 500.0)
    with_one = denoiser(latent.clone().requires_grad_(True), 500.0)
    assert with_one.requires_grad
    assert not without.requires_grad
    assert torch.equal(without, with_one.detach())


def test_a_call_without_gradient_runs_the_graph_that_keeps_activations(monkeypatch, traced):
    denoiser, codec = traced.bind(picture())
    seen = []
    monkeypatch.setattr(denoiser, "inner", lambda x, _: seen.append(x.requires_grad) or x)
    with torch.no_grad():
        denoiser(codec.encode(picture()), 500.0)
    assert seen[-1]


@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_the_gradient_is_the_plain_networks(traced, memory):
    found = gradient(traced, picture(), memory)
    wanted = gradient(Backbone(), picture(), memory)
    assert torch.allclose(found, wanted, rtol=ALIKE, atol=ALIKE)


def test_tiles_of_a_compiled_network_are_the_plain_ones(traced):
    image, options = picture(height=32, width=32), edict(2, tile=16)
    found, wanted = (invert_picture(b, image, options).noise.x for b in (traced, Backbone()))
    assert torch.allclose(found, wanted, rtol=ALIKE, atol=ALIKE)


@pytest.mark.parametrize("backend", [failing, adding_one, never_the_same])
def test_what_cannot_be_compiled_goes_on_as_it_is_with_one_warning(backend, caplog):
    backbone = CompiledBackbone(Backbone(), backend)
    with caplog.at_level(logging.WARNING):
        latents = invert_picture(backbone, picture(), OPTIONS)
        invert_picture(backbone, picture(height=24), OPTIONS)
    assert len([r for r in caplog.records if "torch.compile" in r.message]) == 1
    assert round_trip_error(latents) < SAME
    plain = invert_picture(Backbone(), picture(), OPTIONS)
    assert torch.equal(latents.noise.x, plain.noise.x)


def test_running_out_of_memory_is_no_reason_to_go_on_without(caplog):
    def hungry(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    backbone = CompiledBackbone(Backbone(), hungry)
    with pytest.raises(RuntimeError, match="out of memory"):
        invert_picture(backbone, picture(), OPTIONS)


def test_a_comparison_that_ran_out_of_memory_is_made_again():
    def slightly_off(graph, _):
        return lambda *inputs: [output + 1e-5 for output in graph(*inputs)]

    plain = Backbone()
    backbone, room = CompiledBackbone(plain, slightly_off), iter([False])

    def forward(x, time):
        if not torch.is_grad_enabled() and not next(room, True):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Network.forward(plain.network, x, time)

    plain.network.forward = forward
    denoiser, codec = backbone.bind(picture())
    latent = codec.encode(picture())
    with pytest.raises(torch.OutOfMemoryError):
        denoiser(latent, 500.0)
    compiled = denoiser(latent, 500.0)
    with torch.no_grad():
        assert not torch.equal(compiled, plain.bind(picture()).denoiser(latent, 500.0))


def test_a_compiled_backbone_has_another_name_and_a_recipe_of_its_own():
    backbone = load_backbone("pocket", compile=True)
    assert backbone.name != load_backbone("pocket").name
    assert backbone.recipe == {"name": "pocket", "compile": True}


def test_what_no_file_makes_has_no_recipe_when_compiled_either(traced):
    assert traced.recipe is None


def test_a_backbone_that_shows_no_network_is_refused():
    backbone = ToyBackbone()
    with pytest.raises(ValueError, match="no network to compile"):
        CompiledBackbone(backbone)
