"""Whole pictures through each of the exact bijections: what users and the optimiser see."""

from dataclasses import replace

import pytest
import torch
from latent_map.__main__ import main
from latent_map.edict.backbones import load_backbone
from latent_map.edict.bijections import bijection_options, name_of, option_names
from latent_map.edict.bijections.bdia import BdiaOptions
from latent_map.edict.bijections.obelm import OBelmOptions
from latent_map.edict.bijections.two_step import TwoStep
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.inversion import invert_picture, reconstruct_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.latents_file import load_latents, save_latents
from latent_map.edict.protocols import Binding
from latent_map.edict.tiling.tiles import TiledDenoiser
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.pictures import read_picture, to_image, write_image
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.noise_ascent import optimise_noise
from latent_map.map_estimation.objective import Objective
from latent_map.map_estimation.result import Cancel, Status
from latent_map.map_estimation.settings import MapSettings
from latent_map.map_estimation.solver import MapSolver
from latent_map.map_estimation.spaces import DiffusionSpace
from latent_map.map_estimation.terms import Ingredients, terms_of

from .toys import PRIOR, ConvDenoiser, FoldingCodec, ToyBackbone, picture

FIDELITY = load_fidelity("mse")
EXACT = 1e-12  # float64 latents
RESULT = 1e-6  # pictures are float32
SLOPE = 1e-6  # relative, of a central difference along the gradient
every_bijection = pytest.mark.parametrize("bijection", ["edict", "bdia", "obelm"])
every_two_step = pytest.mark.parametrize("bijection", ["bdia", "obelm"])


def inversion(bijection, gamma=1.0, **options):
    given = {"mixing": 0.93, "gamma": gamma}
    own = {name: given[name] for name in option_names(bijection) if name in given}
    return InversionOptions(4, bijection=bijection_options(bijection, **own), **options)


def settings(bijection, iterations=5, memory="store", **options):
    return MapSettings(
        inversion(bijection, **options),
        iterations=iterations,
        optimizer="adam",
        learning_rate=0.02,
        memory=memory,
        check_gradient=False,
        check_round_trip=False,
    )


class WindowedBackbone(ToyBackbone):
    """The toy backbone with a denoiser that can be cut; `refuse` ends its memory, SIMULATED."""

    def __init__(self):
        super().__init__()
        self.largest = 10**9

    def bind(self, image):
        codec = FoldingCodec()
        return Binding(WindowedConv(self, 0.3 * codec.encode(image)), codec)


class WindowedConv(ConvDenoiser):
    def __init__(self, backbone, condition):
        super().__init__(condition=condition)
        self.backbone = backbone

    def __call__(self, latent, label):
        if latent.shape[-1] * latent.shape[-2] > self.backbone.largest:
            raise torch.OutOfMemoryError("simulated: CUDA out of memory")
        return super().__call__(latent, label)

    def window(self, top, left, height, width):
        rows, columns = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
        return WindowedConv(self.backbone, self.condition[..., rows, columns])


def solver_of(chosen, image=None, backbone=None):
    image = picture() if image is None else image
    bound = bind_picture(backbone or ToyBackbone(), image, chosen.inversion)
    space = DiffusionSpace(bound, chosen.memory, check=False)
    objective = Objective(terms_of(Ingredients(PRIOR, FIDELITY, chosen)))
    return MapSolver(space, image, objective, chosen)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("prediction", ["eps", "v"])
@every_bijection
def test_inverted_pictures_come_back(bijection, prediction, spacing, strength):
    image = picture(0, 37, 53, batch=2)
    options = inversion(bijection, spacing=spacing, strength=strength)
    latents = invert_picture(ToyBackbone(prediction), image, options)
    assert round_trip_error(latents) < EXACT
    x, y = reconstruct_picture(latents)
    assert (x - image).abs().max() < RESULT
    assert (y - image).abs().max() < RESULT


@every_bijection
def test_a_batch_is_its_single_pictures(bijection):
    images = picture(0, 18, 22, batch=2)
    together = invert_picture(ToyBackbone(), images, inversion(bijection)).noise
    for index, image in enumerate(images.split(1)):
        single = invert_picture(ToyBackbone(), image, inversion(bijection)).noise
        for ours, wanted in zip(together, single, strict=True):
            assert (ours[index : index + 1] - wanted).abs().max() < EXACT * wanted.abs().max()


@every_two_step
def test_the_prior_and_the_decoder_see_one_picture(bijection):
    seen = []

    def metric(image):
        seen.append(len(image))
        return PRIOR.metric(image)

    prior = QualityPrior("watched", metric, PRIOR.logistic)
    (result,) = enhance(picture(), ToyBackbone(), prior, FIDELITY, settings(bijection))
    assert set(seen) == {1}
    assert result.member == 0
    assert torch.equal(result.x, result.y)


