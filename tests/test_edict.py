import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.edict import Edict, EdictOptions, default_mixing, paper_mixing
from latent_map.edict.schedule import Schedule, Step, vp_schedule
from latent_map.edict.tape import Tape, activation_bytes
from latent_map.files.devices import exact_dtype

from .pairs import ALPHAS, MEMORIES, distance, noise_pair, size
from .toys import ConvDenoiser, differentiable_reconstruct, noise

STEPS = 5

CLOSED_FORM = 1e-12  # float64, tens of operations on numbers up to 15
ROUND_TRIP = 1e-13  # hundreds of roundings of 2e-16, before un-mixing amplifies them
LOW_PRECISION_ROUND_TRIP = 1e-12  # the cast hides the state's rounding from the network
FINITE_PRECISION_GAP = 1e-4  # a bfloat16 network is that far from the float64 one at least
BATCHING = 1e-12  # convolutions may add up in another order for another batch size
MODES = 1e-13  # the memory modes do the same arithmetic
SAME_GRADIENT = 1e-12  # PyTorch's own graph, the same derivatives added in another order

proofs = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def toy(steps=STEPS, p=0.93, order="fixed", prediction="v", spacing="trailing", **network):
    schedule = vp_schedule(ALPHAS, steps, prediction, spacing)
    return Edict(ConvDenoiser(**{"channels": 4} | network), schedule, p, order)


