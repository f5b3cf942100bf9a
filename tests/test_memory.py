"""Running out of memory, SIMULATED: a toy denoiser that refuses to work above a budget."""

import logging
import weakref
from dataclasses import replace

import pytest
import torch
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.inversion import invert_picture, reconstruct_picture
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.latents_file import load_latents
from latent_map.edict.memory import graph_bytes
from latent_map.edict.protocols import Binding
from latent_map.edict.tiling import binding as tiled_binding
from latent_map.edict.tiling.binding import tile_that_fits
from latent_map.edict.tiling.tiles import TiledDenoiser
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.lack_of_memory import is_out_of_memory
from latent_map.files.state_file import load_state, save_state
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.kept_runs import KeptRuns
from latent_map.map_estimation.noise_ascent import optimise_each, optimise_noise
from latent_map.map_estimation.restraints import FREE
from latent_map.map_estimation.result import Cancel, Status
from latent_map.map_estimation.settings import MapSettings

from .toys import PRIOR, ConvDenoiser, FoldingCodec, ToyBackbone, edict, picture

FIDELITY = load_fidelity("mse")
SAME = 1e-12  # float64: the same latents by way of another noise
RESULT = 1e-6  # pictures are float32
OPTIONS = edict(3, tile=None)
SETTINGS = MapSettings(
    OPTIONS, iterations=4, optimizer="adam", learning_rate=0.02, memory="store", lam=0.1
)


class Budget:
    """How much the simulated device holds: pixels of a call, and graphs alive at once."""

    def __init__(self, pixels=10**9, graphs=10**9):
        self.pixels, self.graphs = pixels, graphs
        self.alive, self.refusals = [], 0

    def check(self, latent):
        self.alive = [graph for graph in self.alive if graph() is not None]
        too_large = 4 * latent.shape[-1] * latent.shape[-2] > self.pixels
        if too_large or (torch.is_grad_enabled() and len(self.alive) >= self.graphs):
            self.refusals += 1
            raise torch.OutOfMemoryError("simulated: CUDA out of memory")


class BudgetedDenoiser(ConvDenoiser):
    """A toy that can be cut, within a budget."""

    def __init__(self, condition, budget):
        super().__init__(condition=condition)
        self.budget = budget

    def __call__(self, latent, label):
        self.budget.check(latent)
        output = super().__call__(latent, label)
        if output.requires_grad:
            self.budget.alive.append(weakref.ref(output))
        return output

    def window(self, top, left, height, width):
        rows, columns = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
        return BudgetedDenoiser(self.condition[..., rows, columns], self.budget)


class BudgetedBackbone(ToyBackbone):
    """The toy backbone on a simulated device."""

    def __init__(self, budget):
        super().__init__()
        self.budget = budget

    def bind(self, image):
        codec = FoldingCodec()
        return Binding(BudgetedDenoiser(0.3 * codec.encode(image), self.budget), codec)


def run(budget, image=None, settings=SETTINGS, **options):
    image = picture(height=40, width=32) if image is None else image
    return enhance(image, BudgetedBackbone(budget), PRIOR, FIDELITY, settings, **options)[0]


def after(iterations, change):
    """A callback that calls `change` once so many iterations have been evaluated."""

    def callback(step):
        if step.row.iteration == iterations:
            change()

    return callback


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_running_out_of_memory_looks_like(error, is_it):
    assert is_out_of_memory(error) is is_it


def test_kept_activations_go_first_and_change_nothing(caplog):
    wanted = run(Budget())
    budget = Budget(graphs=2)
    result = run(budget)
    assert budget.refusals == 1
    assert result.trace == wanted.trace
    assert torch.equal(result.picture, wanted.picture)
    assert "simulated: CUDA out of memory: going on with less memory, tile None" in caplog.text


