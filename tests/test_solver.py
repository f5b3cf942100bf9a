import math

import pytest
import torch
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bound_picture import bind_picture
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.result import Cancel, NonFiniteError, Status
from latent_map.map_estimation.settings import MapSettings
from latent_map.map_estimation.solver_state import restore, state_of
from latent_map.map_estimation.spaces import DiffusionSpace

from .toys import PRIOR, ToyBackbone, edict, fidelity, noise, picture, solver_of

FIDELITY = load_fidelity("mse")
PARAMETERS_SGD = {"optimizer": "sgd", "learning_rate": 400.0, "momentum": 0.9}
PARAMETERS_ADAM = {"optimizer": "adam", "learning_rate": 0.02, "momentum": 0.9}
PARAMETERS_LBFGS = {"optimizer": "lbfgs", "learning_rate": 0.02}
every_optimizer = pytest.mark.parametrize(
    "options", [PARAMETERS_SGD, PARAMETERS_ADAM, PARAMETERS_LBFGS]
)

ALGORITHM = 1e-12  # float64; the hand-written loop adds the same numbers in another order
RECONSTRUCTION = 1e-12  # two reconstructions of one pair by the same arithmetic
CODEC = 1e-6  # a picture that went through the latents and float32
ANALYTIC = 1e-6  # results are float32
RISE = 1e-3  # a toy run raises quality by far more


def settings(iterations=6, steps=3, **options):
    options = PARAMETERS_ADAM | {"memory": "store", "check_gradient": False} | options
    return MapSettings(edict(steps), iterations=iterations, **options)


def make_solver(chosen, image=None, prior=PRIOR, fidelity=FIDELITY, backbone=None):
    return solver_of(chosen, prior, fidelity, image, backbone)


def stop_at(iteration, error=Cancel):
    def callback(step):
        if step.row.iteration == iteration:
            raise error

    return callback


