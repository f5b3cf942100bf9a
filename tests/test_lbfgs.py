import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation import lbfgs
from latent_map.map_estimation.lbfgs import TRIALS, Lbfgs, Trial, WolfeSearch
from latent_map.map_estimation.result import NonFiniteError, Status
from torch import Tensor

from .test_solver import ALGORITHM, make_solver, prior_that_breaks, settings
from .toys import PRIOR, ToyBackbone, fidelity, noise, picture

SOLVED = 1e-8
EXACT_SEARCH = 1e-6  # c2: slopes this small end a search next to the minimum of its line
SCALED = 1e-9  # the same run in other units, after rounding
STEEP = 100.0


def quadratic(size: int, seed: int = 0) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A convex quadratic and where it is lowest."""
    root = noise(seed, size, size)
    matrix = root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)
    lowest = noise(seed + 1, size)
    return lambda x: (x - lowest) @ matrix @ (x - lowest) / 2, lowest


def rosenbrock(x: Tensor) -> Tensor:
    return (STEEP * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def descend(energy, start: list[Tensor], evaluations: int, rate=0.1, curvature=0.9, optimizer=None):
    """Energies of all evaluations, the variables and the optimiser at the end."""
    variables = [torch.nn.Parameter(v.clone()) for v in start]
    optimizer = optimizer or Lbfgs(variables, rate, curvature)
    optimizer.variables = variables
    energies = []
    while len(energies) < evaluations and not optimizer.finished:
        value = energy(*variables)
        for variable, gradient in zip(
            variables, torch.autograd.grad(value, variables), strict=True
        ):
            variable.grad = gradient
        energies.append(float(value.detach()))
        optimizer.step(energies[-1])
    return energies, [v.detach() for v in variables], optimizer


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("rate", [1e-3, 0.1, 10.0])
def test_a_quadratic_takes_one_exact_search_per_dimension(size, rate):
    energy, lowest = quadratic(size)
    searches = []
    optimizer = None
    start = torch.zeros(size, dtype=torch.float64)
    variables = [torch.nn.Parameter(start)]
    optimizer = Lbfgs(variables, rate, EXACT_SEARCH)
    while len(searches) < size + 1:
        value = energy(variables[0])
        (variables[0].grad,) = torch.autograd.grad(value, variables)
        search = optimizer._search
        optimizer.step(float(value.detach()))
        if optimizer._search is not search:
            searches.append(optimizer._search)
    # the last search begins at the end of the one before
    assert (optimizer._base - lowest).norm() < SOLVED**0.5 * lowest.norm()
    assert searches[-1].start.energy < SOLVED


@pytest.mark.parametrize("size", [2, 10])
@pytest.mark.parametrize("rate", [1e-4, 0.1, 10.0])
def test_rosenbrocks_valley_is_walked_to_its_end(size, rate):
    start = torch.full((size,), -1.2, dtype=torch.float64)
    energies, (found,), optimizer = descend(rosenbrock, [start], 300, rate)
    assert min(energies) < SOLVED
    assert next(i for i, e in enumerate(energies) if e < SOLVED) < 100  # PyTorch's takes 83
    assert optimizer.finished
    assert (found - 1).abs().max() < SOLVED


def test_an_even_energy_is_finished_at_once():
    energies, (found,), optimizer = descend(lambda x: (0 * x).sum(), [noise(0, 4)], 10)
    assert optimizer.finished
    assert len(energies) == 1
    assert torch.equal(found, noise(0, 4))


def test_an_energy_that_contradicts_its_gradient_ends_where_it_began():
    start = noise(0, 4)

    def uphill(x):  # falls by its gradient, rises in truth
        return (x - 2 * (x - start).detach()).sum()

    energies, (found,), optimizer = descend(uphill, [start], 5 * TRIALS)
    assert optimizer.finished
    assert len(energies) == TRIALS + 1
    assert torch.equal(found, start)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_energys_scale_does_not_matter(scale):
    energy, _ = quadratic(6)
    start = [torch.zeros(6, dtype=torch.float64)]
    plain, found, _ = descend(energy, start, 15)
    scaled, also, _ = descend(lambda x: scale * energy(x), start, 15)
    assert [e / scale for e in scaled] == pytest.approx(plain, rel=SCALED)
    assert (found[0] - also[0]).abs().max() < SCALED


@pytest.mark.parametrize("rate", [1e-3, 0.5])
def test_the_first_trial_moves_by_the_rate(rate):
    energy, _ = quadratic(8)
    start = [noise(3, 3), noise(4, 5)]
    _, found, _ = descend(lambda a, b: energy(torch.cat((a, b))), start, 1, rate)
    moves = torch.cat([a - b for a, b in zip(found, start, strict=True)])
    assert moves.square().mean().sqrt() == pytest.approx(rate)


@pytest.mark.parametrize("longest", [0.02, 0.1])
def test_no_trial_is_further_off_than_allowed(longest):
    points = []

    def energy(x):
        points.append(x.detach().clone())
        return rosenbrock(x)

    start = torch.nn.Parameter(torch.full((4,), -1.2, dtype=torch.float64))
    optimizer = Lbfgs([start], 0.01, longest=longest)
    _, _, _ = descend(energy, [start.detach()], 40, optimizer=optimizer)
    moves = [float((b - a).square().mean().sqrt()) for a, b in pairwise(points)]
    assert max(moves) == pytest.approx(longest)
    assert rosenbrock(points[-1]) < rosenbrock(points[0])


def test_several_variables_are_one_vector():
    energy, _ = quadratic(8)
    whole, _, _ = descend(energy, [noise(3, 8)], 12)
    parts, _, _ = descend(
        lambda a, b: energy(torch.cat((a.flatten(), b))),
        [noise(3, 8)[:4].view(2, 2), noise(3, 8)[4:]],
        12,
    )
    assert parts == whole


@pytest.mark.parametrize("changes", [0, 1, 3, 5])
def test_directions_are_those_of_the_dense_bfgs_matrix(changes):
    size = 6
    root = noise(0, size, size)
    curvature = root @ root.T + torch.eye(size, dtype=torch.float64)
    moves = [noise(10 + i, size) for i in range(changes)]
    history = [lbfgs._Change(move, curvature @ move) for move in moves]
    inverse = torch.eye(size, dtype=torch.float64)
    if history:
        last = history[-1]
        inverse *= last.bend / float(last.gradient @ last.gradient)
    for s, y in history:  # Nocedal & Wright, Eq. (6.17)
        project = torch.eye(size, dtype=torch.float64) - torch.outer(s, y) / (s @ y)
        inverse = project @ inverse @ project.T + torch.outer(s, s) / (s @ y)
    gradient = noise(1, size)
    found, wanted = lbfgs._two_loops(gradient, history), -inverse @ gradient
    assert (found - wanted).norm() < SCALED * wanted.norm()


def test_a_misleading_history_is_dropped_for_the_steepest_descent():
    start = [torch.full((4,), -1.2, dtype=torch.float64)]
    _, variables, optimizer = descend(rosenbrock, start, 12)
    assert optimizer._history
    optimizer.variables = [torch.nn.Parameter(v) for v in variables]
    for _ in range(2 * TRIALS):  # everything looks worse, in the search under way and the next
        optimizer.variables[0].grad = torch.ones_like(start[0])
        optimizer.step(1e9)
        if not optimizer._history:
            break
    assert not optimizer.finished
    assert not optimizer._history
    move = optimizer.variables[0].detach() - optimizer._base
    assert move.square().mean().sqrt() == pytest.approx(0.1)
    assert torch.cosine_similarity(move, -optimizer._gradient, dim=0) == pytest.approx(1)


@pytest.mark.parametrize("stop", range(1, 20))
def test_a_state_taken_anywhere_goes_on_bit_for_bit(stop):
    start = [torch.full((4,), -1.2, dtype=torch.float64)]
    whole, end, _ = descend(rosenbrock, start, 20)
    first, middle, optimizer = descend(rosenbrock, start, stop)
    state = {"state": {0: {k: v.clone() for k, v in optimizer.state_dict()["state"][0].items()}}}
    revived = Lbfgs(middle, 0.1)
    revived.load_state_dict(state)
    rest, also, _ = descend(rosenbrock, middle, 20 - stop, optimizer=revived)
    assert first + rest == whole
    assert torch.equal(also[0], end[0])


@pytest.mark.parametrize("at", [0, 3])
def test_a_step_that_breaks_off_begins_anew_where_the_variables_are(at, monkeypatch):
    start = [torch.full((4,), -1.2, dtype=torch.float64)]
    _, middle, optimizer = descend(rosenbrock, start, at)
    middle = [torch.nn.Parameter(v) for v in middle]
    optimizer.variables = middle
    value = rosenbrock(*middle)
    (middle[0].grad,) = torch.autograd.grad(value, middle)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "cat", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            optimizer.step(float(value.detach()))
    revived, _, _ = descend(rosenbrock, middle, 10, optimizer=optimizer)
    fresh, _, _ = descend(rosenbrock, middle, 10)
    assert revived == fresh


@pytest.mark.parametrize("t", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(
    ("energy", "slope"),
    [
        (lambda t: (t - 2) ** 2, lambda t: 2 * (t - 2)),
        (lambda t: math.sin(t) - 0.1 * t, lambda t: math.cos(t) - 0.1),
        (lambda t: -t / (t * t + 2), lambda t: (t * t - 2) / (t * t + 2) ** 2),
    ],
)
@pytest.mark.parametrize("curvature", [0.9, 0.1])
def test_a_search_ends_at_a_strong_wolfe_point(energy, slope, t, curvature):
    origin = math.pi if energy(0) == 0 and slope(0) > 0 else 0.0
    start = Trial(0.0, energy(origin), slope(origin))
    search = WolfeSearch(start, t, curvature)
    while not search.tell(energy(origin + search.t), slope(origin + search.t)):
        pass
    assert search.trials < TRIALS
    found = search.low
    assert found.t > 0
    assert found.energy <= start.energy + lbfgs.DECREASE * found.t * start.slope
    assert abs(found.slope) <= curvature * abs(start.slope)


def test_the_solver_stops_where_no_direction_leads_down():
    target = picture(2).double()
    chosen = settings(60, space="pixel", optimizer="lbfgs", lam=0.0)
    solver = make_solver(
        chosen, fidelity=fidelity(lambda x, _: (x - target).square().flatten(1).mean(1))
    )
    result = solver.run()
    assert result.status is Status.CONVERGED
    assert len(result.trace) < 60
    assert (result.x - target).abs().max() < SOLVED**0.5


def test_every_evaluation_is_an_iteration_and_costs_one_gradient():
    backbone = ToyBackbone()
    chosen = settings(5, steps=4, optimizer="lbfgs", memory="store")
    result = make_solver(chosen, backbone=backbone).run()
    assert [row.iteration for row in result.trace] == list(range(6))
    assert backbone.calls == 8 * (5 + 1)


@pytest.mark.parametrize("at", [0, 2, 4])
def test_running_out_of_memory_once_changes_nothing(at):
    seen = []

    def metric(image):
        seen.append(1)
        if len(seen) == at + 1:
            raise torch.OutOfMemoryError("simulated: CUDA out of memory")
        return PRIOR.metric(image)

    chosen = settings(6, optimizer="lbfgs")
    short = QualityPrior("short of memory", metric, PRIOR.logistic)
    result, plain = make_solver(chosen, prior=short).run(), make_solver(chosen).run()
    energies = [row.energy for row in result.trace]
    assert energies == pytest.approx([row.energy for row in plain.trace], abs=ALGORITHM)


def test_a_trial_that_is_not_finite_is_named_and_the_best_is_kept():
    chosen = settings(6, optimizer="lbfgs")
    with pytest.raises(NonFiniteError, match="quality is not finite at iteration 3") as caught:
        make_solver(chosen, prior=prior_that_breaks(3)).run()
    healthy = make_solver(replace(chosen, iterations=2)).run()
    assert torch.equal(caught.value.result.x, healthy.x)