@every_two_step
def test_the_run_starts_at_the_very_input_and_lowers_the_energy(bijection):
    solver = solver_of(settings(bijection))
    result = solver.run()
    reference = picture()
    start = solver.objective(reference.double(), reference.double()).energy
    assert result.trace[0].energy == pytest.approx(float(start), abs=RESULT)
    assert result.best_iteration > 0
    assert result.trace[result.best_iteration].energy < result.trace[0].energy - RESULT


@every_two_step
def test_only_x_is_optimised_and_the_memory_stays_with_it(bijection):
    inverted = invert_picture(ToyBackbone(), picture(), inversion(bijection))
    solver = solver_of(settings(bijection))
    result = solver.run()
    x, memory = result.variables
    assert torch.equal(memory, inverted.noise.y)
    assert (x - inverted.noise.x).abs().max() > 0.01
    shown = reconstruct_picture(replace(inverted, noise=inverted.noise._replace(x=x)))
    assert (shown.x - result.picture).abs().max() < RESULT


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
@every_two_step
def test_every_optimizer_leaves_the_memory_alone_and_the_checks_content(
    bijection, optimizer, caplog
):
    rate = {"sgd": 100.0, "adam": 0.02, "lbfgs": 0.01}[optimizer]
    chosen = replace(
        settings(bijection, iterations=3),
        optimizer=optimizer,
        learning_rate=rate,
        check_gradient=True,
        check_round_trip=True,
    )
    inverted = invert_picture(ToyBackbone(), picture(), chosen.inversion)
    (result,) = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, replace(chosen, lam=0.1))
    assert result.best_iteration > 0
    assert torch.equal(result.variables[1], inverted.noise.y)
    assert not caplog.records


@pytest.mark.parametrize("memory", ["store", "recompute", "auto"])
@every_two_step
def test_the_gradient_is_the_slope_of_the_energy(bijection, memory):
    solver = solver_of(settings(bijection, memory=memory))
    space = solver.space
    variables = space.start()

    def energy(moved):
        latents = space.synthesise(moved, with_gradient=False)
        image = space.decode(latents)
        return float(solver.objective(image, picture().double()).energy)

    for _ in range(2):  # on the inversion's own calls, then on calls of its own
        latents = space.synthesise(variables, with_gradient=True).requires_grad_(True)
        terms = solver.objective(space.decode(latents), picture().double())
        (by_latents,) = torch.autograd.grad(terms.energy.sum(), latents)
        by_x, by_memory = space.pull_back(by_latents)
        assert not by_memory.any()
        step = 1e-3 * by_x / by_x.norm()
        ahead, behind = (energy([variables[0] + s * step, variables[1]]) for s in (1, -1))
        assert float(by_x.norm()) == pytest.approx((ahead - behind) / 2e-3, rel=SLOPE)
        variables = [variables[0] + 0.1, variables[1]]


@every_two_step
def test_a_whole_run_costs_half_of_edicts_calls(bijection):
    for memory, per_gradient in (("store", 1), ("recompute", 2)):
        backbone = ToyBackbone()
        solver_of(settings(bijection, memory=memory), backbone=backbone).run()
        # the start, five gradients, the first on the inversion's own calls, and the last picture
        assert backbone.calls == TwoStep.start_calls + 4 * (5 * per_gradient + 1)
        other = ToyBackbone()
        solver_of(settings("edict", memory=memory), backbone=other).run()
        assert other.calls == 2 * (backbone.calls - TwoStep.start_calls)


@every_two_step
def test_the_first_picture_is_that_of_a_computed_reconstruction(bijection):
    space = solver_of(settings(bijection)).space
    variables = space.start()
    first = space.synthesise(variables, with_gradient=True)
    assert first.shape == (1, 12, 8, 8)
    assert (first - space.synthesise(variables, with_gradient=False)).abs().max() < EXACT


@every_two_step
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(bijection, tmp_path):
    path, chosen = tmp_path / "run.state", settings(bijection)

    def stop(step):
        if step.row.iteration == 2:
            raise Cancel

    wanted = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, chosen)[0]
    cut = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, chosen, stop, path)[0]
    assert cut.status is Status.CANCELLED
    resumed = enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, chosen, state=path)[0]
    assert resumed.trace == wanted.trace
    ours, theirs = ((r.x, r.y, *r.variables) for r in (resumed, wanted))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_state_of_another_bijection_is_refused(tmp_path):
    path = tmp_path / "run.state"

    def stop(step):
        if step.row.iteration == 2:
            raise Cancel

    enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, settings("bdia"), stop, path)
    for other in (settings("obelm"), settings("bdia", gamma=0.9)):
        with pytest.raises(ValueError, match="different settings"):
            enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, other, state=path)


