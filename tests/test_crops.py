from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.iqa_priors.crops import (
    covering_crops,
    crop_map,
    crop_outputs,
    enlarged,
    equal_weights,
    mean_over_crops,
    pixel_weights,
)

from .toys import noise, picture

ROUNDING = 1e-12  # float64, a few hundred additions
proofs = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def brightness(crops):
    return crops.flatten(1).mean(1)


def busyness(crops):
    """A smooth score that is not linear in the pixels."""
    return (crops**2).flatten(1).mean(1) - crops.flatten(1).mean(1) ** 3


def seen(height, width, size, positions):
    mask = torch.zeros(height, width)
    for top, left in positions:
        mask[top : top + size, left : left + size] += 1
    return mask


@proofs
@given(st.integers(8, 60), st.integers(8, 60), st.integers(3, 8), st.integers(1, 8))
def test_covering_crops_see_every_pixel_and_stay_inside(height, width, size, stride):
    stride = min(stride, size)
    positions = covering_crops(height, width, size, stride)
    assert seen(height, width, size, positions).min() >= 1
    assert len(set(positions)) == len(positions)
    assert all(0 <= top <= height - size and 0 <= left <= width - size for top, left in positions)
    tops = sorted({top for top, _ in positions})
    assert all(b - a <= stride for a, b in pairwise(tops))


def test_crops_that_fit_are_a_partition():
    assert covering_crops(8, 12, 4, 4) == [(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8)]


def test_the_last_crop_ends_with_the_picture():
    assert covering_crops(10, 4, 4, 4) == [(0, 0), (3, 0), (6, 0)]


@pytest.mark.parametrize(("side", "stride"), [((3, 9), 2), ((9, 3), 2), ((9, 9), 0), ((9, 9), 5)])
def test_a_grid_that_cannot_cover_is_refused(side, stride):
    with pytest.raises(ValueError, match=r"enlarge|must be from 1"):
        covering_crops(*side, 4, stride)


@proofs
@given(st.integers(8, 40), st.integers(8, 40), st.integers(3, 8))
def test_weights_are_the_mean_over_pixels_of_the_mean_over_their_crops(height, width, size):
    positions = covering_crops(height, width, size, size - 1)
    scores = noise(height, 1, len(positions))
    weights = pixel_weights(height, width, size, positions)
    by_pixel = crop_map(scores, positions, size, (height, width)).mean((1, 2))
    assert weights.sum().item() == pytest.approx(1, abs=ROUNDING)
    assert torch.allclose((scores * weights).sum(1), by_pixel, atol=ROUNDING)


def test_weights_by_hand():
    # One row of 6 pixels, crops of 4 at 0 and 2: pixels 2 and 3 have two crops each.
    weights = pixel_weights(4, 6, 4, [(0, 0), (0, 2)])
    assert weights.tolist() == pytest.approx([0.5, 0.5])
    # Crops at 0, 1 and 2: coverage 1 2 3 3 2 1 in each row.
    weights = pixel_weights(4, 6, 4, [(0, 0), (0, 1), (0, 2)])
    outer, inner = 1 + 1 / 2 + 1 / 3 + 1 / 3, 2 * (1 / 2 + 1 / 3)
    assert weights.tolist() == pytest.approx([outer / 6, inner / 6, outer / 6])


def test_the_mean_is_the_weighted_mean_of_single_crops():
    image = picture(1, 13, 11, batch=2).double()
    positions = covering_crops(13, 11, 6, 4)
    weights = pixel_weights(13, 11, 6, positions)
    wanted = torch.zeros(2, dtype=torch.float64)
    for weight, (top, left) in zip(weights, positions, strict=True):
        wanted += weight * busyness(image[:, :, top : top + 6, left : left + 6])
    assert torch.allclose(mean_over_crops(busyness, image, positions, 6), wanted, atol=ROUNDING)


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_the_chunk_changes_neither_value_nor_gradient(chunk):
    positions = covering_crops(13, 11, 6, 4)
    results = []
    for size in (chunk, 1000):
        image = picture(2, 13, 11, batch=2).double().requires_grad_(True)
        score = mean_over_crops(busyness, image, positions, 6, chunk=size)
        results.append((score, *torch.autograd.grad(score.sum(), image)))
    for ours, wanted in zip(*results, strict=True):
        assert torch.allclose(ours, wanted, atol=ROUNDING)


def test_the_gradient_is_right():
    image = picture(3, 9, 8).double().requires_grad_(True)
    positions = covering_crops(9, 8, 5, 3)
    assert torch.autograd.gradcheck(
        lambda x: mean_over_crops(busyness, x, positions, 5, chunk=2), image
    )


def test_only_a_chunk_of_crops_is_held_for_the_backward_pass():
    kept = []

    def network(crops):
        kept.append(len(crops))
        return busyness(crops)

    image = picture(3, 16, 16).double().requires_grad_(True)
    positions = covering_crops(16, 16, 6, 5)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        score = mean_over_crops(network, image, positions, 6, chunk=3)
    largest = max(tensor.numel() for tensor in saved)
    assert largest <= image.numel()
    score.sum().backward()
    assert max(kept) == 3
    assert sum(kept) == 2 * len(positions)  # each crop once more in the backward pass


def test_without_gradients_each_crop_is_computed_once():
    calls = []
    image = picture(3, 16, 16).requires_grad_(True)
    with torch.no_grad():
        crop_outputs(lambda c: calls.append(len(c)) or brightness(c), image, [(0, 0), (4, 4)], 8)
    assert calls == [2]


def test_outputs_may_be_vectors():
    image = picture(4, 12, 12, batch=2).double()
    positions = covering_crops(12, 12, 6, 6)
    found = mean_over_crops(lambda c: c.mean((2, 3)), image, positions, 6)
    assert torch.allclose(found, image.mean((2, 3)), atol=ROUNDING)


def test_equal_weights_give_the_plain_mean():
    image = picture(5, 12, 12).double()
    positions = [(0, 0), (1, 5), (6, 6)]
    singles = crop_outputs(brightness, image, positions, 6)
    plain = mean_over_crops(brightness, image, positions, 6, equal_weights(positions))
    assert torch.allclose(plain, singles.mean(1), atol=ROUNDING)


def test_a_map_of_local_scores_says_where_no_crop_looks():
    found = crop_map(torch.tensor([[1.0, 3.0]]), [(0, 0), (0, 1)], 2, (2, 4))
    assert torch.equal(found[0, 0, :3], torch.tensor([1.0, 2.0, 3.0]))
    assert found[0, :, 3].isnan().all()


@pytest.mark.parametrize("side", [(5, 9), (16, 31), (8, 8)])
def test_small_pictures_are_enlarged_to_a_crop_and_keep_their_shape(side):
    found = enlarged(torch.rand(1, 3, *side), 8)
    assert min(found.shape[-2:]) == max(8, min(side))
    assert found.shape[-1] / found.shape[-2] == pytest.approx(side[1] / side[0], rel=0.1)


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ValueError, match="chunk 0"):
        crop_outputs(brightness, picture(), [(0, 0)], 8, chunk=0)