def test_tiles_go_next_and_the_run_goes_on_from_the_last_iterate():
    budget = Budget()
    settings = replace(SETTINGS, memory="recompute", iterations=6)
    shrink = after(2, lambda: setattr(budget, "pixels", 32 * 32))
    result = run(budget, settings=settings, callback=shrink)
    assert budget.refusals == 1
    assert result.status is Status.ITERATIONS_DONE
    assert len(result.trace) == 7
    untiled = run(Budget(), settings=settings)
    assert result.trace[:3] == untiled.trace[:3]
    # The iterate that was evaluated last, seen through the new map.
    assert result.trace[3].energy == pytest.approx(untiled.trace[2].energy, abs=SAME)
    assert result.trace[-1].energy < result.trace[2].energy


def test_the_first_inversion_finds_a_tile_too():
    result = run(Budget(pixels=24 * 24))
    assert result.improved
    small = replace(SETTINGS, inversion=replace(OPTIONS, tile=20), memory="recompute")
    assert result.trace == run(Budget(), settings=small).trace


def test_only_the_smallest_tile_failing_is_an_error_that_says_what_to_do():
    with pytest.raises(torch.OutOfMemoryError, match=r"simulated.*tiles of 16.*smaller picture"):
        run(Budget(pixels=15 * 15))


def test_a_denoiser_that_cannot_be_cut_is_not_tiled():
    class Whole(BudgetedBackbone):
        def bind(self, image):
            binding = super().bind(image)
            return binding._replace(denoiser=binding.denoiser.__call__)

    with pytest.raises(torch.OutOfMemoryError, match="the whole picture"):
        enhance(picture(height=40), Whole(Budget(pixels=9)), PRIOR, FIDELITY, SETTINGS)
    with pytest.raises(ValueError, match="cannot work on tiles"):
        bind_picture(Whole(Budget()), picture(height=40), replace(OPTIONS, tile=16))


def test_other_errors_pass_through():
    def callback(step):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(Budget(), callback=callback)


def test_optimised_noise_belongs_to_the_map_it_is_returned_with():
    budget, image = Budget(), picture(height=40, width=32)
    latents = invert_picture(BudgetedBackbone(budget), image, OPTIONS)
    settings = replace(SETTINGS, memory="recompute")
    shrink = after(1, lambda: setattr(budget, "pixels", 32 * 32))
    ((moved, result),) = optimise_noise(latents, PRIOR, FIDELITY, settings, shrink)
    assert latents.bound.tile is None
    assert moved.bound.tile == 20
    assert isinstance(moved.bound.bijection.denoiser, TiledDenoiser)
    pictures = reconstruct_picture(moved)
    assert float((pictures.x - result.x).abs().max()) < RESULT
    assert float((pictures.y - result.y).abs().max()) < RESULT