def assert_same_result(a, b):
    assert a.status == b.status
    assert a.trace == b.trace
    assert a.best_iteration == b.best_iteration
    pairs = zip((a.x, a.y, *a.variables), (b.x, b.y, *b.variables), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def prior_that_breaks(at):
    """A prior whose quality is NaN from its evaluation number `at` on, counted from 0."""
    seen = []

    def metric(image):
        seen.append(1)
        return PRIOR.metric(image) * (math.nan if len(seen) > at else 1.0)

    return QualityPrior("breaking", metric, Logistic(0.05, 0.02))


def by_hand(chosen, image):
    """Algorithm 1 with PyTorch's own graph: noise pairs and energies of all iterates."""
    backbone = ToyBackbone()
    bound = bind_picture(backbone, image, chosen.inversion)
    bijection, codec = bound.bijection, bound.codec
    latent = codec.encode(image)
    noises = list(bijection.invert(LatentPair(latent, latent)))
    momenta = [torch.zeros_like(v) for v in noises]
    iterates, energies = [], []
    for _ in range(chosen.iterations + 1):
        noises = [v.detach().requires_grad_(True) for v in noises]
        pictures = [codec.decode(z) for z in bijection.reconstruct(LatentPair(*noises))]
        losses = [FIDELITY(z, image.double()) - chosen.lam * PRIOR(z) for z in pictures]
        energy = (losses[0] + losses[1]).sum() / 2
        gradients = torch.autograd.grad(energy, noises)
        iterates.append(noises)
        energies.append(float(energy.detach()))
        momenta = [
            chosen.momentum * m - chosen.learning_rate * g
            for m, g in zip(momenta, gradients, strict=True)
        ]
        noises = [v.detach() + m for v, m in zip(noises, momenta, strict=True)]
    return iterates, energies


def test_sgd_is_algorithm_1():
    chosen = settings(**PARAMETERS_SGD)
    iterates, energies = by_hand(chosen, picture())
    result = make_solver(chosen).run()
    assert [row.energy for row in result.trace] == pytest.approx(energies, abs=ALGORITHM)
    best = min(range(len(energies)), key=energies.__getitem__)
    assert result.best_iteration == best > 0
    for ours, theirs in zip(result.variables, iterates[best], strict=True):
        assert (ours - theirs.detach()).abs().max() < ALGORITHM * theirs.detach().abs().max()


@pytest.mark.parametrize("memory", ["store", "recompute", "auto"])
def test_memory_modes_give_the_same_run(memory):
    expected = make_solver(settings()).run()
    ours = make_solver(settings(memory=memory)).run()
    assert [row.energy for row in ours.trace] == pytest.approx(
        [row.energy for row in expected.trace], abs=ALGORITHM
    )


@every_optimizer
def test_quality_rises(options):
    result = make_solver(settings(**options)).run()
    assert result.status is Status.ITERATIONS_DONE
    assert result.improved
    assert result.trace[result.best_iteration].quality > result.trace[0].quality + RISE


@pytest.mark.parametrize("space", ["diffusion", "pixel"])
def test_pictures_stay_in_range_even_where_the_prior_pushes_them_out(space):
    black_and_white = picture().round()
    chosen = settings(space=space, use_fidelity=False, learning_rate=0.1)
    previews = []
    solver = make_solver(chosen, black_and_white)
    result = solver.run(lambda step: previews.append(step.preview()))
    for image in (result.x, result.y, *previews):
        assert ((image >= 0) & (image <= 1)).all()


@pytest.mark.parametrize("rate", [0.02, 1.0, 50.0])
@pytest.mark.parametrize("lam", [1e-3, 0.01, 10.0])
def test_the_best_iterate_is_kept_and_never_above_the_input(rate, lam):
    result = make_solver(settings(learning_rate=rate, lam=lam)).run()
    energies = [row.energy for row in result.trace]
    assert energies[result.best_iteration] == min(energies) <= energies[0]


def test_the_result_is_the_picture_of_the_best_noise():
    chosen = settings()
    solver = make_solver(chosen)
    result = solver.run()
    bound = solver.space.bound
    pair = bound.bijection.reconstruct(LatentPair(*result.variables))
    for ours, latent in zip((result.x, result.y), pair, strict=True):
        shown = bound.codec.decode(latent).clamp(0, 1)
        assert (ours - shown).abs().max() < CODEC


def test_an_input_that_cannot_be_improved_is_returned():
    result = make_solver(settings(iterations=3, learning_rate=50.0)).run()
    assert not result.improved
    assert (result.x - picture()).abs().max() < CODEC


@pytest.mark.parametrize("idle", [{"lam": 0.0}, {"iterations": 0}])
@pytest.mark.parametrize("space", ["diffusion", "pixel"])
def test_nothing_to_do_returns_the_input_exactly(idle, space):
    image = picture(0, 37, 53, batch=2)
    backbone = ToyBackbone()
    results = enhance(image, backbone, PRIOR, FIDELITY, settings(space=space, **idle))
    assert [result.status for result in results] == [Status.NOTHING_TO_DO] * 2
    for result, item in zip(results, image.split(1), strict=True):
        assert torch.equal(result.x, item)
        assert torch.equal(result.y, item)
        assert not result.improved
    assert backbone.calls == 0


def test_the_solver_itself_returns_the_input_at_zero_iterations():
    result = make_solver(settings(iterations=0)).run()
    assert len(result.trace) == 1
    assert (result.x - picture()).abs().max() < CODEC


def test_without_fidelity_quality_is_the_whole_energy():
    chosen = settings(use_fidelity=False)
    (result,) = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, chosen)
    assert all(row.terms.keys() == {"quality"} for row in result.trace)
    assert all(row.energy == pytest.approx(-chosen.lam * row.quality) for row in result.trace)
    assert result.trace[result.best_iteration].quality == max(row.quality for row in result.trace)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_pixel_space_reaches_the_analytic_map_of_a_quadratic(momentum):
    image, target = picture(1).double(), picture(2).double()
    quadratic = QualityPrior(
        "quadratic", lambda x: 1 - FIDELITY(x, target.expand_as(x)), lambda s: s
    )
    lam, values = 0.5, image.numel()
    chosen = settings(
        100,
        space="pixel",
        optimizer="sgd",
        lam=lam,
        momentum=momentum,
        learning_rate=values / (4 * (1 + lam)),  # half of the inverse curvature
    )
    result = make_solver(chosen, image, quadratic).run()
    # d/dx of mean (x - x_init)^2 + lam mean (x - target)^2 is zero
    wanted = (image + lam * target) / (1 + lam)
    assert (result.x - wanted).abs().max() < ANALYTIC
    assert torch.equal(result.x, result.y)


