import gc

import torch
from latent_map.files import constants
from latent_map.files.constants import carried, constant

from .simulated_gpu import GPU, Waits

KERNEL = ((1.0, 2.0), (3.0, 4.0))


def test_numbers_go_to_a_device_once():
    there = torch.zeros(1, device=GPU)
    with Waits() as counted:
        first, second = (constant(KERNEL, there) for _ in range(2))
        assert first is second
        assert counted.found.total() <= 1
        assert constant(KERNEL, there.double()).dtype == torch.float64
    assert first.device == GPU


def test_numbers_are_as_given_in_every_type():
    for dtype in (torch.float16, torch.float32, torch.float64):
        like = torch.zeros(1, dtype=dtype)
        assert torch.equal(constant((0.1, 0.7), like), torch.tensor((0.1, 0.7), dtype=dtype))
    assert constant((1, 2), torch.zeros(1), torch.int64).tolist() == [1, 2]


def test_a_tensor_goes_to_a_device_once_for_each_type():
    weights, there = torch.rand(3), torch.zeros(1, device=GPU)
    with Waits() as counted:
        first, second = (carried(weights, there) for _ in range(2))
        assert first is second
        assert carried(weights, there, torch.float64) is carried(weights, there.double())
    assert counted.found.total() == 2


def test_where_it_is_a_tensor_is_not_copied():
    weights = torch.rand(3)
    assert carried(weights, torch.zeros(1)) is weights
    assert torch.equal(carried(weights, torch.zeros(1).double()), weights.double())


def test_copies_go_with_their_tensor():
    weights, there = torch.rand(3), torch.zeros(1, device=GPU)
    before = len(constants._copies)
    carried(weights, there)
    assert len(constants._copies) == before + 1
    del weights
    gc.collect()
    assert len(constants._copies) == before


def test_what_was_made_without_gradients_can_have_them_later():
    numbers = (0.25, 0.125, 0.0625)
    with torch.inference_mode():
        constant(numbers, torch.zeros(1))
    leaf = torch.ones(3, requires_grad=True)
    (leaf * constant(numbers, leaf)).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == list(numbers)
