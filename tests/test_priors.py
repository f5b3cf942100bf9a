import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.iqa_priors import PRIORS, CombinedPrior, Logistic, QualityPrior, load_prior

from .toys import picture

ROUNDING = 1e-12  # float64, a handful of operations

finite = st.floats(-50, 50)
widths = st.floats(0.1, 50)
proofs = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def score(*values):
    return torch.tensor(values, dtype=torch.float64)


def brightness(xi3=0.5, xi4=0.2, name="brightness", **options):
    def metric(image):
        return image.flatten(1).mean(1)

    return QualityPrior(name, metric, Logistic(xi3, xi4), **options)


def constant(name, quality, min_side=1):
    """A prior that gives every picture the same quality."""
    logit = math.log(quality / (1 - quality))
    return QualityPrior(
        name, lambda image: image.new_full((len(image),), logit), Logistic(0, 1), min_side
    )


@proofs
@given(finite, widths)
def test_quality_is_one_half_at_xi3_in_both_directions(xi3, xi4):
    for lower_better in (False, True):
        assert Logistic(xi3, xi4, lower_better)(score(xi3)).tolist() == [0.5]


@proofs
@given(finite, widths, finite, st.floats(0.01, 10))
def test_quality_rises_with_better_scores_and_stays_in_range(xi3, xi4, raw, better):
    scores = score(raw, raw + better)
    rising, falling = Logistic(xi3, xi4)(scores), Logistic(xi3, xi4, lower_better=True)(scores)
    assert rising[1] >= rising[0]
    assert falling[1] <= falling[0]
    assert ((rising >= 0) & (rising <= 1) & (falling >= 0) & (falling <= 1)).all()
    assert torch.allclose(rising + falling, torch.ones_like(rising), atol=ROUNDING)


def test_values_one_width_from_xi3():
    up = 1 / (1 + math.exp(-1))
    assert Logistic(4, 2)(score(6, 2)).tolist() == pytest.approx([up, 1 - up], abs=ROUNDING)
    falling = Logistic(4, 2, lower_better=True)
    assert falling(score(6, 2)).tolist() == pytest.approx([1 - up, up], abs=ROUNDING)


def test_the_sign_of_xi4_does_not_matter():
    scores = score(-3, 0, 5)
    for lower_better in (False, True):
        positive, negative = (Logistic(1, xi4, lower_better)(scores) for xi4 in (2, -2))
        assert torch.equal(positive, negative)


def test_slope_at_xi3_is_a_quarter_of_the_inverse_width():
    raw = score(3.0).requires_grad_(True)
    Logistic(3.0, 0.5, lower_better=True)(raw).sum().backward()
    assert raw.grad.item() == pytest.approx(-1 / (4 * 0.5), abs=ROUNDING)


@pytest.mark.parametrize(("xi3", "xi4"), [(0, 0), (math.nan, 1), (0, math.inf), (math.inf, 1)])
def test_impossible_logistic_is_refused(xi3, xi4):
    with pytest.raises(ValueError, match="finite xi3 and xi4 != 0"):
        Logistic(xi3, xi4)


def test_a_prior_is_its_metric_through_its_logistic():
    prior, images = brightness(), torch.stack([torch.full((3, 4, 4), v) for v in (0.5, 0.7)])
    up = 1 / (1 + math.exp(-1))
    assert prior(images).tolist() == pytest.approx([0.5, up])
    assert prior.scores(images)["brightness"].tolist() == pytest.approx([0.5, 0.7])


def test_a_combination_is_the_weighted_mean():
    combined = CombinedPrior((constant("a", 0.2), constant("b", 0.8)), (3.0, 1.0))
    image = picture(0, batch=2).double()
    assert combined(image).tolist() == pytest.approx([0.35, 0.35], abs=ROUNDING)
    assert set(combined.scores(image)) == {"a", "b"}


def test_only_the_ratios_of_weights_matter():
    priors = (constant("a", 0.2), constant("b", 0.8))
    image = picture().double()
    small, large = (CombinedPrior(priors, (w, 3 * w))(image) for w in (0.1, 40.0))
    assert torch.allclose(small, large, atol=ROUNDING)


def test_a_combination_carries_the_weighted_gradient():
    moving = picture().double().requires_grad_(True)
    first, second = brightness(), brightness(xi3=0.3, xi4=0.1)
    weighted = (3 * first(moving) + second(moving)) / 4
    (wanted,) = torch.autograd.grad(weighted.sum(), moving)
    (ours,) = torch.autograd.grad(CombinedPrior((first, second), (3, 1))(moving).sum(), moving)
    assert torch.allclose(ours, wanted, atol=ROUNDING)
    assert ours.abs().max() > 0


def test_a_combination_of_one_is_that_prior():
    image = picture()
    assert torch.equal(CombinedPrior((brightness(),), (1.0,))(image), brightness()(image))


def test_a_combination_is_named_after_its_parts_and_needs_the_largest_picture():
    combined = CombinedPrior((constant("a", 0.2, 7), constant("b", 0.8, 96)), (1.0, 0.5))
    assert combined.name == "a + 0.5 b"
    assert combined.min_side == 96


@pytest.mark.parametrize("weights", [(), (1.0,), (1.0, 1.0, 1.0)])
def test_a_combination_needs_one_weight_each(weights):
    with pytest.raises(ValueError, match="one weight each"):
        CombinedPrior((constant("a", 0.2), constant("b", 0.8)), weights)


def test_an_empty_combination_is_refused():
    with pytest.raises(ValueError, match="0 priors"):
        CombinedPrior((), ())


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weights_must_be_positive(weight):
    with pytest.raises(ValueError, match="must be positive"):
        CombinedPrior((constant("a", 0.2), constant("b", 0.8)), (1.0, weight))


def test_an_unknown_prior_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=re.escape(", ".join(PRIORS))) as refused:
        load_prior("vmaf")
    assert "unknown prior 'vmaf'" in str(refused.value)