@pytest.mark.parametrize("clip", [0.001, 0.1])
def test_clip_bounds_the_first_move(clip):
    unclipped = make_solver(settings(1, optimizer="sgd", momentum=0.0, learning_rate=1.0))
    clipped = make_solver(settings(1, optimizer="sgd", momentum=0.0, learning_rate=1.0, clip=clip))
    moves = []
    for solver in (unclipped, clipped):
        start = torch.cat([v.flatten() for v in solver.space.start()])
        solver.run()
        ends = [state_of(solver)[f"variable.{i}"].flatten() for i in range(2)]
        moves.append(torch.cat(ends) - start)
    norm = float(moves[0].norm())
    assert float(moves[1].norm()) == pytest.approx(min(clip, norm))
    assert (moves[1] / moves[1].norm() - moves[0] / norm).abs().max() < CODEC


def test_patience_stops_after_so_many_iterations_without_a_lower_energy():
    result = make_solver(settings(40, learning_rate=50.0, patience=3)).run()
    assert result.status is Status.NO_IMPROVEMENT
    assert result.trace[-1].iteration - result.best_iteration == 3


def test_target_quality_stops_at_the_first_iterate_that_reaches_it():
    free = make_solver(settings(10)).run()
    target = free.trace[4].quality
    result = make_solver(settings(10, target_quality=target)).run()
    assert result.status is Status.TARGET_REACHED
    assert result.trace[-1].quality >= target
    assert all(row.quality < target for row in result.trace[:-1])


@pytest.mark.parametrize("last", [0, 3, 6])
def test_cancel_gives_the_best_so_far(last):
    full, seen = [], []
    make_solver(settings()).run(lambda step: full.append(step.row))

    def callback(step):
        seen.append(step.row)
        stop_at(last)(step)

    result = make_solver(settings()).run(callback)
    assert result.status is Status.CANCELLED
    assert list(result.trace) == seen == full[: last + 1]
    assert result.best_iteration == min(seen, key=lambda row: row.energy).iteration


def test_the_callback_sees_every_iterate_with_its_picture():
    steps, previews = [], []
    result = make_solver(settings()).run(
        lambda step: (steps.append(step), previews.append(step.preview()))
    )
    assert [step.row for step in steps] == list(result.trace)
    assert [step.is_best for step in steps] == [
        step.row.energy == min(row.energy for row in result.trace[: i + 1])
        for i, step in enumerate(steps)
    ]
    assert torch.equal(previews[result.best_iteration].float(), result.x)
    assert (previews[0] - picture()).abs().max() < CODEC


@every_optimizer
@pytest.mark.parametrize("at", [0, 2])
def test_any_other_exception_passes_through_and_the_run_can_go_on(options, at):
    solver = make_solver(settings(**options))
    with pytest.raises(ZeroDivisionError):
        solver.run(stop_at(at, ZeroDivisionError))
    so_far = solver.result(Status.CANCELLED)
    assert len(so_far.trace) == at + 1
    assert torch.isfinite(so_far.x).all()
    assert_same_result(solver.run(), make_solver(settings(**options)).run())


@every_optimizer
@pytest.mark.parametrize("space", ["diffusion", "pixel"])
@pytest.mark.parametrize("at", [1, 3])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(options, space, at):
    chosen = settings(space=space, **options)
    interrupted = make_solver(chosen)
    interrupted.run(stop_at(at))
    resumed = make_solver(chosen)
    restore(resumed, state_of(interrupted))
    assert resumed.progress.iteration == at
    assert_same_result(resumed.run(), make_solver(chosen).run())


