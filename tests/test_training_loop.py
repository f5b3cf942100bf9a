"""The training loop of the quality networks."""

import pytest
import torch
from latent_map.iqa_priors.training.loop import Plan, Training, fit


def quadratic(averaging=None):
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 4.0)
    return Training(network, weight_decay=0.0, averaging=averaging)


def squares(training):
    return lambda _, __: {"square": training.network.weight.square().sum()}


def test_the_loop_stops_at_the_end_and_when_the_batches_run_out():
    training = quadratic()
    plan = Plan(lambda *_: 0.1, lambda t: t.step / 10)
    assert not fit(training, range(4), squares(training), plan)
    assert training.step == 4
    assert fit(training, range(100), squares(training), plan)
    assert training.step == 10
    assert fit(training, range(100), squares(training), plan)
    assert training.step == 10


def test_adams_first_steps_are_as_long_as_the_rate():
    training = quadratic()
    training.advance(squares(training), None, 0.5)
    assert training.network.weight.item() == pytest.approx(3.5)
    training.advance(squares(training), None, 0.25)
    assert training.network.weight.item() == pytest.approx(3.25, abs=0.01)


def test_averaged_weights_trail_behind():
    training = quadratic(averaging=0.5)
    for _ in range(3):
        training.advance(squares(training), None, 1.0)
    # About 3, 2, 1; the average begins with the first: (3 + 2) / 2 = 2.5, (2.5 + 1) / 2 = 1.75.
    assert training.result.weight.item() == pytest.approx(1.75, abs=0.05)


def test_a_loss_that_is_not_finite_is_named_and_leaves_the_weights():
    training = quadratic()
    with pytest.raises(ValueError, match="loss 'broken' is not finite at step 0"):
        training.advance(lambda *_: {"broken": training.network.weight.sum() / 0}, None, 0.1)
    assert training.network.weight.item() == 4