@every_two_step
def test_optimising_given_latents_equals_enhancing_the_picture(bijection):
    images, chosen = picture(0, 18, 22, batch=2), settings(bijection)
    latents = invert_picture(ToyBackbone(), images, chosen.inversion)
    optimised = optimise_noise(latents, PRIOR, FIDELITY, chosen)
    wanted = enhance(images, ToyBackbone(), PRIOR, FIDELITY, chosen)
    for (moved, result), expected in zip(optimised, wanted, strict=True):
        assert (result.x - expected.x).abs().max() < RESULT
        assert (reconstruct_picture(moved).x - result.x).abs().max() < RESULT


@pytest.mark.parametrize("options", [BdiaOptions(0.9), OBelmOptions()])
def test_saved_noise_is_the_same_bit_for_bit(options, tmp_path):
    image = picture(0, 37, 50)
    latents = invert_picture(load_backbone("pocket"), image, InversionOptions(3, bijection=options))
    save_latents(tmp_path / "a.state", latents)
    again = load_latents(tmp_path / "a.state")
    assert again.bound.options == latents.bound.options
    assert all(torch.equal(a, b) for a, b in zip(again.noise, latents.noise, strict=True))
    pictures = reconstruct_picture(latents), reconstruct_picture(again)
    assert torch.equal(pictures[0].x, pictures[1].x)
    assert (pictures[0].x - image).abs().max() < RESULT


@pytest.mark.parametrize("arguments", [("obelm",), ("bdia", "--gamma", "0.9")])
def test_the_command_line_takes_them(arguments, tmp_path, capsys):
    before, state, after = (tmp_path / name for name in ("a.png", "a.state", "b.png"))
    write_image(before, to_image(picture(0, 20, 24)))
    invert = ["invert", str(before), "-o", str(state), "--steps", "3"]
    assert main([*invert, "--bijection", *arguments]) == 0
    assert float(capsys.readouterr().out.split()[-1]) < EXACT
    assert name_of(load_latents(state).bound.options.bijection) == arguments[0]
    assert main(["reconstruct", str(state), "-o", str(after)]) == 0
    assert torch.equal(read_picture(after).pixels, read_picture(before).pixels)
    enhance_ = ["enhance", str(before), "-o", str(after), "--prior", "niqe"]
    assert main([*enhance_, "--gamma", "0.9"]) == 2
    assert (
        "--gamma does not go with the bijection edict: give --bijection bdia"
        in capsys.readouterr().err
    )


@every_two_step
def test_on_tiles_the_map_is_that_of_the_blended_network(bijection):
    image = picture(0, 40, 32)
    tiled = invert_picture(WindowedBackbone(), image, inversion(bijection, tile=20))
    denoiser = tiled.bound.bijection.denoiser
    assert isinstance(denoiser, TiledDenoiser)
    assert round_trip_error(tiled) < EXACT
    blended = replace(tiled.bound.bijection, denoiser=denoiser.__call__)
    start = tiled.bound.codec.encode(image)
    wanted = blended.invert(blended.start(start))
    for ours, theirs in zip(tiled.noise, wanted, strict=True):
        assert (ours - theirs).abs().max() < EXACT * theirs.abs().max()
    whole = invert_picture(WindowedBackbone(), image, inversion(bijection, tile=None))
    assert (whole.noise.x - tiled.noise.x).abs().max() > 1e-4  # it is another map


@every_two_step
def test_the_gradient_on_tiles_is_the_slope_of_the_energy(bijection):
    image = picture(0, 40, 32)
    chosen = settings(bijection, tile=20)
    solver = solver_of(chosen, image, WindowedBackbone())
    space = solver.space
    variables = space.start()
    latents = space.synthesise(variables, with_gradient=True)
    by_x, _ = space.pull_back(torch.cos(latents))
    step = 1e-4 * by_x / by_x.norm()
    ahead, behind = (
        space.synthesise([variables[0] + s * step, variables[1]], False).sin().sum()
        for s in (1, -1)
    )
    assert float(by_x.norm()) == pytest.approx(float(ahead - behind) / 2e-4, rel=SLOPE)


@pytest.mark.parametrize("rate", [0.02, 5.0])
@every_two_step
def test_where_memory_runs_out_each_noise_keeps_its_own_memory(bijection, rate):
    image, backbone = picture(0, 40, 32), WindowedBackbone()
    chosen = replace(settings(bijection, tile=None), learning_rate=rate, lam=0.1)
    solver = solver_of(chosen, image, backbone)

    def shrink(step):
        if step.row.iteration == 2:
            backbone.largest = 100

    result = solver.run(shrink)
    assert solver.space.tile == 20
    # the best is found after the change of the map, or, with the large rate, was so before
    assert (result.best_iteration > 2) == (rate < 1)
    with torch.no_grad():
        latents = solver.space.synthesise(list(result.variables), with_gradient=False)
        assert (solver.space.decode(latents).clamp(0, 1) - result.picture).abs().max() < RESULT