def test_there_is_no_state_before_the_first_step_and_a_damaged_one_is_refused():
    solver = make_solver(settings())
    assert state_of(solver) == {}
    solver.run(stop_at(2))
    for lost in ("iteration", "trace", "variable.0", "best.iteration", "best.variable.0"):
        state = {name: tensor for name, tensor in state_of(solver).items() if name != lost}
        with pytest.raises(ValueError, match="start anew"):
            restore(make_solver(settings()), state)


def test_a_broken_prior_is_named_with_the_iteration_and_the_best_is_kept():
    solver = make_solver(settings(), prior=prior_that_breaks(3))
    with pytest.raises(NonFiniteError, match="quality is not finite at iteration 3") as caught:
        solver.run()
    healthy = make_solver(settings(iterations=2)).run()
    assert [row.iteration for row in caught.value.result.trace] == [0, 1, 2]
    assert torch.equal(caught.value.result.x, healthy.x)


def test_a_prior_that_breaks_at_once_leaves_the_input():
    with pytest.raises(NonFiniteError, match="iteration 0") as caught:
        make_solver(settings(), prior=prior_that_breaks(0)).run()
    assert torch.equal(caught.value.result.x, picture())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_fidelity_is_named(value):
    with pytest.raises(NonFiniteError, match="fidelity is not finite at iteration 0"):
        make_solver(
            settings(), fidelity=fidelity(lambda x, x_init: FIDELITY(x, x_init) + value)
        ).run()


def test_a_broken_gradient_is_named_and_the_best_is_kept():
    def metric(image):
        return (image - image).flatten(1).norm(dim=1).sqrt()  # 0, with an infinite slope

    prior = QualityPrior("steep", metric, Logistic(0.05, 0.02))
    with pytest.raises(NonFiniteError, match="gradient is not finite at iteration 0") as caught:
        make_solver(settings(), prior=prior).run()
    assert (caught.value.result.x - picture()).abs().max() < CODEC


def test_the_first_gradient_costs_no_reconstruction():
    backbone, chosen = ToyBackbone(), settings(steps=4)
    n = 2 * 4
    bound = bind_picture(backbone, picture(), chosen.inversion)
    space = DiffusionSpace(bound, "store", check=False)
    variables = space.start()
    assert backbone.calls == n
    first = space.synthesise(variables, with_gradient=True)
    assert backbone.calls == n
    computed = torch.cat(bound.bijection.reconstruct(LatentPair(*variables)))
    assert (first - computed).abs().max() < RECONSTRUCTION
    space.pull_back(torch.ones_like(first))
    assert backbone.calls == 2 * n  # the reconstruction of the line above
    with pytest.raises(RuntimeError, match="synthesise"):
        space.pull_back(torch.ones_like(first))
    space.synthesise(variables, with_gradient=True)
    assert backbone.calls == 3 * n


def test_a_whole_run_costs_the_promised_calls():
    for memory, per_gradient in (("store", 1), ("recompute", 2)):
        backbone = ToyBackbone()
        make_solver(settings(5, steps=4, memory=memory), backbone=backbone).run()
        # five gradients, the first on the inversion's own calls, and the last picture
        assert backbone.calls == 8 * (5 * per_gradient + 1)


def test_pull_back_before_synthesise_is_refused():
    space = DiffusionSpace(bind_picture(ToyBackbone(), picture(), edict(3)))
    with pytest.raises(RuntimeError, match="synthesise"):
        space.pull_back(noise(0, 2, 12, 8, 8))


def test_the_networks_parameters_get_no_gradient():
    backbone = ToyBackbone(trainable=True)
    for memory in ("store", "recompute"):
        make_solver(settings(2, memory=memory), backbone=backbone).run()
    assert all(denoiser.calls for denoiser in backbone.denoisers)
    assert all(denoiser.weight.grad is None for denoiser in backbone.denoisers)
    assert torch.is_grad_enabled()


def test_one_picture_at_a_time_goes_into_the_solver():
    with pytest.raises(ValueError, match="one picture at a time, got 2"):
        make_solver(settings(), picture(batch=2))
