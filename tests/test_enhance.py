from dataclasses import replace

import pytest
import torch
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.bound_picture import pad
from latent_map.edict.inversion import (
    MAX_ASPECT,
    invert_picture,
    reconstruct_picture,
    round_trip_error,
)
from latent_map.edict.inversion_options import InversionOptions
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.enhance import enhance, enhance_each
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.noise_ascent import optimise_noise
from latent_map.map_estimation.result import Cancel, NonFiniteError, Status
from latent_map.map_estimation.settings import PRESETS, MapSettings, preset

from .toys import PRIOR, ToyBackbone, edict, picture

FIDELITY = load_fidelity("low_resolution")
INVERSION = edict(3)
SETTINGS = MapSettings(
    INVERSION, iterations=5, optimizer="adam", learning_rate=0.02, memory="store"
)
SGD = replace(SETTINGS, optimizer="sgd", learning_rate=400.0)
every_optimizer = pytest.mark.parametrize("settings", [SETTINGS, SGD], ids=["adam", "sgd"])

BATCHING = 1e-6  # results are float32
ROUND_TRIP = 1e-12  # float64, three steps


def run(image, settings=SETTINGS, prior=PRIOR, fidelity=FIDELITY, **options):
    return enhance(image, ToyBackbone(), prior, fidelity, settings, **options)


def stop_at(iteration, error=Cancel):
    def callback(step):
        if step.row.iteration == iteration:
            raise error

    return callback


def assert_same_result(a, b):
    assert (a.status, a.trace, a.best_iteration) == (b.status, b.trace, b.best_iteration)
    pairs = zip((a.x, a.y, *a.variables), (b.x, b.y, *b.variables), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def test_a_batch_is_its_single_pictures():
    images = picture(0, 20, 24, batch=3)
    together = run(images)
    assert len(together) == 3
    for result, image in zip(together, images.split(1), strict=True):
        (single,) = run(image)
        assert (result.x - single.x).abs().max() < BATCHING
        assert result.best_iteration == single.best_iteration


def test_the_callback_is_told_which_picture_of_how_many():
    seen = []
    run(picture(batch=2), callback=lambda step: seen.append((step.item, step.items)))
    assert seen == [(0, 2)] * 6 + [(1, 2)] * 6


@pytest.mark.parametrize("sides", [(37, 53), (16, 200), (200, 17), (16, 16)])
@pytest.mark.parametrize("space", ["diffusion", "pixel"])
def test_odd_sizes_come_back_in_the_same_size(sides, space):
    (result,) = run(picture(0, *sides), replace(SETTINGS, iterations=1, space=space))
    assert result.x.shape == result.y.shape == (1, 3, *sides)
    assert torch.isfinite(result.x).all()


@pytest.mark.parametrize("multiple", [1, 4, 16, 64])
@pytest.mark.parametrize("sides", [(16, 16), (37, 53), (16, 200)])
def test_crop_undoes_pad(sides, multiple):
    image = picture(0, *sides)
    padded = pad(image, multiple)
    assert all(side % multiple == 0 for side in padded.shape[-2:])
    assert all(0 <= new - old < multiple for new, old in zip(padded.shape[-2:], sides, strict=True))
    assert torch.equal(padded[..., : image.shape[-2], : image.shape[-1]], image)
    assert set(padded.unique().tolist()) == set(image.unique().tolist())


@every_optimizer
@pytest.mark.parametrize("error", [Cancel, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at", [1, 4])
def test_an_interrupted_run_goes_on_from_its_file_bit_for_bit(tmp_path, settings, error, at):
    path, image = tmp_path / "run.state", picture()
    if error is Cancel:
        (cancelled,) = run(image, settings, callback=stop_at(at), state=path)
        assert cancelled.status is Status.CANCELLED
    else:
        with pytest.raises(error):
            run(image, settings, callback=stop_at(at, error), state=path)
    iterations = []
    (resumed,) = run(
        image, settings, state=path, callback=lambda step: iterations.append(step.row.iteration)
    )
    assert iterations == list(range(at, settings.iterations + 1))
    assert_same_result(resumed, run(image, settings)[0])
    assert not path.exists()


def test_a_run_may_go_on_for_longer_than_it_was_begun_for(tmp_path):
    path = tmp_path / "run.state"
    run(picture(), callback=stop_at(2), state=path)
    longer = replace(SETTINGS, iterations=8, memory="recompute")
    (resumed,) = run(picture(), longer, state=path)
    assert len(resumed.trace) == 9
    assert_same_result(resumed, run(picture(), longer)[0])


def test_a_finished_run_leaves_no_state(tmp_path):
    run(picture(), state=tmp_path / "run.state")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"image": picture(5)}, "picture"),
        ({"settings": replace(SETTINGS, lam=0.02)}, "settings"),
        ({"settings": replace(SETTINGS, inversion=edict(4))}, "settings"),
        ({"prior": replace(PRIOR, name="other")}, "prior"),
        ({"fidelity": load_fidelity("mse")}, "fidelity"),
        ({"fidelity": load_fidelity("low_resolution", scale=2)}, "fidelity"),
    ],
)
def test_a_state_of_another_run_is_refused_and_kept(tmp_path, changed, named):
    path = tmp_path / "run.state"
    run(picture(), callback=stop_at(2), state=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"another run.*{named}"):
        run(**{"image": picture(), "state": path} | changed)
    assert path.read_bytes() == before


