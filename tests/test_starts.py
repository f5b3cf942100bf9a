"""Where the ascent starts, and that what comes out is never worse than the input."""

from dataclasses import replace

import pytest
import torch
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.estimate import estimate_latent, seeded_noise
from latent_map.edict.inversion import invert_picture
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.noise_ascent import optimise_noise
from latent_map.map_estimation.result import Cancel, NonFiniteError, Status
from latent_map.map_estimation.settings import MapSettings

from .toys import PRIOR, ToyBackbone, edict, picture

FIDELITY = load_fidelity("mse")
SETTINGS = MapSettings(
    edict(3), lam=0.1, iterations=3, optimizer="adam", learning_rate=0.02, memory="store"
)
ESTIMATE = replace(SETTINGS, start="estimate", blend=0.2)
SAMPLE = replace(SETTINGS, start="sample", draws=3)
SAME = 1e-6  # pictures are float32

every_start = pytest.mark.parametrize("settings", [SETTINGS, ESTIMATE, SAMPLE])


def run(settings=SETTINGS, image=None, backbone=None, fidelity=FIDELITY, **options):
    image = picture() if image is None else image
    return enhance(image, backbone or ToyBackbone(), PRIOR, fidelity, settings, **options)[0]


def started(settings, image=None, **options):
    """The picture that the ascent starts from, as previewed."""
    pictures = []
    run(settings, image, callback=lambda step: pictures.append(step.preview()), **options)
    return pictures[0]


def test_the_estimate_is_where_it_starts_and_the_input_is_what_it_is_held_to():
    image = picture()
    bound = bind_picture(ToyBackbone(), image, SETTINGS.inversion)
    latent = torch.lerp(bound.encode(), estimate_latent(bound), 0.2)
    wanted = bound.decode(latent).clamp(0, 1).float()
    assert (started(ESTIMATE) - wanted).abs().max() < SAME
    result = run(ESTIMATE)
    assert result.trace[0].terms["fidelity"] == pytest.approx(
        float((wanted - image).square().mean()), rel=1e-4
    )
    assert result.before.terms["fidelity"] == 0


def test_a_sample_is_reconstructed_noise_and_the_best_of_those_drawn():
    image = picture()
    bound = bind_picture(ToyBackbone(), image, SETTINGS.inversion)
    starts = [started(replace(SAMPLE, draws=1, seed=s)) for s in range(3)]
    assert not torch.equal(starts[0], starts[1])
    x = seeded_noise(bound.encode(), 1, 0)[0]
    shown = bound.decode(
        bound.reconstruct(
            type(invert_picture(ToyBackbone(), image, SETTINGS.inversion).noise)(x, x)
        )
    )[:1]
    assert (starts[0] - shown.clamp(0, 1)).abs().max() < SAME
    energies = [run(replace(SAMPLE, draws=n)).trace[0].energy for n in (1, 2, 3, 6)]
    assert energies == sorted(energies, reverse=True)


@every_start
@pytest.mark.parametrize("typicality", [0.0, 0.05])
def test_what_comes_out_is_never_worse_than_the_input(settings, typicality):
    for lam in (1e-4, 0.1, 3.0):
        result = run(replace(settings, typicality=typicality, lam=lam))
        rows = {row.iteration: row for row in result.trace}
        if result.improved:
            assert rows[result.best_iteration].energy < result.before.energy
        else:
            assert torch.equal(result.picture, picture())


def test_a_start_that_is_worse_than_the_input_gives_the_input_back():
    result = run(replace(ESTIMATE, lam=1e-9))
    assert not result.improved
    assert torch.equal(result.picture, picture())
    assert result.trace[0].energy > result.before.energy


def test_no_iterations_from_an_estimate_give_the_estimate_if_that_is_better():
    settings = replace(ESTIMATE, iterations=0, lam=3.0)
    result = run(settings)
    assert result.improved == (result.trace[0].energy < result.before.energy)
    assert len(result.trace) == 1
    assert run(replace(settings, start="input")).status is Status.NOTHING_TO_DO


@every_start
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(settings, tmp_path):
    settings, path = replace(settings, typicality=0.01), tmp_path / "run.state"

    def stop(step):
        if step.row.iteration == 2:
            raise Cancel

    run(settings, callback=stop, state=path)
    assert path.exists()
    resumed, whole = run(settings, state=path), run(settings)
    assert resumed.trace == whole.trace
    assert resumed.before == whole.before
    assert torch.equal(resumed.picture, whole.picture)


def test_a_run_with_another_start_is_refused(tmp_path):
    path = tmp_path / "run.state"

    def stop(step):
        if step.row.iteration == 2:
            raise Cancel

    run(ESTIMATE, callback=stop, state=path)
    for other in (SETTINGS, replace(ESTIMATE, blend=0.3), replace(ESTIMATE, seed=1)):
        with pytest.raises(ValueError, match="different settings"):
            run(other, state=path)


def test_samples_of_a_model_that_does_not_see_the_picture_are_refused_before_any_work():
    backbone = ToyBackbone()
    backbone.conditioned = False
    with pytest.raises(ValueError, match=r"toy is not conditioned on the picture.*ControlNet"):
        run(SAMPLE, backbone=backbone)
    assert backbone.calls == 0
    run(ESTIMATE, backbone=backbone)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"start": "noise"}, "start 'noise' must be input, estimate or sample"),
        ({"typicality": -0.1}, "typicality -0.1 must be a number, 0 or more"),
        ({"typicality": float("nan")}, "typicality"),
        ({"blend": 0.0}, "blend"),
        ({"blend": 1.5}, "blend"),
        ({"draws": 0}, "draws"),
        ({"draws": 65}, "draws 65 must be a number from 1 to 64"),
        ({"draws": 1.5}, "draws"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"space": "pixel", "typicality": 0.1}, "pixels have no noise"),
        ({"space": "pixel", "start": "estimate"}, "pixels have no noise"),
    ],
)
def test_impossible_starts_are_refused_by_name(wrong, word):
    with pytest.raises(ValueError, match=word):
        replace(SETTINGS, **wrong)


def test_given_noise_is_where_its_own_optimisation_starts():
    inverted = invert_picture(ToyBackbone(), picture(), SETTINGS.inversion)
    ((_, ours),) = optimise_noise(inverted, PRIOR, FIDELITY, ESTIMATE)
    ((_, wanted),) = optimise_noise(inverted, PRIOR, FIDELITY, SETTINGS)
    assert ours.trace == wanted.trace


def test_what_a_breakdown_leaves_is_never_worse_than_the_input_either():
    calls = []

    def metric(image):
        calls.append(1)
        return PRIOR.metric(image) * (float("nan") if len(calls) == 3 else 1.0)

    broken = replace(PRIOR, metric=metric)
    # An estimate that is far off; the self-check would score pictures, too.
    settings = replace(ESTIMATE, blend=1.0, lam=0.01, check_gradient=False)
    with pytest.raises(NonFiniteError) as caught:
        enhance(picture(), ToyBackbone(), broken, FIDELITY, settings)
    assert not caught.value.result.improved
    assert torch.equal(caught.value.result.picture, picture())


def test_noise_of_a_model_without_condition_can_be_optimised_whatever_the_start():
    backbone = ToyBackbone()
    backbone.conditioned = False
    inverted = invert_picture(backbone, picture(), SETTINGS.inversion)
    assert optimise_noise(inverted, PRIOR, FIDELITY, SAMPLE)


def test_half_precision_pictures_are_worked_on_in_float32():
    for dtype in (torch.float16, torch.bfloat16):
        result = run(image=picture().to(dtype))
        assert result.picture.dtype == torch.float32