@st.composite
def problems(draw):
    """A random bijection, a pair for it, and the rounding it may show: eps (1/p)^(2T) max(a)."""
    bijection = toy(
        draw(st.integers(1, 8)),
        draw(st.floats(0.6, 1.0)),
        draw(st.sampled_from(["fixed", "alternate"])),
        draw(st.sampled_from(["eps", "v"])),
        draw(st.sampled_from(["trailing", "leading"])),
    )
    shape = (draw(st.integers(1, 3)), 4, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    growth = bijection.mixing ** (-2 * len(bijection.schedule))
    return bijection, noise_pair(draw(st.integers(0, 99)), *shape), ROUND_TRIP * growth


@proofs
@given(problems())
def test_invert_undoes_reconstruct(problem):
    bijection, pair, rounding = problem
    image = bijection.reconstruct(pair)
    assert image.x.shape == pair.x.shape
    assert distance(bijection.invert(image), pair) < rounding * size(pair, image)


@proofs
@given(problems())
def test_reconstruct_undoes_invert(problem):
    bijection, image, rounding = problem
    pair = bijection.invert(image)
    assert pair.x.shape == image.x.shape
    assert distance(bijection.reconstruct(pair), image) < rounding * size(pair, image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("order", ["fixed", "alternate"])
def test_a_float64_state_round_trips_through_a_low_precision_network(dtype, order):
    bijection = toy(20, paper_mixing(20), order, dtype=dtype)
    latent = noise(0, 1, 4, 8, 8)
    image = LatentPair(latent, latent)
    pair = bijection.invert(image)
    assert pair.x.dtype == exact_dtype(latent.device) == torch.float64
    assert distance(bijection.reconstruct(pair), image) < LOW_PRECISION_ROUND_TRIP * size(pair)


def test_the_network_runs_in_its_own_precision():
    pair = noise_pair()
    gap = distance(toy(dtype=torch.bfloat16).reconstruct(pair), toy().reconstruct(pair))
    assert gap > FINITE_PRECISION_GAP


def test_a_silent_network_scales_an_equal_pair_by_the_product_of_a():
    silent = Edict(lambda latent, label: 0 * latent, vp_schedule(ALPHAS, 7, "eps"), 0.8)
    latent = noise(0, 2, 3, 4)
    scaled = latent / float(ALPHAS[-1]) ** 0.5
    ours = silent.reconstruct(LatentPair(latent, latent))
    assert distance(ours, (scaled, scaled)) < CLOSED_FORM * size((scaled,))


@pytest.mark.parametrize("order", ["fixed", "alternate"])
def test_a_linear_network_is_a_product_of_matrices(order):
    n, p = 6, 0.9
    weight, schedule = noise(5, n, n) / n, vp_schedule(ALPHAS, 4, "v")
    eye, zero = torch.eye(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)

    def block(rows):
        return torch.cat([torch.cat(row, 1) for row in rows])

    total = torch.eye(2 * n, dtype=torch.float64)
    for index, (a, b, _) in enumerate(schedule.steps):
        update_x = block([[a * eye, b * weight], [zero, eye]])
        update_y = block([[eye, zero], [b * weight, a * eye]])
        swapped = order == "alternate" and index % 2 == 1
        coupled = update_x @ update_y if swapped else update_y @ update_x
        mix_x = block([[p * eye, (1 - p) * eye], [zero, eye]])
        mix_y = block([[eye, zero], [(1 - p) * eye, p * eye]])
        total = mix_y @ mix_x @ coupled @ total
    bijection = Edict(lambda latent, label: latent @ weight.T, schedule, p, order)
    x, y = noise(6, n), noise(7, n)
    wanted = (total @ torch.cat((x, y))).split(n)
    assert distance(bijection.reconstruct(LatentPair(x, y)), wanted) < CLOSED_FORM
    back = torch.linalg.solve(total, torch.cat((x, y))).split(n)
    assert distance(bijection.invert(LatentPair(x, y)), back) < CLOSED_FORM * size(back)


def test_one_step_worked_by_hand():
    bijection = Edict(lambda latent, label: latent, Schedule((Step(2.0, 3.0, 7),)), 0.75)
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    # u = 2 * 1 + 3 * 2 = 8, v = 2 * 2 + 3 * 8 = 28, x' = 6 + 7 = 13, y' = 21 + 3.25
    image = bijection.reconstruct(LatentPair(one, two))
    assert (float(image.x), float(image.y)) == (13.0, 24.25)
    assert distance(bijection.invert(image), (one, two)) == 0


@pytest.mark.parametrize("order", ["fixed", "alternate"])
def test_a_batch_is_its_single_items(order):
    bijection, pair = toy(order=order), noise_pair(3, 3, 4, 5, 6)
    for transform in (bijection.reconstruct, bijection.invert):
        together = transform(pair)
        singles = [
            transform(LatentPair(x, y))
            for x, y in zip(pair.x.split(1), pair.y.split(1), strict=True)
        ]
        apart = [torch.cat(parts) for parts in zip(*singles, strict=True)]
        assert distance(together, apart) < BATCHING * size(together)


def gradients_of(bijection, pair, memory):
    """By pull_back, of the loss sum(x cos) + sum(y^2) / 2."""
    tape = Tape(bijection.calls, memory)
    image = bijection.reconstruct(pair, tape)
    return bijection.pull_back(tape, LatentPair(torch.cos(image.x), image.y))


@proofs
@given(problems(), st.sampled_from(MEMORIES))
def test_pull_back_equals_autograd_through_the_plain_loop(problem, memory):
    bijection, pair, _ = problem
    leaves = LatentPair(*(tensor.clone().requires_grad_(True) for tensor in pair))
    image = bijection.reconstruct(leaves)
    wanted = torch.autograd.grad(image.x.sin().sum() + image.y.square().sum() / 2, leaves)
    ours = gradients_of(bijection, pair, memory)
    assert distance(ours, wanted) < SAME_GRADIENT * size(wanted)


@pytest.mark.parametrize("order", ["fixed", "alternate"])
def test_all_memory_modes_give_the_same_gradient(order):
    bijection, pair = toy(order=order), noise_pair()
    first, *others = [gradients_of(bijection, pair, memory) for memory in MEMORIES]
    assert all(distance(other, first) < MODES * size(first) for other in others)


def test_the_inversions_tape_gives_the_reconstructions_gradient():
    bijection, image = toy(), noise_pair()
    tape = Tape(bijection.calls, "store")
    pair = bijection.invert(image, tape)
    ours = bijection.pull_back(tape, LatentPair(torch.cos(image.x), image.y))
    wanted = gradients_of(bijection, pair, "recompute")
    assert distance(ours, wanted) < SAME_GRADIENT * size(wanted)


class _Repeatable(torch.autograd.Function):
    """`differentiable_reconstruct` anew for every backward: gradcheck asks for many."""

    @staticmethod
    def forward(ctx, x, y, bijection, memory):
        ctx.save_for_backward(x, y)
        ctx.bijection, ctx.memory = bijection, memory
        return tuple(differentiable_reconstruct(bijection, LatentPair(x, y), memory))

    @staticmethod
    def backward(ctx, *gradient):
        leaves = [tensor.detach().requires_grad_(True) for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            image = differentiable_reconstruct(ctx.bijection, LatentPair(*leaves), ctx.memory)
        return *torch.autograd.grad(image, leaves, gradient), None, None


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("order", ["fixed", "alternate"])
def test_differentiable_reconstruct_passes_gradcheck(memory, order):
    bijection, pair = toy(3, order=order, channels=2), noise_pair(1, 1, 2, 2, 2)
    leaves = [tensor.requires_grad_(True) for tensor in pair]
    assert torch.autograd.gradcheck(_Repeatable.apply, (*leaves, bijection, memory))


def test_differentiable_reconstruct_is_part_of_a_larger_graph():
    bijection, pair = toy(), noise_pair()
    leaves = LatentPair(*(tensor.clone().requires_grad_(True) for tensor in pair))
    image = differentiable_reconstruct(bijection, leaves)
    (image.x.sin().sum() + image.y.square().sum() / 2).backward()
    wanted = gradients_of(bijection, pair, "store")
    assert distance((leaves.x.grad, leaves.y.grad), wanted) < MODES * size(wanted)


def test_network_calls_are_the_promised_ones():
    bijection, image = toy(), noise_pair()
    n, denoiser = 2 * STEPS, bijection.denoiser
    assert bijection.calls == n
    for memory, extra in (("store", 0), ("recompute", n), (3, n - 3)):
        tape = Tape(n, memory)
        denoiser.calls = 0
        bijection.invert(image, tape)
        assert denoiser.calls == n
        bijection.pull_back(tape, image)
        assert denoiser.calls == n + extra
    denoiser.calls = 0
    bijection.reconstruct(image)
    assert denoiser.calls == n


def test_leadings_idle_step_calls_no_network_and_still_mixes():
    bijection, image = toy(1, spacing="leading", p=0.75), noise_pair()
    mixed = bijection.reconstruct(image)
    x = 0.75 * image.x + 0.25 * image.y
    assert distance(mixed, (x, 0.75 * image.y + 0.25 * x)) < CLOSED_FORM
    assert distance(bijection.invert(mixed), image) < CLOSED_FORM
    gradients_of(bijection, image, "auto")
    assert bijection.calls == bijection.denoiser.calls == 0


@pytest.mark.parametrize("p", [-1.0, 0.0, 0.5, 1.0001, float("nan"), float("inf")])
def test_impossible_mixing_is_refused_with_the_reason(p):
    with pytest.raises(ValueError, match=r"\(0.5, 1\].*divides by p"):
        toy(p=p)


def test_unknown_order_and_memory_are_refused():
    with pytest.raises(ValueError, match="unknown order 'random'"):
        toy(order="random")
    with pytest.raises(ValueError, match="unknown memory mode 'disk'"):
        Tape(4, "disk")


def test_a_network_without_gradient_is_named():
    bijection, pair = toy(), noise_pair()
    detached = Edict(lambda x, t: bijection.denoiser(x, t).detach(), bijection.schedule, 0.93)
    with pytest.raises(RuntimeError, match="carries no gradient"):
        gradients_of(detached, pair, "recompute")


def test_paper_mixing_is_edicts_at_fifty_steps():
    assert paper_mixing(50) == pytest.approx(0.93)
    assert paper_mixing(20) == pytest.approx(0.8341, abs=5e-5)  # as printed in EDICT's terms


def test_the_default_mixing_is_the_papers_where_that_can_be_undone():
    assert [default_mixing(steps) for steps in (1, 2, 4, 5)] == [0.93] * 4
    assert paper_mixing(5) < 0.5 < paper_mixing(6)
    assert all(default_mixing(steps) == paper_mixing(steps) for steps in range(6, 1001))


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_few_steps_are_exact_by_default(steps):
    EdictOptions().check(steps, steps)
    bijection = EdictOptions().couple(ConvDenoiser(4), vp_schedule(ALPHAS, steps, "v"), steps)
    image = bijection.start(noise(0, 1, 4, 8, 8))
    pair = bijection.invert(image)
    rounding = ROUND_TRIP * bijection.mixing ** (-2 * steps)
    assert distance(bijection.reconstruct(pair), image) < rounding * size(pair, image)


def test_measuring_activations_leaves_no_graph_behind():
    outputs = []

    def denoiser(latent, label):
        output = latent.sigmoid()  # sigmoid's graph holds its own output
        outputs.append(weakref.ref(output))
        return output

    activation_bytes(denoiser, Step(1.0, 1.0, 0), torch.zeros(1, 1, 2, 2))
    gc.collect()
    assert outputs
    assert outputs[0]() is None
