"""Closeness to what the model expects, as a term of the energy."""

from dataclasses import replace

import pytest
import torch
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.estimate import estimate_latent
from latent_map.edict.inversion import invert_picture
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.noise_ascent import optimise_noise
from latent_map.map_estimation.result import Cancel
from latent_map.map_estimation.settings import PRESETS, MapSettings
from latent_map.map_estimation.solver import MapSolver
from latent_map.map_estimation.terms.expectation import DEVIATION, half_mean_square

from .toys import PRIOR, ToyBackbone, edict, gradient_and_slope, picture

FIDELITY = load_fidelity("mse")
SETTINGS = MapSettings(
    edict(3), lam=0.1, iterations=3, optimizer="adam", learning_rate=0.02, memory="store"
)
EXPECTING = replace(SETTINGS, expectation=2e-3)
ESTIMATE = replace(EXPECTING, start="estimate")
GUARD = 1e-6  # of the root at 0
SLOPE = 1e-6  # relative, of a central difference in float64


def run(settings, backbone=None, **options):
    return enhance(picture(), backbone or ToyBackbone(), PRIOR, FIDELITY, settings, **options)[0]


def expected_picture(settings=EXPECTING):
    bound = bind_picture(ToyBackbone(), picture(), settings.inversion)
    latent = estimate_latent(bound, settings.draws, settings.seed)
    return bound.decode(latent).clamp(0, 1)


def test_it_is_the_log_density_of_a_normal_about_the_expected_picture_up_to_a_constant():
    expected, a, b = (picture(n, batch=1 + (n > 0)).double() for n in range(3))
    normal = torch.distributions.Normal(expected, DEVIATION)
    wanted = (normal.log_prob(a) - normal.log_prob(b)).mean((1, 2, 3))
    torch.testing.assert_close(
        half_mean_square(b, expected) - half_mean_square(a, expected), wanted
    )


def test_what_is_expected_is_the_models_estimate():
    result = run(EXPECTING)
    wanted = float((picture() - expected_picture()).square().mean() / (2 * DEVIATION**2))
    assert result.before.terms["expectation"] == pytest.approx(wanted, rel=1e-5)
    assert result.trace[0].terms["expectation"] == pytest.approx(wanted, rel=1e-5)
    assert result.before.energy == pytest.approx(
        2e-3 * wanted - 0.1 * result.before.terms["quality"], rel=1e-5
    )


def test_half_way_to_the_estimate_is_a_quarter_of_the_price():
    assert run(ESTIMATE).trace[0].terms["expectation"] == pytest.approx(0, abs=GUARD)
    whole = run(EXPECTING).before.terms["expectation"]
    half = run(replace(ESTIMATE, blend=0.5)).trace[0].terms["expectation"]
    # The toy's estimate leaves [0, 1] here and there, where pictures are clamped.
    assert half == pytest.approx(whole / 4, rel=0.2)


def test_a_larger_weight_ends_nearer_to_what_is_expected():
    settings = replace(SETTINGS, iterations=12, learning_rate=0.05)
    ends = [run(replace(settings, expectation=w)) for w in (1e-6, 1e-4, 1e-2)]
    distances = [(r.picture - expected_picture()).square().mean().sqrt() for r in ends]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.5 * distances[0]


def test_the_solvers_gradient_is_the_slope_of_the_whole_energy():
    space, objective = Enhancer(ToyBackbone(), PRIOR, FIDELITY, EXPECTING).problem(picture())
    solver = MapSolver(space, picture(), objective, EXPECTING)
    norm, slope = gradient_and_slope(solver)
    assert norm == pytest.approx(slope, rel=SLOPE)


def test_the_self_check_of_a_run_is_silent(caplog):
    run(EXPECTING)
    run(ESTIMATE)
    assert not caplog.records


def test_an_estimate_that_only_the_model_prefers_is_kept_and_without_the_term_given_back():
    settings = replace(ESTIMATE, lam=1e-6, blend=0.2)
    assert run(replace(settings, expectation=1.0)).improved
    assert not run(replace(settings, expectation=0.0)).improved


def test_the_estimate_is_made_once():
    backbone = ToyBackbone()
    run(replace(ESTIMATE, expectation=0.0, check_gradient=False, iterations=0), backbone)
    plain = backbone.calls
    run(replace(ESTIMATE, check_gradient=False, iterations=0), backbone)
    assert backbone.calls == 2 * plain


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    path = tmp_path / "run.state"

    def stop(step):
        if step.row.iteration == 2:
            raise Cancel

    for settings in (EXPECTING, ESTIMATE):
        run(settings, callback=stop, state=path)
        resumed, whole = run(settings, state=path), run(settings)
        assert resumed.trace == whole.trace
        assert torch.equal(resumed.picture, whole.picture)


def test_given_noise_can_be_held_to_what_is_expected():
    inverted = invert_picture(ToyBackbone(), picture(), SETTINGS.inversion)
    ((_, result),) = optimise_noise(inverted, PRIOR, FIDELITY, EXPECTING)
    assert result.trace[0].terms["expectation"] > 0


def test_a_model_that_does_not_see_the_picture_starts_at_the_input_and_expects_nothing(caplog):
    backbone = ToyBackbone()
    backbone.conditioned = False
    result, wanted = run(ESTIMATE, backbone), run(SETTINGS, backbone)
    assert result.trace == wanted.trace
    assert "toy is not conditioned on the picture, so at strength 1" in caplog.text
    caplog.clear()
    weak = replace(ESTIMATE, inversion=replace(ESTIMATE.inversion, strength=0.34))
    assert "expectation" in run(weak, backbone).trace[0].terms
    assert not caplog.records


def test_presets_but_the_papers_and_the_baselines_expect_something():
    expecting = {name for name, settings in PRESETS.items() if settings.expectation}
    assert expecting == {"fast", "gentle", "strong"}


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf")])
def test_an_impossible_weight_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expectation .* must be a number, 0 or more"):
        replace(SETTINGS, expectation=wrong)


def test_pixels_expect_nothing():
    with pytest.raises(ValueError, match="expectation and start need the diffusion space"):
        MapSettings(space="pixel", expectation=1.0)
