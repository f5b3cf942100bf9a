"""Replayed network calls: captures that are simulated on the CPU, around real small networks."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from latent_map.edict.backbones import BACKBONES, load_backbone
from latent_map.edict.backbones.graphed import MOST_SHAPES, GraphedBackbone
from latent_map.edict.backbones.pocket.backbone import load_pocket
from latent_map.edict.backbones.stable_diffusion.denoiser import UNetDenoiser
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.gradients import plain_calls, vector_jacobian, with_graph
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.memory import graph_bytes
from latent_map.edict.tape import Tape
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import preset

from .simulated_capture import SimulatedCapture
from .tiny_diffusers import SIDE
from .tiny_pictures import IMAGE, load
from .toys import PRIOR, edict, noise, picture

SAME = 1e-12  # the state's rounding in float64
OPTIONS = edict(3, tile=None)
LATENT = torch.randn((1, 4, 4, 4), generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture(scope="module", params=["sd15", "sdxl", "guided"])
def plain(models, request):
    if request.param != "guided":
        return load(models, request.param, controlnet=str(models / f"{request.param}_control"))
    return load(models, "sd15", cfg=2.0, negative="noise", prompt="photo")


@pytest.fixture
def capture():
    return SimulatedCapture()


@pytest.fixture
def graphed(plain, capture):
    return GraphedBackbone(plain, capture)


@pytest.fixture
def small(models, capture):
    return GraphedBackbone(load(models, "sd15"), capture)


def gradient(backbone, memory, image=IMAGE, options=OPTIONS):
    bijection = bind_picture(backbone, image, options).bijection
    size = (1, 4, image.shape[-2] // 8, image.shape[-1] // 8)
    tape = Tape(bijection.calls, memory)
    bijection.reconstruct(LatentPair(*noise(3, 2, *size)), tape)
    return torch.cat(bijection.pull_back(tape, LatentPair(*noise(4, 2, *size))))


# The same bits


def test_replayed_calls_have_the_plain_ones_bits(plain, graphed):
    ours, theirs = (invert_picture(b, IMAGE, OPTIONS) for b in (graphed, plain))
    assert torch.equal(ours.noise.x, theirs.noise.x)
    assert round_trip_error(ours) < SAME


@pytest.mark.parametrize("memory", ["store", "recompute", "auto", 2])
def test_replayed_gradients_have_the_plain_ones_bits(plain, graphed, memory):
    assert torch.equal(gradient(graphed, memory), gradient(plain, memory))


def test_a_second_thread_calls_plainly_while_the_first_replays(plain, graphed, capture):
    """They would overwrite each other's pictures."""
    ours, theirs = (b.bind(IMAGE).denoiser for b in (graphed, plain))
    others = LATENT / 2
    ours(LATENT, 999.0)  # captured
    capture.between, found = (lambda: found.append(thread(ours, others, 1.0))), []
    assert torch.equal(ours(LATENT, 500.0), theirs(LATENT, 500.0))
    assert torch.equal(found[0], theirs(others, 1.0))
    leaf, output = with_graph(ours, LATENT, 500.0)
    capture.between, found = (lambda: found.append(thread(pulled, ours, others))), []
    product = vector_jacobian(leaf, output, LATENT)
    assert torch.equal(product, vector_jacobian(*with_graph(theirs, LATENT, 500.0), LATENT))
    assert torch.equal(found[0], pulled(theirs, others))
    assert graphed.graphs.usable


def pulled(denoiser, latent):
    return vector_jacobian(*with_graph(denoiser, latent, 1.0), latent)


def thread(function, *given):
    with ThreadPoolExecutor(1) as other:
        return other.submit(function, *given).result(timeout=60)


def test_each_label_is_another(plain, graphed):
    ours, theirs = (b.bind(IMAGE).denoiser for b in (graphed, plain))
    for label in (999.0, 1.0, 500.0):
        assert torch.equal(ours(LATENT, label), theirs(LATENT, label))
    assert not torch.equal(ours(LATENT, 999.0), ours(LATENT, 1.0))


def test_another_pictures_condition_is_copied(plain, graphed, capture):
    if not plain.conditioned:
        pytest.skip("its network does not see the picture")
    other = picture(9, SIDE, SIDE)
    first, second = (graphed.bind(image).denoiser for image in (IMAGE, other))
    for denoiser, image in ((first, IMAGE), (second, other), (first, IMAGE)):
        assert torch.equal(denoiser(LATENT, 500.0), plain.bind(image).denoiser(LATENT, 500.0))
    assert not torch.equal(first(LATENT, 500.0), second(LATENT, 500.0))
    assert capture.captures == 1


