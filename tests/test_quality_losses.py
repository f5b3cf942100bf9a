"""Labels, Thurstone's model and the fidelity loss against numbers worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.iqa_priors.training.pairwise_loss import (
    dataset_loss,
    fidelity_loss,
    log_preference,
    mixture_loss,
    preference_label,
)

ROUNDING = 1e-12  # float64, a handful of operations
TABLE = 5e-5  # tables of the normal distribution print four digits
# z: Phi(z), from a printed table of the normal distribution.
NORMAL = {0.0: 0.5, 1.0: 0.8413, -1.0: 0.1587, 2.0: 0.9772, 0.5: 0.6915}

proofs = settings(max_examples=60, deadline=None, derandomize=True, database=None)
scores = st.floats(-30, 30)


def value(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("z", "probability"), NORMAL.items())
def test_the_difference_counts_in_units_of_root_two(z, probability):
    assert log_preference(value(z * math.sqrt(2)), value(0)).exp() == pytest.approx(
        probability, abs=TABLE
    )


@proofs
@given(scores, scores)
def test_one_of_the_two_is_preferred(first, second):
    either = log_preference(value(first), value(second)).exp()
    other = log_preference(value(second), value(first)).exp()
    assert either + other == pytest.approx(1, abs=ROUNDING)


def test_labels_follow_the_opinions():
    assert preference_label(vector(3, 1, 2), vector(1, 3, 2)).tolist() == [1, 0, 0.5]


def test_ties_are_the_first_ones_as_printed():
    assert preference_label(vector(3, 1, 2), vector(1, 3, 2), "first").tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("difference", "label", "loss"),
    [
        # 1 - sqrt(1/2), whichever is the better one.
        (0.0, 1.0, 0.292893),
        (0.0, 0.0, 0.292893),
        (0.0, 0.5, 0.0),
        # Phi(1) = 0.841345, its root 0.917249; Phi(-1) = 0.158655, its root 0.398316.
        (math.sqrt(2), 1.0, 0.082751),
        (math.sqrt(2), 0.0, 0.601684),
        # sqrt(1/2) (0.917249 + 0.398316) = 0.930245.
        (math.sqrt(2), 0.5, 0.069755),
        (-math.sqrt(2), 0.5, 0.069755),
        # sqrt(3/4) 0.917249 + sqrt(1/4) 0.398316 = 0.993519.
        (math.sqrt(2), 0.75, 0.006481),
    ],
)
def test_losses_worked_by_hand(difference, label, loss):
    assert fidelity_loss(value(difference), value(0), label) == pytest.approx(loss, abs=2e-6)


@proofs
@given(scores, scores, st.sampled_from([0.0, 0.5, 1.0]))
def test_the_loss_lies_between_zero_and_one_and_knows_no_order(first, second, label):
    loss = fidelity_loss(value(first), value(second), label)
    assert -ROUNDING <= loss <= 1
    turned = fidelity_loss(value(second), value(first), 1 - label)
    assert loss == pytest.approx(turned.item(), abs=ROUNDING)


def test_the_loss_is_least_where_the_prediction_is_the_label():
    differences = torch.linspace(-4, 4, 801, dtype=torch.float64)
    for label in (0.2, 0.5, 0.9):
        losses = fidelity_loss(differences, value(0), label)
        at = log_preference(differences[losses.argmin()], value(0)).exp()
        assert at == pytest.approx(label, abs=0.004)  # half a step of the grid
        assert losses.min() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("difference", [0.0, 6.0, 30.0, 500.0])
def test_value_and_slope_are_finite_at_the_edges(difference, label, dtype):
    for sign in (1, -1):
        first = torch.tensor(sign * difference, dtype=dtype, requires_grad=True)
        loss = fidelity_loss(first, torch.zeros((), dtype=dtype), label)
        loss.backward()
        assert loss.isfinite()
        assert first.grad.isfinite()
        if label == 1 and difference == 6:
            assert first.grad < 0


def test_the_slope_is_that_of_finite_differences():
    first = vector(-7, -2, -0.3, 0, 0.4, 2, 7).requires_grad_(True)
    label = vector(1, 0, 0.5, 1, 0, 0.5, 1)
    assert torch.autograd.gradcheck(lambda x: fidelity_loss(x, value(0.1), label), first)


def test_the_tail_keeps_far_wrong_pairs_moving_and_leaves_ties_alone():
    first = vector(-40.0).requires_grad_(True)
    fidelity_loss(first, value(0), 1.0).sum().backward()
    assert first.grad.abs() < 1e-30
    first.grad = None
    fidelity_loss(first, value(0), 1.0, tail=0.05).sum().backward()
    assert first.grad.item() == pytest.approx(-0.05)
    assert fidelity_loss(value(0), value(0), 0.5, tail=0.05) == pytest.approx(0, abs=ROUNDING)


def test_a_dataset_is_the_mean_of_its_pairs():
    # Pairs (1, 2) right by sqrt 2, (1, 3) right by 2 sqrt 2, (2, 3) a tie sqrt 2 apart.
    root = math.sqrt(2)
    loss = dataset_loss(vector(2 * root, root, 0), vector(5, 3, 3))
    # 1 - sqrt(Phi(2)) = 1 - sqrt(0.977250) = 0.011441
    assert loss == pytest.approx((0.082751 + 0.011441 + 0.069755) / 3, abs=2e-6)


def test_as_printed_a_tie_depends_on_the_order():
    opinions, root = vector(3, 3), math.sqrt(2)
    assert dataset_loss(vector(root, 0), opinions, "first") == pytest.approx(0.082751, abs=2e-6)
    assert dataset_loss(vector(0, root), opinions, "first") == pytest.approx(0.601684, abs=2e-6)
    first, second = (dataset_loss(s, opinions) for s in (vector(root, 0), vector(0, root)))
    assert first == pytest.approx(second.item(), abs=ROUNDING)


def test_a_dataset_counts_once_however_large_it_is():
    root = math.sqrt(2)
    small = (vector(0.0, root), vector(2, 1))  # wrong by sqrt 2: 0.601684
    large = (vector(0.0, 0, 0, 0, 0), vector(1, 2, 3, 4, 5))  # ten undecided pairs: 0.292893
    loss = mixture_loss([small[0], large[0]], [small[1], large[1]])
    assert loss == pytest.approx((0.601684 + 0.292893) / 2, abs=2e-6)


def test_datasets_are_not_compared_with_each_other():
    moved = vector(1.0, 0.0).requires_grad_(True)
    still = vector(9.0, -9.0)
    alone = dataset_loss(moved, vector(1, 2))
    together = mixture_loss([moved, still], [vector(1, 2), vector(80, 20)])
    (first,) = torch.autograd.grad(alone, moved)
    (second,) = torch.autograd.grad(together, moved)
    torch.testing.assert_close(second, first / 2, rtol=ROUNDING, atol=ROUNDING)


def test_a_dataset_with_one_picture_is_left_out():
    pair = (vector(0.0, 1.0), vector(1, 2))
    both = mixture_loss([pair[0], vector(3.0)], [pair[1], vector(1)])
    assert both == dataset_loss(*pair)
    with pytest.raises(ValueError, match="at least 2"):
        mixture_loss([vector(3.0)], [vector(1)])
