"""BDIA and O-BELM as maps of pairs; whole pictures are in test_bijections.py."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.edict.bijections.bdia import Bdia
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.obelm import OBelm
from latent_map.edict.bijections.two_step import GROWTH_LIMIT
from latent_map.edict.schedule import (
    Schedule,
    Step,
    flow_schedule,
    vp_schedule,
)
from latent_map.edict.tape import Tape

from .pairs import (
    ALPHAS,
    MEMORIES,
    PREDICTIONS,
    RULES,
    distance,
    noise_pair,
    schedule_of,
    shrinkage,
    size,
    two_step,
    two_step_toy,
)
from .toys import ConvDenoiser, differentiable_reconstruct, flow_times, noise

CLOSED_FORM = 1e-12  # float64, tens of operations on numbers up to 15
LOW_PRECISION_ROUND_TRIP = 1e-12  # the cast hides the state's rounding from the network
ROUND_TRIP = 1e-12  # hundreds of roundings of 2e-16, before the map amplifies them
SAME_GRADIENT = 1e-12  # PyTorch's own graph, the same derivatives added in another order
MODES = 1e-13  # the memory modes do the same arithmetic
DIFFERENCE = 1e-7  # relative, of a central difference with a step of 1e-5

every_rule = pytest.mark.parametrize("rule", RULES)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
proofs = settings(max_examples=30, deadline=None, derandomize=True, database=None)


@st.composite
def problems(draw):
    """A random map, a pair for it, and the rounding it may show."""
    rule = draw(st.sampled_from(RULES))
    steps = draw(st.integers(1, 8))
    prediction = draw(st.sampled_from(PREDICTIONS))
    spacing = draw(st.sampled_from(["trailing", "leading"]))
    gamma = draw(st.floats(GROWTH_LIMIT ** (-1 / max(1, steps - 1)) + 1e-6, 1.0))
    map_ = two_step_toy(rule, steps, prediction, gamma, spacing)
    shape = (draw(st.integers(1, 3)), 4, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    pair = noise_pair(draw(st.integers(0, 99)), *shape)
    return map_, pair, ROUND_TRIP * map_.growth * shrinkage(map_)


@proofs
@given(problems())
def test_invert_undoes_reconstruct(problem):
    map_, noises, rounding = problem
    latents = map_.reconstruct(noises)
    assert latents.x.shape == noises.x.shape
    assert distance(map_.invert(latents), noises) < rounding * size(noises, latents)


@proofs
@given(problems())
def test_reconstruct_undoes_invert_from_any_start(problem):
    map_, latents, rounding = problem
    noises = map_.invert(latents)
    assert noises.x.shape == latents.x.shape
    assert distance(map_.reconstruct(noises), latents) < rounding * size(noises, latents)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("steps", [5, 10, 20])
@every_prediction
@every_rule
def test_a_float64_state_round_trips_through_a_low_precision_network(
    rule, prediction, steps, dtype
):
    map_ = two_step_toy(rule, steps, prediction, dtype=dtype)
    latents = map_.start(noise(0, 1, 4, 8, 8))
    noises = map_.invert(latents)
    assert noises.x.dtype == torch.float64
    error = distance(map_.reconstruct(noises), latents)
    assert error < LOW_PRECISION_ROUND_TRIP * size(noises)


def published(rule, levels, labels, denoiser, pair, gamma):
    """The papers' update for noise prediction, by the levels (alpha bar) of x_T ... x_0.

    Zhang et al., arXiv 2307.10829 (BDIA-DDIM); Wang et al., arXiv 2410.07273 (O-BELM).
    """
    a = [math.sqrt(level) for level in levels]
    s = [math.sqrt(1 - level) for level in levels]
    older = pair.x
    eps = denoiser(older, labels[0])
    now = a[1] / a[0] * older + (s[1] - a[1] / a[0] * s[0]) * eps + pair.y
    for i in range(1, len(labels)):
        eps = denoiser(now, labels[i])
        up, here, down = i - 1, i, i + 1
        if rule == "bdia":
            new = gamma * older + (a[down] - gamma * a[up]) / a[here] * now
            new = new + (s[down] - a[down] / a[here] * s[here]) * eps
            new = new - gamma * (s[up] - a[up] / a[here] * s[here]) * eps
        else:
            h, h_up = s[here] / a[here] - s[down] / a[down], s[up] / a[up] - s[here] / a[here]
            new = (h / h_up) ** 2 * a[down] / a[up] * older
            new = new + (h_up**2 - h**2) / h_up**2 * a[down] / a[here] * now
            new = new - a[down] * h * (h + h_up) / h_up * eps
        older, now = now, new
    return now, older


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
@every_rule
def test_with_noise_prediction_the_map_is_the_published_one(rule, steps, gamma):
    map_, pair = two_step_toy(rule, steps, "eps", gamma), noise_pair()
    labels = [step.label for step in map_.schedule.steps]
    levels = [float(ALPHAS[label]) for label in labels] + [1.0]
    wanted = published(rule, levels, labels, map_.denoiser, pair, gamma)
    assert distance(map_.reconstruct(pair), wanted) < CLOSED_FORM * size(wanted)


def test_obelm_on_a_flow_is_the_leapfrog_rule_in_time():
    shifted = flow_schedule(flow_times(6, 3.0), 6)
    map_ = replace(two_step_toy("obelm", 6, "flow"), schedule=shifted)
    times = [step.label for step in shifted.steps] + [0.0]
    pair = noise_pair()
    older = pair.x
    now = older + (times[1] - times[0]) * map_.denoiser(older, times[0]) + pair.y
    for up, here, down in zip(times, times[1:], times[2:], strict=False):
        h, h_up = here - down, up - here
        slope = map_.denoiser(now, here)
        new = now - h * slope + (h / h_up) ** 2 * (older - now - h_up * slope)
        older, now = now, new
    assert distance(map_.reconstruct(pair), (now, older)) < CLOSED_FORM * size(pair)


def test_bdia_of_v_is_bdia_of_the_noise_it_stands_for():
    levels = {float(label): float(ALPHAS[label]) for label in range(1000)}
    inner = ConvDenoiser(channels=4)

    def velocity(latent, label):
        root, rest = math.sqrt(levels[label]), math.sqrt(1 - levels[label])
        eps = inner(latent, label)
        return (eps - rest * latent) / root

    pair = noise_pair()
    by_eps = Bdia(inner, schedule_of("eps", 8), 0.9).reconstruct(pair)
    by_v = Bdia(velocity, schedule_of("v", 8), 0.9).reconstruct(pair)
    assert distance(by_v, by_eps) < CLOSED_FORM * size(by_eps, pair)


@pytest.mark.parametrize("strength", [1.0, 0.6])
@every_prediction
@every_rule
def test_a_network_that_knows_picture_and_noise_is_followed_exactly(rule, prediction, strength):
    picture, eps = noise_pair()

    def line(label):
        """Latent and network output where picture and noise are mixed as at that label."""
        if prediction == "flow":
            return (1 - label) * picture + label * eps, eps - picture
        root, rest = math.sqrt(ALPHAS[label]), math.sqrt(1 - ALPHAS[label])
        mixed = root * picture + rest * eps
        return mixed, (eps if prediction == "eps" else root * eps - rest * picture)

    schedule = schedule_of(prediction, 7).last(strength)
    map_ = two_step(lambda latent, label: line(label)[1], schedule, rule, 0.8)
    first, *_, last = [step.label for step in schedule.steps]
    noises = LatentPair(line(first)[0], torch.zeros_like(picture))
    wanted = (picture, line(last)[0])
    # of v, errors grow with the square of the first to the last angle: 30 here
    assert distance(map_.reconstruct(noises), wanted) < 10 * CLOSED_FORM * size(wanted)


def test_two_steps_worked_by_hand():
    # Up from x_1: R(x) = (x - 3 f) / 2. g = (5 / 3)^2 * 2 / 4 = 25 / 18 for O-BELM.
    schedule = Schedule((Step(2.0, 3.0, 0), Step(4.0, 5.0, 0)))
    map_ = OBelm(lambda latent, label: 2 * latent, schedule)
    noises = LatentPair(torch.tensor([1.0]).double(), torch.tensor([10.0]).double())
    # x_1 = 2 + 3 * 2 + 10 = 18, f = 36; x_0 = 4 * 18 + 5 * 36 + 25 / 18 (1 - (18 - 108) / 2)
    latents = map_.reconstruct(noises)
    assert float(latents.y) == 18
    assert float(latents.x) == pytest.approx(252 + 25 / 18 * 46)
    bdia = Bdia(map_.denoiser, schedule, 0.5).reconstruct(noises)
    assert float(bdia.x) == pytest.approx(252 + 0.5 * 46)


def test_the_start_makes_a_plain_last_step_lead_to_the_picture():
    map_, latent = two_step_toy("obelm", 20), noise(0, 1, 4, 8, 8)
    a, b, label = map_.schedule.steps[-1]

    def missed(noisier):
        return float((a * noisier + b * map_.denoiser(noisier, label) - latent).norm())

    x, y = map_.start(latent)
    assert torch.equal(x, latent)
    assert missed(y) < 0.05 * missed(latent)


class TestGradient:
    @staticmethod
    def of(map_, pair, memory):
        """By pull_back, of the loss sum(x cos) + sum(y^2) / 2."""
        tape = Tape(map_.calls, memory)
        latents = map_.reconstruct(pair, tape)
        return map_.pull_back(tape, LatentPair(torch.cos(latents.x), latents.y))

    @staticmethod
    def loss(latents):
        return latents.x.sin().sum() + latents.y.square().sum() / 2

    @proofs
    @given(problem=problems(), memory=st.sampled_from(MEMORIES))
    def test_pull_back_equals_autograd_through_the_plain_loop(self, problem, memory):
        map_, pair, _ = problem
        leaves = LatentPair(*(tensor.clone().requires_grad_(True) for tensor in pair))
        wanted = torch.autograd.grad(self.loss(map_.reconstruct(leaves)), leaves)
        assert distance(self.of(map_, pair, memory), wanted) < SAME_GRADIENT * size(wanted)

    @pytest.mark.parametrize("gamma", [1.0, 0.7])
    @every_rule
    def test_by_x_it_follows_the_published_update_through_the_tie(self, rule, gamma):
        map_, pair = two_step_toy(rule, 6, "eps", gamma), noise_pair()
        labels = [step.label for step in map_.schedule.steps]
        levels = [float(ALPHAS[label]) for label in labels] + [1.0]
        leaf = pair.x.clone().requires_grad_(True)
        tied = LatentPair(leaf, pair.y)
        latents = LatentPair(*published(rule, levels, labels, map_.denoiser, tied, gamma))
        (wanted,) = torch.autograd.grad(self.loss(latents), leaf)
        ours = self.of(map_, pair, "recompute").x
        assert distance((ours,), (wanted,)) < SAME_GRADIENT * size((wanted,))

    @every_prediction
    @every_rule
    def test_it_is_the_slope_of_a_finite_difference(self, rule, prediction):
        map_, pair = two_step_toy(rule, 5, prediction), noise_pair()
        gradient = self.of(map_, pair, "store")
        for along in (noise_pair(7), LatentPair(noise(8, 1, 4, 4, 4), torch.zeros(1, 4, 4, 4))):
            ahead, behind = (
                self.loss(map_.reconstruct(LatentPair(pair.x + h * along.x, pair.y + h * along.y)))
                for h in (1e-5, -1e-5)
            )
            slope = float(ahead - behind) / 2e-5
            ours = sum(float((g * d).sum()) for g, d in zip(gradient, along, strict=True))
            assert ours == pytest.approx(slope, rel=DIFFERENCE)

    @every_rule
    def test_all_memory_modes_give_the_same(self, rule):
        map_, pair = two_step_toy(rule), noise_pair()
        first, *others = [self.of(map_, pair, memory) for memory in MEMORIES]
        assert all(distance(other, first) < MODES * size(first) for other in others)

    @every_rule
    def test_the_inversions_tape_gives_it(self, rule):
        map_ = two_step_toy(rule)
        latents = map_.start(noise(0, 1, 4, 4, 4))
        tape = Tape(map_.calls, "store")
        pair = map_.invert(latents, tape)
        ours = map_.pull_back(tape, LatentPair(torch.cos(latents.x), latents.y))
        wanted = self.of(map_, pair, "recompute")
        assert distance(ours, wanted) < SAME_GRADIENT * size(wanted)

    @every_rule
    def test_the_map_can_be_part_of_a_larger_graph(self, rule):
        map_, pair = two_step_toy(rule), noise_pair()
        leaves = LatentPair(*(tensor.clone().requires_grad_(True) for tensor in pair))
        self.loss(differentiable_reconstruct(map_, leaves)).backward()
        wanted = self.of(map_, pair, "store")
        assert distance((leaves.x.grad, leaves.y.grad), wanted) < MODES * size(wanted)


@every_rule
def test_a_step_costs_one_network_call(rule):
    map_, denoiser = two_step_toy(rule), ConvDenoiser(channels=4)
    map_ = replace(map_, denoiser=denoiser)
    n = len(map_.schedule)
    assert map_.calls == n == 5
    for memory, extra in (("store", 0), ("recompute", n), (3, n - 3)):
        tape = Tape(n, memory)
        denoiser.calls = 0
        latents = map_.start(noise(0, 1, 4, 4, 4))
        assert denoiser.calls == map_.start_calls == 2
        pair = map_.invert(latents, tape)
        assert denoiser.calls == map_.start_calls + n
        map_.pull_back(tape, latents)
        assert denoiser.calls == map_.start_calls + n + extra
        denoiser.calls = 0
        map_.reconstruct(pair)
        assert denoiser.calls == n


@every_rule
def test_leadings_idle_step_is_left_out(rule):
    with_it = two_step_toy(rule, 6, "eps", spacing="leading")
    assert with_it.schedule.steps[-1].b == 0
    without = replace(with_it, schedule=Schedule(with_it.schedule.steps[:-1], "eps"))
    pair = noise_pair()
    assert with_it.calls == without.calls == 5
    assert distance(with_it.reconstruct(pair), without.reconstruct(pair)) == 0


@every_rule
def test_a_schedule_that_moves_nothing_leaves_the_picture_as_it_is(rule):
    map_, latent = two_step_toy(rule, 1, "eps", spacing="leading"), noise(0, 1, 4, 4, 4)
    latents = map_.start(latent)
    assert torch.equal(map_.reconstruct(map_.invert(latents)).x, latent)
    assert map_.calls == 0


@every_rule
def test_a_batch_is_its_single_items(rule):
    map_, latents = two_step_toy(rule), noise(3, 3, 4, 5, 6)
    together = map_.invert(map_.start(latents))
    singles = [map_.invert(map_.start(item)) for item in latents.split(1)]
    apart = [torch.cat(parts) for parts in zip(*singles, strict=True)]
    assert distance(together, apart) < ROUND_TRIP * size(together)


def test_growth_is_what_the_start_is_amplified_by():
    map_ = replace(two_step_toy("bdia", 8, "flow", 0.6), denoiser=lambda latent, label: 0 * latent)
    latents = noise_pair(0, 1, 1, 2, 2)
    moved = LatentPair(latents.x, latents.y + 1)
    ahead = (map_.invert(moved).y - map_.invert(latents).y).abs().max()
    assert map_.growth == pytest.approx(0.6**-7)
    # without a network x_{i-1} - x_i = -gamma (x_i - x_{i+1}): r is x_1 - x_0 times the growth
    assert float(ahead) == pytest.approx(map_.growth)


def test_obelm_refuses_a_schedule_whose_first_step_dwarfs_its_last():
    times = [1.0, 0.2, 0.1, 0.0]
    steps = tuple(Step(1.0, after - before, before) for before, after in pairwise(times))
    with pytest.raises(ValueError, match=r"amplifies errors 64 times.*choose another number"):
        OBelm(ConvDenoiser(), Schedule(steps, "flow"))
    assert OBelm(ConvDenoiser(), Schedule(steps[1:], "flow")).growth == pytest.approx(1)


@every_rule
def test_a_v_network_may_start_from_zero_signal(rule):
    roots = ALPHAS.sqrt()
    alphas = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    map_ = two_step(ConvDenoiser(channels=4), vp_schedule(alphas, 10, "v"), rule)
    latents = map_.start(noise(0, 1, 4, 4, 4))
    noises = map_.invert(latents)
    assert distance(map_.reconstruct(noises), latents) < ROUND_TRIP * shrinkage(map_)
    assert noises.x.std() < 2


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("steps", [1, 2, 4, 10, 20, 50, 1000])
@every_prediction
def test_obelm_is_stable_on_every_schedule_models_have(prediction, steps, spacing):
    assert two_step_toy("obelm", steps, prediction, spacing=spacing).growth < 5
