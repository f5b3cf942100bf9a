"""Decoders whose blocks are run again for the gradient: the same bits, less that is kept."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from latent_map.edict.backbones.stable_diffusion.denoiser import VaeCodec
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.edict.memory import graph_bytes
from latent_map.edict.protocols import Binding
from latent_map.edict.recomputed import SHARE, RecomputedCodec, recomputed, share_kept
from latent_map.edict.tiling.codec import TiledCodec
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from .test_tiled_codec import HEIGHT, TILING, WIDTH, vae  # noqa: F401 - a fixture
from .tiny_pictures import IMAGE, load
from .toys import edict, picture

CELL = 4


@pytest.fixture
def plain(vae):  # noqa: F811
    return VaeCodec(vae)


def latent(height=HEIGHT, width=WIDTH, count=2):
    generator = torch.Generator().manual_seed(5)
    size = (count, 4, height // CELL, width // CELL)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def decoded_and_pulled(codec, z):
    leaf, output = with_graph(codec.decode, z)
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(6)).double()
    return output.detach(), vector_jacobian(leaf, output, gradient)


def own_forwards(network):
    return [name for name, module in network.named_modules() if "forward" in vars(module)]


def test_picture_and_gradient_have_the_plain_ones_bits(plain):
    found, wanted = (decoded_and_pulled(c, latent()) for c in (RecomputedCodec(plain), plain))
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_little_is_kept_but_what_blocks_are_given(plain):
    ours, theirs = (graph_bytes(c.decode, latent()) for c in (RecomputedCodec(plain), plain))
    assert ours < 0.35 * theirs  # what comes after the last block is kept as well


def test_frozen_norms_are_frozen_when_blocks_run_again(plain):
    """On tiles the norms are replaced while a tile is decoded, and no longer on the way back."""
    whole = picture(3, HEIGHT, WIDTH).double()
    found, wanted = (
        decoded_and_pulled(TiledCodec(codec, whole, TILING), latent(count=1))
        for codec in (RecomputedCodec(plain), plain)
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
    own = decoded_and_pulled(plain, latent(count=1))
    assert not torch.allclose(found[1], own[1], rtol=1e-3)  # the norms do differ


def test_the_network_is_left_as_it_was(plain):
    before = own_forwards(plain.vae)
    codec = RecomputedCodec(plain)
    decoded_and_pulled(codec, latent())
    assert own_forwards(plain.vae) == before == []
    with pytest.raises(RuntimeError):
        codec.decode(torch.zeros(1, 3, 8, 8, dtype=torch.float64, requires_grad=True))
    assert own_forwards(plain.vae) == []


def test_what_others_have_put_in_a_forwards_place_comes_back_and_counts(plain):
    block = plain.vae.decoder.up_blocks[0].resnets[0]
    inner, ordinary = block.conv1, block.conv1.forward
    block.forward = own = lambda *given, **options: (
        2 * type(block).forward(block, *given, **options)
    )
    inner.forward = lambda x: 3 * ordinary(x)
    try:
        found, wanted = (decoded_and_pulled(c, latent()) for c in (RecomputedCodec(plain), plain))
        assert block.forward is own
    finally:
        del block.forward, inner.forward
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(found[0], decoded_and_pulled(plain, latent())[0])


def test_without_a_gradient_nothing_is_replaced(plain, monkeypatch):
    monkeypatch.setattr(plain, "decode", lambda z: own_forwards(plain.vae))
    assert RecomputedCodec(plain).decode(latent()) == []


class TinyDecoder(nn.Module):
    """One without norms, as TAESD's."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))


def test_a_decoder_without_blocks_stays_as_it_is(plain):
    plain.vae = TinyDecoder()
    binding = Binding(torch.nn.Identity(), plain)
    assert recomputed(binding) is binding
    assert share_kept(plain) == 1.0


def test_every_bound_picture_has_one(models):
    bound = bind_picture(load(models, "sd15"), IMAGE, edict(2, tile=None))
    assert isinstance(bound.codec, RecomputedCodec)


def test_large_pictures_are_decoded_one_at_a_time_to_the_same_gradient(plain, monkeypatch):
    monkeypatch.setattr("latent_map.edict.recomputed.LARGE", 1)
    at_once = []
    decode = plain.decode
    monkeypatch.setattr(plain, "decode", lambda z: at_once.append(len(z)) or decode(z))
    found = decoded_and_pulled(RecomputedCodec(plain), latent(count=3))
    assert at_once == [1] * 6  # and again on the way back
    monkeypatch.undo()
    for ours, theirs in zip(found, decoded_and_pulled(plain, latent(count=3)), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("items", "cells", "share"), [(1, 4, 0.4), (2, 4, 0.4), (2, 4096, 0.2)])
def test_what_is_kept_of_two_large_pictures_is_ones(plain, items, cells, share):
    assert share_kept(plain, items, cells) == share


def test_at_full_size_a_decoder_needs_no_more_than_its_share():
    from diffusers import AutoencoderKL

    from benchmarks.full_size import VAE
    from benchmarks.memory import most_alive, pulled

    downs, ups = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    with FakeTensorMode():
        network = AutoencoderKL(**VAE, down_block_types=downs, up_block_types=ups)
        codec = VaeCodec(network.eval().requires_grad_(False))
        single, pair = torch.zeros(1, 4, 64, 64), torch.zeros(2, 4, 64, 64)
        plain = most_alive(lambda: pulled(codec.decode, single))
        one, two = (
            most_alive(lambda z=z: pulled(RecomputedCodec(codec).decode, z)) for z in (single, pair)
        )
    assert 0.3 * plain < one < SHARE * plain
    assert one < two < 1.05 * one


def test_threads_take_turns_and_leave_the_network_as_it_was(plain, monkeypatch):
    codec, inside, decode = RecomputedCodec(plain), threading.Semaphore(0), plain.decode

    def slow(z):
        inside.release()
        time.sleep(0.2)  # the other thread's turn, if it could have it
        return decode(z)

    wanted = [decoded_and_pulled(plain, z) for z in latent().split(1)]
    monkeypatch.setattr(plain, "decode", slow)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(decoded_and_pulled, codec, latent()[:1])
        assert inside.acquire(timeout=10)
        second = threads.submit(decoded_and_pulled, codec, latent()[1:])
        found = [first.result(), second.result()]
    assert own_forwards(plain.vae) == []
    for ours, theirs in zip(found, wanted, strict=True):
        assert all(map(torch.equal, ours, theirs))