def test_a_result_is_not_overwritten_by_the_next_call(small):
    denoiser = small.bind(IMAGE).denoiser
    first = denoiser(LATENT, 500.0)
    kept = first.clone()
    denoiser(2 * LATENT, 100.0)
    assert torch.equal(first, kept)


def test_tiles_are_replayed_as_one_shape(models, capture):
    plain = load(models, "sd15", controlnet=str(models / "sd15_control"))
    graphed, image = GraphedBackbone(plain, capture), picture(4, 2 * SIDE, 2 * SIDE)
    options = edict(2, tile=SIDE)
    found, wanted = (gradient(b, "store", image, options) for b in (graphed, plain))
    assert torch.equal(found, wanted)
    assert capture.captures == 2  # of the call, and with its gradient
    assert capture.replays > 2


def test_an_enhancement_is_the_plain_one(models, capture):
    plain = load(models, "sd15", controlnet=str(models / "sd15_control"))
    settings = replace(preset("turbo"), iterations=2, check_gradient=True)
    ours, theirs = (
        enhance(IMAGE, backbone, PRIOR, load_fidelity("mse"), settings)[0]
        for backbone in (GraphedBackbone(plain, capture), plain)
    )
    assert torch.equal(ours.picture, theirs.picture)
    assert [row.energy for row in ours.trace] == [row.energy for row in theirs.trace]
    assert capture.captures == 2


# What is kept


def test_a_tape_that_keeps_all_calls_replays_each_twice(small, capture):
    bijection = bind_picture(small, IMAGE, OPTIONS).bijection
    gradient(small, "auto")
    assert capture.captures == 2
    assert capture.replays == 2 * bijection.calls + 1  # "auto" has measured one call


def test_a_replayed_call_keeps_its_input_alone_and_the_plain_one_can_be_measured(small):
    denoiser = small.bind(IMAGE).denoiser

    def call(latent):
        return denoiser(latent, 500.0)

    with plain_calls():
        activations = graph_bytes(call, LATENT)
    assert graph_bytes(call, LATENT) == LATENT.nbytes
    assert activations > 100 * LATENT.nbytes


def test_the_latest_shapes_are_kept(small, capture):
    denoiser = small.bind(IMAGE).denoiser
    shapes = [LATENT.expand(count, -1, -1, -1) for count in range(1, MOST_SHAPES + 2)]
    for latent in (*shapes[:-1], shapes[0], shapes[-1]):  # the second is the one used longest ago
        denoiser(latent, 500.0)
    assert capture.captures == MOST_SHAPES + 1
    denoiser(shapes[0], 500.0)
    assert capture.captures == MOST_SHAPES + 1
    denoiser(shapes[1], 500.0)
    assert capture.captures == MOST_SHAPES + 2


def test_moved_weights_are_captured_again(models, capture):
    plain = load(models, "sd15")
    graphed = GraphedBackbone(plain, capture)
    denoiser = graphed.bind(IMAGE).denoiser
    denoiser(LATENT, 500.0)
    for parameter in plain.networks.unet.parameters():
        parameter.data = 1.1 * parameter.data
    found = denoiser(LATENT, 500.0)
    assert torch.equal(found, plain.bind(IMAGE).denoiser(LATENT, 500.0))
    assert capture.captures == 2


# Where it does not work


@pytest.mark.parametrize("failing", ["capture", "replay"])
@pytest.mark.parametrize("after", [0, 5])
def test_what_fails_goes_on_plainly_with_one_warning(models, capture, caplog, failing, after):
    plain = load(models, "sd15")
    graphed = GraphedBackbone(plain, capture)
    denoiser = graphed.bind(IMAGE).denoiser
    leaf, output = with_graph(denoiser, LATENT, 300.0) if after else (LATENT, LATENT)
    for label in range(after):
        denoiser(LATENT, float(label))
    capture.failing = failing
    with caplog.at_level(logging.WARNING):
        if after:  # of a call that was made before, with graphs
            (found,) = torch.autograd.grad(output, leaf, torch.ones_like(output))
            theirs = with_graph(plain.bind(IMAGE).denoiser, LATENT, 300.0)
            (wanted,) = torch.autograd.grad(theirs[1], theirs[0], torch.ones_like(theirs[1]))
            assert torch.equal(found, wanted)
        image = picture(3, SIDE, 2 * SIDE)
        ours, theirs = (invert_picture(b, image, OPTIONS).noise.x for b in (graphed, plain))
    assert torch.equal(ours, theirs)
    (record,) = caplog.records
    assert "going on without" in record.message
    assert "\n" not in record.message
    assert not graphed.graphs.usable


class _Cancelled(Exception):
    """As ComfyUI raises it in any operation of its networks."""


class _CancelledOnce(UNetDenoiser):
    asked = True

    def __call__(self, latent, label):
        if _CancelledOnce.asked:
            _CancelledOnce.asked = False
            raise _Cancelled
        return super().__call__(latent, label)


