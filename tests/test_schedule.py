import math
from itertools import pairwise

import pytest
import torch
from latent_map.edict.schedule import (
    TRAIN_STEPS,
    Schedule,
    flow_schedule,
    scaled_linear_alphas,
    vp_schedule,
)

from .toys import flow_times, noise

ALPHAS = scaled_linear_alphas()
ROUNDING = 1e-12  # float64, a few dozen operations on numbers up to 15
PREDICTIONS = ("eps", "v")


def step_through(schedule, state, network):
    """Plain (uncoupled) sampling: the states at all levels, noisiest first."""
    states = [state]
    for step in schedule.steps:
        states.append(step.a * states[-1] + step.b * network(len(states) - 1))
    return states


def levels(labels, last):
    return [float(ALPHAS[label]) for label in labels] + [last]


def test_alphas_are_stable_diffusions():
    assert len(ALPHAS) == TRAIN_STEPS
    assert ALPHAS.dtype == torch.float64
    assert (ALPHAS.diff() < 0).all()
    assert float(ALPHAS[0]) == pytest.approx(1 - 0.00085, abs=ROUNDING)
    assert float(ALPHAS[-1]) == pytest.approx(0.0047, abs=5e-5)  # two digits, as published


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_every_number_of_steps_falls_strictly_in_labels_and_levels(spacing):
    alphas = ALPHAS.tolist()  # indexing a tensor half a million times takes seconds
    for steps in range(1, TRAIN_STEPS + 1):
        schedule = vp_schedule(alphas, steps, "eps", spacing)
        labels = torch.tensor([step.label for step in schedule.steps])
        ratios = torch.tensor([step.a for step in schedule.steps])
        assert len(schedule) == steps
        assert (labels.diff() < 0).all()
        assert 0 <= int(labels[-1]) <= int(labels[0]) < TRAIN_STEPS
        moving = ratios if spacing == "trailing" else ratios[:-1]
        assert (moving > 1).all()  # a = sqrt(alpha_next / alpha): every level is cleaner


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50, 333, 1000])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_trailing_begins_at_the_last_training_step_and_ends_at_alpha_one(steps, prediction):
    schedule = vp_schedule(ALPHAS, steps, prediction)
    assert schedule.steps[0].label == TRAIN_STEPS - 1
    start = float(ALPHAS[-1])
    clean = start**0.5  # the signal's amplitude grows from sqrt(alpha_T) to 1
    if prediction == "eps":
        product = math.prod(step.a for step in schedule.steps)
        assert product == pytest.approx(1 / clean, rel=ROUNDING)
    else:
        turns = sum(math.asin(-step.b) for step in schedule.steps)
        assert turns == pytest.approx(math.acos(clean), rel=ROUNDING)


def test_labels_worked_by_hand():
    trailing = vp_schedule(ALPHAS, 4, "eps", "trailing").steps
    leading = vp_schedule(ALPHAS, 20, "eps", "leading").steps
    uneven = vp_schedule(ALPHAS, 7, "eps", "trailing").steps  # multiples of 142.857
    assert [step.label for step in trailing] == [999, 749, 499, 249]
    assert [step.label for step in uneven] == [999, 856, 713, 570, 428, 285, 142]
    assert [step.label for step in leading] == list(range(950, -1, -50))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_leadings_last_step_moves_nothing(prediction):
    *moving, last = vp_schedule(ALPHAS, 20, prediction, "leading").steps
    assert (last.a, last.b) == (1.0, 0.0)
    assert all(step.b != 0 for step in moving)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_eps_coefficients_are_equation_4(spacing):
    schedule = vp_schedule(ALPHAS, 10, "eps", spacing)
    labels = [step.label for step in schedule.steps]
    alphas = levels(labels, 1.0 if spacing == "trailing" else float(ALPHAS[0]))
    for step, now, cleaner in zip(schedule.steps, alphas[:-1], alphas[1:], strict=True):
        b = math.sqrt(1 - cleaner) - math.sqrt(cleaner * (1 - now) / now)
        assert step.a == pytest.approx(math.sqrt(cleaner / now), rel=ROUNDING)
        assert step.b == pytest.approx(b, abs=ROUNDING)