def test_a_state_of_a_picture_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "run.state"
    run(torch.full((1, 3, 16, 32), 0.5), callback=stop_at(2), state=path)
    with pytest.raises(ValueError, match=r"another run.*picture"):
        run(torch.full((1, 3, 32, 16), 0.5), state=path)


@pytest.mark.parametrize("kept", [slice(0, 0), slice(0, 500), slice(0, -1)])
def test_a_cut_off_state_is_refused(tmp_path, kept):
    path = tmp_path / "run.state"
    run(picture(), callback=stop_at(2), state=path)
    path.write_bytes(path.read_bytes()[kept])
    with pytest.raises(ValueError, match="damaged"):
        run(picture(), state=path)


def test_a_state_with_one_changed_bit_is_refused(tmp_path):
    path = tmp_path / "run.state"
    run(picture(), callback=stop_at(2), state=path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        run(picture(), state=path)


def test_a_state_file_keeps_one_picture(tmp_path):
    with pytest.raises(ValueError, match="the batch holds 2"):
        run(picture(batch=2), state=tmp_path / "run.state")


def test_a_broken_prior_raises_and_carries_the_best():
    broken = QualityPrior("nan", lambda image: PRIOR.metric(image) * float("nan"), Logistic(0, 1))
    with pytest.raises(NonFiniteError, match="iteration 0") as caught:
        run(picture(), prior=broken)
    assert torch.equal(caught.value.result.x, picture())


def test_optimising_given_latents_equals_enhancing_the_picture():
    images, backbone = picture(0, 18, 22, batch=2), ToyBackbone()
    latents = invert_picture(backbone, images, INVERSION)
    optimised = optimise_noise(latents, PRIOR, FIDELITY, SETTINGS)
    wanted = run(images)
    for (moved, result), expected in zip(optimised, wanted, strict=True):
        assert (result.x - expected.x).abs().max() < BATCHING
        shown = reconstruct_picture(moved)
        assert (shown.x - result.x).abs().max() < BATCHING
        assert (shown.y - result.y).abs().max() < BATCHING


def test_latents_cannot_be_optimised_in_pixel_space():
    latents = invert_picture(ToyBackbone(), picture(), INVERSION)
    with pytest.raises(ValueError, match="diffusion space"):
        optimise_noise(latents, PRIOR, FIDELITY, replace(SETTINGS, space="pixel"))


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("sides", [(16, 16), (37, 53)])
def test_inverted_pictures_come_back(sides, strength):
    image = picture(0, *sides, batch=2)
    latents = invert_picture(ToyBackbone(), image, replace(INVERSION, strength=strength))
    assert round_trip_error(latents) < ROUND_TRIP
    for shown in reconstruct_picture(latents):
        assert shown.shape == image.shape
        assert (shown - image).abs().max() < BATCHING


def test_a_network_that_is_not_deterministic_is_warned_about(caplog):
    backbone = ToyBackbone()
    latents = invert_picture(backbone, picture(), INVERSION)
    backbone.denoisers[-1].condition = 0.1 + backbone.denoisers[-1].condition
    assert round_trip_error(latents) > ROUND_TRIP
    assert "deterministic" in caplog.text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 32, 32), "shape"),
        (torch.zeros(1, 1, 32, 32), "grey"),
        (torch.zeros(1, 4, 32, 32), "alpha"),
        (torch.zeros(0, 3, 32, 32), "no picture"),
        (torch.zeros(1, 3, 15, 32), "at least 16"),
        (torch.zeros(1, 3, 16, 16 * MAX_ASPECT + 1), "strip"),
        (torch.full((1, 3, 32, 32), float("nan")), "NaN"),
    ],
)
def test_unusable_pictures_are_refused_before_anything_is_computed(image, message):
    backbone = ToyBackbone()
    with pytest.raises(ValueError, match=message):
        enhance(image, backbone, PRIOR, FIDELITY, SETTINGS)
    with pytest.raises(ValueError, match=message):
        invert_picture(backbone, image, INVERSION)
    assert backbone.calls == 0


