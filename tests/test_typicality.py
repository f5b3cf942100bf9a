"""Noise typicality as a term: its closed form, its gradient, and what it does."""

import math
from dataclasses import replace

import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import PRESETS, MapSettings
from latent_map.map_estimation.terms.typicality import half_mean_square

from .toys import PRIOR, ToyBackbone, edict, gradient_and_slope, noise, picture, solver_of

FIDELITY = load_fidelity("mse")
SETTINGS = MapSettings(
    edict(3), iterations=4, optimizer="adam", learning_rate=0.02, memory="store", typicality=0.01
)
SLOPE = 1e-6  # relative, of a central difference in float64


def test_it_is_half_for_noise_as_long_as_the_root_of_its_size():
    x = noise(0, 2, 4, 5, 6)
    unit = x / x.flatten(1).norm(dim=1)[:, None, None, None] * math.sqrt(4 * 5 * 6)
    torch.testing.assert_close(half_mean_square(unit), torch.full((2,), 0.5, dtype=x.dtype))
    torch.testing.assert_close(half_mean_square(3 * unit), torch.full((2,), 4.5, dtype=x.dtype))


def test_it_is_the_log_density_of_a_standard_normal_up_to_a_constant():
    a, b = noise(0, 1, 4, 5, 6), 2 * noise(1, 1, 4, 5, 6)
    normal = torch.distributions.Normal(0.0, 1.0)
    wanted = normal.log_prob(a).mean() - normal.log_prob(b).mean()
    torch.testing.assert_close((half_mean_square(b) - half_mean_square(a))[0], wanted)


def test_its_gradient_is_the_noise_over_its_size():
    x = noise(0, 1, 4, 5, 6).requires_grad_(True)
    (gradient,) = torch.autograd.grad(half_mean_square(x).sum(), x)
    torch.testing.assert_close(gradient, x.detach() / (4 * 5 * 6))


@pytest.mark.parametrize("bijection", ["edict", "bdia", "obelm"])
def test_the_solvers_gradient_is_the_slope_of_the_whole_energy(bijection):
    """Through the pictures and directly, for maps of two members and of one."""
    from latent_map.edict.bijections import bijection_options
    from latent_map.edict.inversion_options import InversionOptions

    options = (
        edict(3)
        if bijection == "edict"
        else InversionOptions(3, bijection=bijection_options(bijection))
    )
    solver = solver_of(replace(SETTINGS, inversion=options), fidelity=FIDELITY)
    norm, slope = gradient_and_slope(solver)
    assert norm == pytest.approx(slope, rel=SLOPE)


def test_the_self_check_of_a_run_sees_the_right_gradient(caplog):
    (result,) = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, SETTINGS)
    assert not caplog.records
    assert result.trace[0].terms.keys() == {"quality", "fidelity", "typicality"}


def test_more_of_it_makes_the_noise_shorter():
    lengths = []
    for weight in (1e-6, 1e-3, 1e-2, 1e-1):
        chosen = replace(SETTINGS, typicality=weight, optimizer="sgd", learning_rate=20.0)
        (result,) = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, chosen)
        lengths.append(result.trace[-1].terms["typicality"])
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 0.98 * lengths[0]


def test_the_papers_energy_has_none():
    assert PRESETS["paper"].typicality == 0
    assert PRESETS["paper"].start == "input"


def test_the_input_is_measured_with_its_own_noise():
    (result,) = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, SETTINGS)
    assert result.before.terms["typicality"] == result.trace[0].terms["typicality"]
    chosen = replace(SETTINGS, start="estimate", blend=0.3)
    (other,) = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, chosen)
    assert other.before.terms["typicality"] == pytest.approx(result.before.terms["typicality"])
    assert other.trace[0].terms["typicality"] != other.before.terms["typicality"]
    assert other.before.energy == pytest.approx(result.before.energy)