def test_who_cancels_during_a_capture_is_heard(models, capture, caplog):
    plain = load(models, "sd15")
    denoiser = _CancelledOnce(plain.networks, plain.conditioning, IMAGE)
    graphs = GraphedBackbone(plain, capture).graphs
    with pytest.raises(_Cancelled):
        graphs.call(denoiser, LATENT, 500.0)
    assert torch.equal(graphs.call(denoiser, LATENT, 500.0), denoiser(LATENT, 500.0))
    assert graphs.usable
    assert not caplog.records


class _ReadsItsLabel(UNetDenoiser):
    def __call__(self, latent, label):
        return super().__call__(latent, float(label))


def test_a_network_whose_label_the_processor_reads_cannot_be_captured(models, capture, caplog):
    plain = load(models, "sd15")
    reading = _ReadsItsLabel(plain.networks, plain.conditioning, IMAGE)
    found = GraphedBackbone(plain, capture).graphs.call(reading, LATENT, 500.0)
    assert torch.equal(found, plain.bind(IMAGE).denoiser(LATENT, 500.0))
    assert "not permitted when stream is capturing" in caplog.text


class _Frozen:
    """A capture that misses something: what is replayed is the `number`-th captured, as it was."""

    def __init__(self, number, spoil=lambda output: output):
        self.left, self.spoil = number, spoil

    def __call__(self, function):
        output = function()
        self.left -= 1
        return (lambda: self.spoil(output)) if self.left == 0 else function


@pytest.mark.parametrize("number", [1, 2])  # the call, and its product
def test_a_graph_that_says_something_else_is_not_believed(models, caplog, number):
    plain = load(models, "sd15", controlnet=str(models / "sd15_control"))
    found = gradient(GraphedBackbone(plain, _Frozen(number)), "store")
    assert torch.equal(found, gradient(plain, "store"))
    (record,) = caplog.records
    assert "away from a plain one" in record.message


def test_a_graph_that_gives_no_numbers_is_not_believed(models, caplog):
    plain = load(models, "sd15")
    broken = GraphedBackbone(plain, _Frozen(1, lambda output: output * torch.nan))
    latents = (b.bind(IMAGE).denoiser(LATENT, 500.0) for b in (broken, plain))
    assert torch.equal(*latents)
    assert "away from a plain one" in caplog.text


def test_what_is_captured_is_compared_once(small, capture):
    calls = []
    inner = small.bind(IMAGE).denoiser.inner
    counted = inner.holding(inner.bound())
    counted.networks.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    for label in (500.0, 300.0, 100.0):
        small.graphs.call(counted, LATENT, label)
    # Captured, replayed three times (each of which is a call in this simulation), compared once.
    assert (capture.captures, capture.replays, len(calls)) == (1, 3, 5)


# How it is chosen


def test_states_mix_since_bits_do(plain, graphed):
    assert (graphed.name, graphed.recipe) == (plain.name, plain.recipe)
    assert graphed.schedule(5) == plain.schedule(5)
    assert (graphed.multiple, graphed.reach) == (plain.multiple, plain.reach)


@pytest.mark.parametrize(
    ("device", "acceleration", "capturable", "wanted"),
    [
        ("cuda", "auto", True, True),
        ("cuda:1", "auto", True, True),
        ("cuda", "none", True, False),
        ("cuda", "auto", False, False),
        ("mps", "auto", True, False),
    ],
)
def test_auto_takes_graphs_where_there_are_any(
    monkeypatch, device, acceleration, capturable, wanted
):
    row = BACKBONES["pocket"]._replace(module=__name__, function="no_device", capturable=capturable)
    monkeypatch.setitem(BACKBONES, "pocket", row)
    found = load_backbone("pocket", device, acceleration=acceleration)
    assert isinstance(found, GraphedBackbone) == wanted


def no_device(_device):
    return load_pocket()


def test_auto_takes_no_graphs_on_the_cpu(models):
    assert not isinstance(load(models, "sd15"), GraphedBackbone)
    assert not isinstance(load(models, "sd15", acceleration="none"), GraphedBackbone)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"acceleration": "graph"}, "needs a CUDA device .* choose auto"),
        ({"acceleration": "fast"}, "choose auto, graph, compile, none"),
        ({"acceleration": "none", "compile": True}, "give one of them"),
    ],
)
def test_what_cannot_be_is_refused_before_weights_are_read(given, words):
    with pytest.raises(ValueError, match=words):
        load_backbone("pocket", **given)


def test_compile_is_another_word_for_its_acceleration():
    names = {
        load_backbone("pocket", compile=True).name,
        load_backbone("pocket", acceleration="compile").name,
    }
    assert names == {"pocket 2, compiled"}