def test_a_silent_network_leaves_the_product_of_a():
    schedule = vp_schedule(ALPHAS, 13, "eps")
    state = noise(0, 8)
    end = step_through(schedule, state, lambda k: torch.zeros_like(state))[-1]
    assert torch.allclose(end, state / float(ALPHAS[-1]) ** 0.5, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("steps", [1, 5, 20])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_network_lands_on_every_level(prediction, spacing, steps):
    schedule = vp_schedule(ALPHAS, steps, prediction, spacing)
    labels = [step.label for step in schedule.steps]
    alphas = levels(labels, 1.0 if spacing == "trailing" else float(ALPHAS[0]))
    x0, eps = noise(1, 16), noise(2, 16)
    truth = [math.sqrt(alpha) * x0 + math.sqrt(1 - alpha) * eps for alpha in alphas]

    def network(k):
        v = math.sqrt(alphas[k]) * eps - math.sqrt(1 - alphas[k]) * x0
        return eps if prediction == "eps" else v

    for state, wanted in zip(step_through(schedule, truth[0], network), truth, strict=True):
        assert torch.allclose(state, wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_follows_a_straight_line_exactly(shift):
    schedule = flow_schedule(flow_times(9, shift), 9)
    x0, end = noise(3, 16), noise(4, 16)
    states = step_through(schedule, end, lambda k: end - x0)
    times = [step.label for step in schedule.steps] + [0.0]
    assert times[0] == 1
    assert all(later < sooner for sooner, later in pairwise(times))
    for state, t in zip(states, times, strict=True):
        assert torch.allclose(state, (1 - t) * x0 + t * end, rtol=0, atol=ROUNDING)


def test_flow_shift_worked_by_hand():
    steps = flow_schedule(flow_times(2, shift=3.0), 2).steps
    assert [step.label for step in steps] == pytest.approx([1.0, 0.75])  # 3 / 2 / (1 + 2 / 2)
    assert [step.b for step in steps] == pytest.approx([-0.25, -0.75])
    assert all(step.a == 1 for step in steps)


@pytest.mark.parametrize(("strength", "kept"), [(1.0, 20), (0.5, 10), (0.26, 5), (1e-9, 1)])
def test_partial_strength_keeps_the_least_noisy_steps(strength, kept):
    schedule = vp_schedule(ALPHAS, 20, "v")
    assert schedule.last(strength).steps == schedule.steps[-kept:]


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.01, math.nan])
def test_impossible_strength_is_refused(strength):
    with pytest.raises(ValueError, match="strength"):
        vp_schedule(ALPHAS, 20).last(strength)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_impossible_number_of_steps_is_refused(steps, spacing):
    with pytest.raises(ValueError, match="choose from 1 to 1000"):
        vp_schedule(ALPHAS, steps, "eps", spacing)
    with pytest.raises(ValueError, match="choose from 1 to 1000"):
        flow_schedule(flow_times(1000), steps, spacing)


def test_unknown_choices_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown prediction 'x0'"):
        vp_schedule(ALPHAS, 4, "x0")
    with pytest.raises(ValueError, match="unknown spacing 'linspace'"):
        vp_schedule(ALPHAS, 4, "eps", "linspace")
    with pytest.raises(ValueError, match="unknown spacing 'linspace'"):
        flow_schedule(flow_times(8), 4, "linspace")


def test_zero_terminal_signal_needs_v_and_more_than_one_step():
    alphas = ALPHAS.clone()
    alphas[-1] = 0
    with pytest.raises(ValueError, match="alpha 0 cannot be used with eps"):
        vp_schedule(alphas, 4, "eps")
    with pytest.raises(ValueError, match="use more steps"):
        vp_schedule(alphas, 1, "v")
    turns = sum(math.asin(-step.b) for step in vp_schedule(alphas, 4, "v").steps)
    assert turns == pytest.approx(math.pi / 2, rel=ROUNDING)


def test_a_schedule_is_as_long_as_its_steps():
    assert len(Schedule(())) == 0