def test_a_picture_too_small_for_the_prior_is_refused():
    with pytest.raises(ValueError, match="'contrast' needs 96 a side"):
        run(picture(), prior=replace(PRIOR, min_side=96))


def test_a_picture_too_small_for_the_fidelity_is_refused_before_anything_is_computed():
    backbone, large = ToyBackbone(), replace(FIDELITY, min_side=17)
    latents = invert_picture(backbone, picture(), INVERSION)
    calls = backbone.calls
    for work in (
        lambda: enhance(picture(), backbone, PRIOR, large, SETTINGS),
        lambda: enhance_each(picture(batch=2), Enhancer(backbone, PRIOR, large, SETTINGS)),
        lambda: optimise_noise(latents, PRIOR, large, SETTINGS),
    ):
        with pytest.raises(ValueError, match="16x16 pixels, fidelity 'low_resolution' needs 17 a"):
            work()
    assert backbone.calls == calls
    run(picture(), replace(SETTINGS, use_fidelity=False), fidelity=large)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "choose from 1 to 1000"),
        ({"steps": 20, "bijection": EdictOptions(0.4)}, "0.5, 1"),
        ({"strength": 0.0}, "strength"),
        ({"spacing": "even"}, "trailing or leading"),
    ],
)
def test_impossible_inversion_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        InversionOptions(**options)


def test_presets_are_known_by_name():
    assert preset("paper") == MapSettings()
    assert (preset("paper").inversion.steps, preset("paper").lam) == (20, 0.01)
    with pytest.raises(ValueError, match=f"unknown preset 'best'.*{', '.join(PRESETS)}"):
        preset("best")


def test_a_metric_that_can_only_score_is_refused_before_the_inversion():
    backbone = ToyBackbone()
    scorer = replace(PRIOR, no_gradient="it counts")
    with pytest.raises(ValueError, match="can score pictures but not improve them: it counts"):
        enhance(picture(), backbone, scorer, FIDELITY, SETTINGS)
    assert backbone.calls == 0


def test_saturated_pixels_are_free_to_move():
    dark = QualityPrior("dark", lambda image: -image.flatten(1).mean(1), Logistic(-0.5, 0.2))
    white = torch.ones(1, 3, 16, 16)
    (result,) = run(white, replace(SETTINGS, space="pixel", use_fidelity=False), prior=dark)
    assert result.picture.max() < 1
