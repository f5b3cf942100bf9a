import logging

import pytest
import torch
from latent_map.edict.protocols import Binding
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.gradient_check import LIMIT, check_gradient

from .test_solver import make_solver, settings
from .toys import PRIOR, ToyBackbone, picture

QUADRATIC = 0.03  # curvature of a parabola over a step of 1 % of its value


class CutDenoiser:
    """A network of which an outside wrapper has detached a part, without any error."""

    def __init__(self, whole, share):
        self.whole, self.share = whole, share

    def __call__(self, latent, label):
        cut = self.whole(latent.detach(), label)
        return self.share * cut + (1 - self.share) * self.whole(latent, label)


class CutBackbone(ToyBackbone):
    def __init__(self, share):
        super().__init__()
        self.share = share

    def bind(self, image):
        binding = super().bind(image)
        return Binding(CutDenoiser(binding.denoiser, self.share), binding.codec)


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if "gradient check" in r.getMessage()]


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("lam", [0.01, 10.0])
def test_a_right_gradient_passes(caplog, memory, lam):
    make_solver(settings(1, memory=memory, lam=lam, check_gradient=True)).run()
    assert not warnings(caplog)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_cut_gradient_is_found(caplog, share):
    make_solver(settings(1, check_gradient=True), backbone=CutBackbone(share)).run()
    (warning,) = warnings(caplog)
    assert "take patches and wrappers out" in warning
    caplog.clear()
    make_solver(settings(1), backbone=CutBackbone(share)).run()
    assert not warnings(caplog)


def test_a_prior_that_is_cut_is_found(caplog):
    def metric(image):
        return image.flatten(1).var(1) + 3 * image.detach().flatten(1).var(1)

    prior = QualityPrior("cut", metric, Logistic(0.2, 0.08))
    make_solver(settings(1, check_gradient=True), prior=prior).run()
    assert len(warnings(caplog)) == 1


def test_the_check_changes_nothing_and_costs_at_most_two_reconstructions():
    results, calls = [], []
    for check in (False, True):
        backbone = ToyBackbone()
        results.append(make_solver(settings(3, check_gradient=check), backbone=backbone).run())
        calls.append(backbone.calls)
    assert results[0].trace == results[1].trace
    assert torch.equal(results[0].x, results[1].x)
    reconstruction = 2 * 3
    assert calls[1] - calls[0] in (reconstruction, 2 * reconstruction)


def test_pixels_are_not_checked(caplog):
    seen = []

    def metric(image):
        seen.append(1)
        return PRIOR.metric(image)

    prior = QualityPrior("counting", metric, PRIOR.logistic)
    make_solver(settings(2, space="pixel", check_gradient=True), prior=prior).run()
    assert len(seen) == 3


def test_the_slopes_of_a_known_energy(caplog):
    start = [torch.tensor([3.0, 4.0], dtype=torch.float64)]

    def energy(variables):
        return float(variables[0].square().sum())

    right = check_gradient(energy, start, [2 * start[0]], 25.0, 25.0)
    assert right.autograd == pytest.approx(10.0)
    assert right.difference == pytest.approx(10.0, rel=QUADRATIC)
    assert not warnings(caplog)
    with caplog.at_level(logging.WARNING):
        wrong = check_gradient(energy, start, [3 * start[0]], 25.0, 25.0)
    assert wrong.error > LIMIT
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("gradient", [0.0, 1e-12, 1e6, float("nan")])
def test_nothing_is_measured_where_the_slope_is_too_flat_or_too_steep(gradient):
    variables = [torch.ones(2, dtype=torch.float64)]
    assert check_gradient(lambda _: 1.0, variables, [gradient * variables[0]], 1.0, 1.0) is None


def test_an_energy_that_is_flat_while_the_gradient_is_not_is_found(caplog):
    variables = [torch.ones(2, dtype=torch.float64)]
    found = check_gradient(lambda _: 1.0, variables, variables, 1.0, 1.0)
    assert found.error == 1
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("shift", [-0.5, 0.5, -2.0, 2.0])
def test_black_and_white_pixels_are_no_alarm(caplog, shift):
    image = (4 * (picture() - 0.5) + 0.5 + shift).clamp(0, 1)
    assert ((image == 0) | (image == 1)).any()
    make_solver(settings(1, check_gradient=True), image=image).run()
    assert not warnings(caplog)


class RoundedBackbone(ToyBackbone):
    """A network of half precision: what it says is rounded."""

    def bind(self, image):
        binding = super().bind(image)
        whole = binding.denoiser
        rounded = lambda latent, label: whole(latent, label).bfloat16().to(latent)  # noqa: E731
        return Binding(rounded, binding.codec)


def test_a_network_of_half_precision_is_no_alarm(caplog):
    make_solver(settings(1, check_gradient=True), backbone=RoundedBackbone()).run()
    assert not warnings(caplog)


def test_the_part_that_is_cut_is_named(caplog):
    make_solver(settings(1, check_gradient=True), backbone=CutBackbone(1.0)).run()
    assert "network, codec" in warnings(caplog)[0]
