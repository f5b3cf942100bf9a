"""Batches of any length on a device that has room for one picture, and what the bar says of it.

The device and ComfyUI are simulated (simulated_device.py, simulated_comfyui.py).
"""

import sys
from dataclasses import replace

import pytest
import torch
from latent_map.edict.bijections import name_of
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.iqa_priors.score_report import score_pictures
from latent_map.map_estimation.enhance import enhance, enhance_each
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.restraints import Restraints
from latent_map.map_estimation.result import Cancel, NonFiniteError, Status
from latent_map.map_estimation.settings import MapSettings
from latent_map.map_estimation.work import work_of

from .simulated_comfyui import simulated_nodes
from .simulated_device import SIMULATED, SimulatedDevice
from .toys import PRIOR, ToyBackbone, edict, picture

FIDELITY = load_fidelity("low_resolution", reduction="mse")
INVERSION = edict(3, tile=None)
SETTINGS = MapSettings(
    INVERSION, iterations=2, optimizer="adam", learning_rate=0.02, memory="recompute"
)
EQUAL = 1e-6  # results are float32


class CuttableToy(ToyBackbone):
    """One whose network works on tiles; windows are made by cutting the condition."""

    name = "toy"

    def bind(self, image):
        binding = super().bind(image)
        denoiser = binding.denoiser

        def window(top, left, height, width):
            part = super(CuttableToy, self).bind(image).denoiser
            rows, columns = (
                slice(top // 2, (top + height) // 2),
                slice(left // 2, (left + width) // 2),
            )
            part.condition = denoiser.condition[..., rows, columns]
            return part

        denoiser.window = window
        return binding


class Forgetful(ToyBackbone):
    """One that, unlike the toy, does not remember its bindings."""

    def bind(self, image):
        binding = super().bind(image)
        self.denoisers.clear()
        return binding


@pytest.fixture(scope="module")
def nodes():
    with simulated_nodes(SIMULATED):
        yield sys.modules


@pytest.fixture
def session(nodes):
    return nodes["latent_map.nodes.session"]


@pytest.fixture
def bars(nodes):
    made = nodes["comfy.utils"].ProgressBar.made
    made.clear()
    return made


def comfy_picture(batch=1, side=16):
    return picture(0, side, side, batch).movedim(1, -1)


def node(nodes, module, name):
    return getattr(nodes[f"latent_map.nodes.{module}"], name)


def invert(nodes, backbone, image, **changes):
    options = {"steps": 3, "mixing": 0.93, "strength": 1.0, "spacing": "trailing"}
    options |= {"own_mixing": True}
    return node(nodes, "edict_invert", "EdictInvert").execute(
        backbone=backbone, image=image, order="fixed", **{**options, **changes}
    )[0]


def optimise(nodes, latents, **changes):
    options = {
        "iterations": 2,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "momentum": 0.9,
        "lam": 0.01,
        "clip": 0.0,
        "patience": 0,
        "target_quality": 0.0,
        "memory": "recompute",
        "preview_every": 1,
        "preview": False,
        "check_gradient": False,
    }
    return node(nodes, "latent_map_optimizer", "LatentMapOptimizer").execute(
        latents=latents, prior=PRIOR, **{"fidelity": FIDELITY, **options, **changes}
    )


def post_enhance(nodes, backbone, image, **changes):
    options = {"preset": "fast", "iterations": 1, "lam": 3.0, "override": True, "strength": 1.0}
    options |= {"preview_every": 1, "preview": False}
    return node(nodes, "post_enhance", "PostEnhance").execute(
        image=image,
        backbone=backbone,
        prior=PRIOR,
        **{"fidelity": FIDELITY, **options, **changes},
    )


def assert_room_for_one_is_enough(work):
    """Of the device, a batch of four takes no more than one of two, and leaves nothing there."""
    peaks = []
    for count in (2, 4):
        with SimulatedDevice() as device:
            kept = work(count)
            peaks.append(device.peak)
            assert kept is not None
            assert device.bytes == 0
    assert peaks[0] == peaks[1] > 0


def test_the_simulated_device_counts_what_is_computed_there():
    with SimulatedDevice() as device:
        here = torch.ones(10)
        there = here.to(SIMULATED)
        assert device.bytes == 40
        double = 2 * there
        assert device.bytes == 80
        back = double.cpu()
        del there, double
        assert device.bytes == 0
        assert device.peak == 80
        assert back.sum() == 20


@pytest.mark.parametrize("restrained", [False, True])
def test_a_longer_batch_takes_no_more_of_the_device(restrained):
    def work(count):
        images = picture(batch=count)
        masks = torch.rand(2, count, 1, 16, 16)
        given = (images, Enhancer(Forgetful(), PRIOR, FIDELITY, replace(SETTINGS, iterations=1)))
        options = {"restraints": Restraints(*masks)} if restrained else {}
        return list(enhance_each(*given, **options, device=SIMULATED))

    assert_room_for_one_is_enough(work)


def test_each_picture_is_enhanced_when_it_is_asked_for():
    backbone, images = ToyBackbone(), picture(batch=3)
    enhancer = Enhancer(backbone, PRIOR, FIDELITY, SETTINGS)
    made = enhance_each(images, enhancer, device=torch.device("cpu"))
    assert backbone.calls == 0
    first = next(made)
    per_picture = backbone.calls
    assert per_picture > 0
    results = [first, *made]
    assert backbone.calls == 3 * per_picture
    for result, wanted in zip(results, enhance(images, *_given()), strict=True):
        assert torch.equal(result.x, wanted.x)


def _given():
    return ToyBackbone(), PRIOR, FIDELITY, SETTINGS


def test_the_nodes_refuse_a_picture_too_small_for_the_fidelity(nodes):
    backbone, large = ToyBackbone(), replace(FIDELITY, min_side=32)
    latents = invert(nodes, backbone, comfy_picture())
    calls = backbone.calls
    with pytest.raises(ValueError, match="fidelity 'low_resolution' needs 32 a side"):
        optimise(nodes, latents, fidelity=large)
    with pytest.raises(ValueError, match="fidelity 'low_resolution' needs 32 a side"):
        post_enhance(nodes, backbone, comfy_picture(), fidelity=large)
    assert backbone.calls == calls


def test_what_cannot_work_is_refused_before_a_picture_is_asked_for():
    with pytest.raises(ValueError, match="NaN"):
        enhance_each(torch.full((2, 3, 16, 16), float("nan")), Enhancer(*_given()))


def test_a_failed_picture_does_not_lose_the_others_nor_the_device():
    def metric(image):
        value = image.flatten(1).var(1)
        return value * float("nan") if float(image.detach().mean()) > 0.7 else value

    broken = QualityPrior("broken", metric, Logistic(0.05, 0.02))
    images = picture(batch=3)
    images[1] = 0.9
    with SimulatedDevice() as device:
        enhancer = Enhancer(Forgetful(), broken, FIDELITY, SETTINGS)
        results = list(enhance_each(images, enhancer, device=SIMULATED))
        assert device.bytes == 0
    assert [r.status is Status.FAILED for r in results] == [False, True, False]
    assert torch.equal(results[1].picture, images[1:2])
    with pytest.raises(NonFiniteError):
        enhance(images[1:2], Forgetful(), broken, FIDELITY, SETTINGS)


def test_after_a_cancel_no_picture_is_begun():
    def stop(step):
        if step.item == 1:
            raise Cancel

    mask = torch.ones(4, 1, 16, 16)
    mask[2] = 0  # nothing to do there
    results = enhance(picture(batch=4), *_given(), stop, restraints=Restraints(mask))
    wanted = [Status.ITERATIONS_DONE, Status.CANCELLED, Status.NOTHING_TO_DO, Status.CANCELLED]
    assert [r.status for r in results] == wanted


@pytest.mark.parametrize("kind", ["chain", "post_enhance", "score"])
def test_nodes_keep_one_picture_on_the_device(nodes, kind):
    def work(count):
        image = comfy_picture(count)
        if kind == "post_enhance":
            return post_enhance(nodes, Forgetful(), image, check_gradient=False)
        if kind == "score":
            return node(nodes, "iqa_score", "IqaScore").execute(image=image, prior=PRIOR)
        latents, *more = optimise(nodes, invert(nodes, Forgetful(), image), iterations=1)
        reconstruct = node(nodes, "edict_reconstruct", "EdictReconstruct").execute
        return more, latents, reconstruct(latents=latents)

    assert_room_for_one_is_enough(work)


def test_the_chain_of_nodes_is_post_enhancement(nodes):
    image = comfy_picture(2)
    latents, _, _ = optimise(nodes, invert(nodes, ToyBackbone(), image))
    shown, twin = node(nodes, "edict_reconstruct", "EdictReconstruct").execute(latents=latents)
    wanted = enhance(image.movedim(-1, 1), *_given())
    for index, result in enumerate(wanted):
        assert (shown[index] - result.x[0].movedim(0, -1)).abs().max() < EQUAL
        assert (twin[index] - result.y[0].movedim(0, -1)).abs().max() < EQUAL


def calls_and_bar(session, bars, settings, backbone, image, inverted=False):
    """Real network calls, the calls that the bar had counted at the end, and its total."""
    work = work_of(backbone, settings, inverted)
    progress = session.Progress(work, len(image))
    enhancer = Enhancer(progress.watch(backbone), PRIOR, FIDELITY, settings)
    made = enhance_each(image, enhancer, progress.step)
    counted = []

    def at_the_end():
        for result in made:
            counted.append(progress.done)
            yield result

    with session.native_session():
        list(progress.pictures(at_the_end()))
    progress.finish()
    (bar,) = bars
    assert bar.values == sorted(bar.values), "the bar went back"
    assert bar.values[-1] == bar.total
    return backbone.calls, counted, bar.total


@pytest.mark.parametrize("typicality", [0.0, 0.1])
@pytest.mark.parametrize("start", ["estimate", "sample"])
def test_the_bar_counts_the_calls_of_a_start(session, bars, start, typicality):
    settings = replace(SETTINGS, start=start, draws=3, typicality=typicality, check_gradient=False)
    calls, counted, total = calls_and_bar(session, bars, settings, ToyBackbone(), picture())
    assert calls <= total
    assert counted == [total]
    if start == "estimate":
        assert calls == total


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("check", [False, True])
def test_the_bar_counts_every_call(session, bars, pictures, check):
    settings = replace(SETTINGS, check_round_trip=check, iterations=4)
    settings = replace(settings, check_gradient=False)
    calls, counted, total = calls_and_bar(
        session, bars, settings, ToyBackbone(), picture(batch=pictures)
    )
    assert calls == total
    assert counted == [total * (i + 1) / pictures for i in range(pictures)]


def test_a_call_on_tiles_is_counted_once_however_many_tiles_there_are(session, bars):
    whole = replace(SETTINGS, check_gradient=False)
    tiled = replace(whole, inversion=replace(INVERSION, tile=16))
    image = picture(0, 40, 24)
    calls, counted, total = calls_and_bar(session, bars, whole, CuttableToy(), image)
    bars.clear()
    on_tiles, counted_on_tiles, total_on_tiles = calls_and_bar(
        session, bars, tiled, CuttableToy(), image
    )
    assert calls == total == total_on_tiles == counted[0]
    assert counted_on_tiles[0] == pytest.approx(total)
    tiles = on_tiles / calls
    assert tiles == round(tiles) > 1


def test_calls_that_were_not_needed_are_not_waited_for(session, bars):
    """Kept activations, or an early end: the bar is right again after each iteration."""
    settings = replace(SETTINGS, memory="store", iterations=4, check_gradient=False)
    calls, counted, total = calls_and_bar(session, bars, settings, ToyBackbone(), picture())
    assert calls < total
    assert counted == [total]
    (bar,) = bars
    jumps = [b - a for a, b in zip(bar.values, bar.values[1:], strict=False)]
    assert max(jumps) <= 6 + 1  # what one backward pass would have taken, and a call


@pytest.mark.parametrize("bijection", ["edict", "bdia", "obelm"])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_the_calls_of_the_chain_are_known_before(bars, nodes, spacing, strength, bijection):
    backbone = ToyBackbone()
    options = {"spacing": spacing, "strength": strength, "bijection": bijection}
    latents = invert(nodes, backbone, comfy_picture(2), steps=5, **options)
    assert bars.pop().total == backbone.calls
    before = backbone.calls
    node(nodes, "edict_reconstruct", "EdictReconstruct").execute(latents=latents)
    assert bars.pop().total == backbone.calls - before
    before = backbone.calls
    optimise(nodes, latents)
    assert bars.pop().total == backbone.calls - before


@pytest.mark.parametrize("bijection", ["bdia", "obelm"])
def test_other_bijections_go_through_the_chain(nodes, bijection):
    image, backbone = comfy_picture(2), ToyBackbone()
    reconstruct = node(nodes, "edict_reconstruct", "EdictReconstruct").execute
    latents = invert(nodes, backbone, image, steps=5, bijection=bijection)
    back, twin = reconstruct(latents=latents)
    assert (back - image).abs().max() < EQUAL
    assert torch.equal(back, twin)
    best, traces, _ = optimise(nodes, latents, optimizer="lbfgs", iterations=4)
    for trace in traces:
        assert min(row.energy for row in trace) < trace[0].energy
    assert (reconstruct(latents=best)[0] - back).abs().max() > EQUAL
    assert [name_of(item.options.bijection) for item in best] == [bijection] * 2


def test_an_interruption_leaves_no_session(session, nodes, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    management = nodes["comfy.model_management"]
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", stop)
    with pytest.raises(KeyboardInterrupt):
        post_enhance(nodes, ToyBackbone(), comfy_picture())
    with pytest.raises(RuntimeError, match="only while a node"):
        nodes["latent_map.nodes.native.session"].current_session()


def test_what_a_picture_opened_is_given_back_before_the_next(nodes):
    session = nodes["latent_map.nodes.native.session"]
    given_back = []

    def opened(name, lasting=False):
        return session.current_session().once(
            name, lambda exits: exits.callback(given_back.append, name), lasting=lasting
        )

    with session.native_session():
        opened("model", lasting=True)
        for number in range(2):
            with session.current_session().picture():
                opened("model", lasting=True)
                opened(f"picture {number}")
                opened(f"picture {number}")
            assert given_back[number:] == [f"picture {number}"]
    assert given_back == ["picture 0", "picture 1", "model"]


def test_scores_do_not_depend_on_where_the_batch_is():
    images = picture(batch=3)
    with SimulatedDevice() as device:
        report = score_pictures(images, [PRIOR], SIMULATED)
        assert device.bytes == 0
        assert device.peak > 0
    wanted = score_pictures(images, [PRIOR])
    assert (report.quality, report.table) == (wanted.quality, wanted.table)