def test_an_interrupted_ascent_goes_on_on_the_tiles_that_it_had_come_to(tmp_path):
    image, settings = picture(height=40, width=32), replace(SETTINGS, memory="recompute")
    whole, kept = optimised_noise(image, settings), KeptRuns(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        optimised_noise(image, settings, kept, stop_at=3)
    moved, result = optimised_noise(image, settings, kept)
    assert result.trace == whole[1].trace
    assert moved.bound.tile == whole[0].bound.tile == 20
    assert all(torch.equal(*pair) for pair in zip(moved.noise, whole[0].noise, strict=True))


def optimised_noise(image, settings, states=None, stop_at=-1):
    """Of a picture for which the memory becomes small after the first iterate."""
    budget = Budget()
    latents = invert_picture(BudgetedBackbone(budget), image, OPTIONS)

    def watch(step):
        if step.row.iteration == 1:
            budget.pixels = 32 * 32
        if step.row.iteration == stop_at:
            raise KeyboardInterrupt

    given = [(latents, FREE)]
    (made,) = optimise_each(given, 1, PRIOR, FIDELITY, settings, watch, states)
    return made


def test_the_best_iterate_survives_a_change_of_map():
    budget, image = Budget(), picture(height=40, width=32)
    latents = invert_picture(BudgetedBackbone(budget), image, OPTIONS)
    settings = replace(SETTINGS, memory="recompute", lam=1e-6, iterations=5)
    shrink = after(3, lambda: setattr(budget, "pixels", 32 * 32))
    ((moved, result),) = optimise_noise(latents, PRIOR, FIDELITY, settings, shrink)
    assert result.best_iteration == 0  # with next to no prior, nothing is better than the input
    pictures = reconstruct_picture(moved)
    assert float((pictures.x - result.x).abs().max()) < RESULT


def test_inverting_alone_finds_a_tile_and_says_so():
    budget, image = Budget(pixels=24 * 24), picture(height=40, width=32)
    latents = invert_picture(BudgetedBackbone(budget), image, OPTIONS)
    assert latents.bound.tile == 20
    assert float((reconstruct_picture(latents).x - image).abs().max()) < RESULT


def stop(step):
    if step.row.iteration == 2:
        raise Cancel


def test_a_resumed_run_takes_its_tile_from_the_state(tmp_path, monkeypatch):
    settings = replace(SETTINGS, inversion=replace(OPTIONS, tile="auto"))
    monkeypatch.setattr(tiled_binding, "free_memory", lambda device: 10**12)
    wanted = run(Budget(pixels=24 * 24), settings=settings)
    path = tmp_path / "state.safetensors"
    run(Budget(pixels=24 * 24), settings=settings, callback=stop, state=path)
    assert path.exists()
    budget = Budget()
    resumed = run(budget, settings=settings, state=path)
    assert resumed.trace == wanted.trace
    assert torch.equal(resumed.picture, wanted.picture)


def test_a_state_of_another_tile_than_the_chosen_one_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    run(Budget(), callback=stop, state=path)
    chosen = replace(SETTINGS, inversion=replace(OPTIONS, tile=16))
    with pytest.raises(ValueError, match="another run"):
        run(Budget(), settings=chosen, state=path)


def test_auto_leaves_pictures_whole_that_fit_and_cuts_those_that_do_not(monkeypatch, caplog):
    image, backbone = picture(height=64, width=48), BudgetedBackbone(Budget())
    binding = backbone.bind(image[..., :16, :16])
    latent = binding.codec.encode(image[..., :16, :16])
    per_pixel = graph_bytes(lambda z: binding.denoiser(z, 1.0), latent) / 16**2

    def tile_with(free):
        monkeypatch.setattr(tiled_binding, "free_memory", lambda device: free)
        with caplog.at_level(logging.INFO):
            return tile_that_fits(backbone, image)

    assert tile_with(10**12) is None
    assert tile_with(None) is None
    assert tile_with(2 * per_pixel * 64 * 48) is None
    half = tile_with(2 * per_pixel * 33**2)
    assert half == 32
    assert "tiles of 32 pixels" in caplog.text
    assert tile_with(1) == 16
    monkeypatch.setattr(tiled_binding, "free_memory", lambda device: 1)
    assert tile_that_fits(backbone, image[..., :16, :16]) is None
    assert invert_picture(backbone, image, replace(OPTIONS, tile="auto")).bound.tile == 16


def test_a_file_of_noise_from_before_there_were_tiles_has_none(tmp_path):
    image = picture(height=16, width=16)
    tensors = {"x": torch.zeros(1, 48, 4, 4), "y": torch.zeros(1, 48, 4, 4), "picture": image}
    options = {"steps": 2, "mixing": 0.93, "spacing": "trailing", "order": "fixed", "strength": 1.0}
    path = tmp_path / "old.safetensors"
    backbone = {"backbone": "pocket 2", "recipe": {"name": "pocket"}}
    save_state(path, "EDICT latents", tensors, {**backbone, "options": options})
    assert "tile" not in load_state(path, "EDICT latents")[1]["options"]
    assert load_latents(path).bound.tile is None


@pytest.mark.parametrize("tile", [0, -16, 1.5, "small"])
def test_impossible_tiles_are_refused(tile):
    with pytest.raises(ValueError, match="tile"):
        InversionOptions(tile=tile)
