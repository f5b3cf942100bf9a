"""Nothing is lost when the optimiser of inverted pictures is interrupted."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from latent_map.edict.inversion import invert_picture
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance_each
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.kept_runs import KeptRuns
from latent_map.map_estimation.noise_ascent import optimise_each, optimise_noise
from latent_map.map_estimation.restraints import FREE
from latent_map.map_estimation.resume import best_of
from latent_map.map_estimation.settings import MapSettings

from .simulated_comfyui import simulated_nodes
from .toys import PRIOR, Interrupted, ToyBackbone, edict, interrupt_at, picture

OPTIONS = edict(3)
FIDELITY = load_fidelity("mse")
SETTINGS = MapSettings(
    OPTIONS, iterations=6, optimizer="adam", learning_rate=0.02, memory="recompute"
)


def inverted(seed: int = 0, options=OPTIONS):
    return invert_picture(ToyBackbone(), picture(seed), options)


def run(items, states, callback=None, settings=SETTINGS):
    given = ((item, FREE) for item in items)
    return list(optimise_each(given, len(items), PRIOR, FIDELITY, settings, callback, states))


def same(one, other) -> bool:
    pairs = zip((*one[0].noise, one[1].x), (*other[0].noise, other[1].x), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and one[1].trace == other[1].trace


def states_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.state"))


def test_an_interrupted_ascent_is_gone_on_from_bit_for_bit(tmp_path):
    told = []
    states = KeptRuns(tmp_path / "latent_map", tell=told.append)
    (whole,) = optimise_noise(inverted(), PRIOR, FIDELITY, SETTINGS)
    with pytest.raises(Interrupted):
        run([inverted()], states, interrupt_at(0, 4))
    (path,) = states_in(states.folder)
    assert path.with_suffix(".png").exists()
    shown, trace, given_noise = best_of(path)
    assert given_noise
    assert shown.shape == picture().shape
    assert len(trace) == 5
    calls = []
    (again,) = run([inverted()], states, lambda step: calls.append(step.row.iteration))
    assert calls == [4, 5, 6]
    assert told == [
        f"stopped after 4 iterates: the best is kept in {path}, run again to go on",
        f"went on from iterate 4 of {path}",
    ]
    assert same(again, whole)
    assert not list(states.folder.iterdir())


def test_other_noise_or_settings_are_another_run(tmp_path):
    with pytest.raises(Interrupted):
        run([inverted()], KeptRuns(tmp_path), interrupt_at(0, 2))
    (path,) = states_in(tmp_path)
    told = []
    edited = inverted()
    edited = replace(edited, noise=edited.noise._replace(x=edited.noise.x + 1e-6))
    for item, settings in ((inverted(1), SETTINGS), (edited, SETTINGS)):
        run([item], KeptRuns(tmp_path, tell=told.append), settings=settings)
    assert not told
    with pytest.raises(ValueError, match=r"another run \(different noise\)"):
        run([edited], KeptRuns(tmp_path, chosen=path))


def test_a_state_of_noise_is_none_of_a_picture_nor_the_other_way(tmp_path):
    enhancer = Enhancer(ToyBackbone(), PRIOR, FIDELITY, SETTINGS)

    def enhanced(states, callback=None):
        return list(enhance_each(picture(), enhancer, callback, states))

    def ascended(states, callback=None):
        return run([inverted()], states, callback)

    for left_by, given_to, began in (
        (enhanced, ascended, "a picture"),
        (ascended, enhanced, "inverted noise"),
    ):
        folder = tmp_path / left_by.__name__
        with pytest.raises(Interrupted):
            left_by(KeptRuns(folder), interrupt_at(0, 2))
        (path,) = states_in(folder)
        with pytest.raises(ValueError, match=f"another run, which began with {began}"):
            given_to(KeptRuns(tmp_path, chosen=path))
        assert states_in(folder) == [path]


def test_pictures_of_an_interrupted_batch_that_are_done_are_not_made_again(tmp_path):
    items, calls = [inverted(seed) for seed in range(3)], []
    with pytest.raises(Interrupted):
        run(items, KeptRuns(tmp_path), interrupt_at(1, 3))
    assert len(states_in(tmp_path)) == 2
    results = run(
        items, KeptRuns(tmp_path), lambda step: calls.append((step.item, step.row.iteration))
    )
    assert not [call for call in calls if call[0] == 0]
    assert calls[0] == (1, 3)
    for item, result in zip(items, results, strict=True):
        (alone,) = optimise_noise(item, PRIOR, FIDELITY, SETTINGS)
        assert same(result, alone)
    assert not list(tmp_path.iterdir())


# The nodes.


@pytest.fixture
def nodes():
    with simulated_nodes():
        yield {
            name: sys.modules[f"latent_map.nodes.{name}"]
            for name in ("edict_invert", "latent_map_optimizer", "kept_runs", "load_map_state")
        }


def noise_of(nodes, image):
    widgets = {"steps": 3, "mixing": 0.93, "own_mixing": True, "strength": 1.0}
    (latents,) = nodes["edict_invert"].EdictInvert.execute(
        backbone=ToyBackbone(), image=image, spacing="trailing", order="alternate", **widgets
    )
    return latents


def optimise(nodes, latents, **changes):
    widgets = {"iterations": 6, "optimizer": "adam", "learning_rate": 0.02, "momentum": 0.9}
    widgets |= {"lam": 1.0, "clip": 0.1, "patience": 10, "target_quality": 0.9}
    widgets |= {"memory": "recompute", "preview_every": 1, "preview": False, **changes}
    return nodes["latent_map_optimizer"].LatentMapOptimizer.execute(
        latents=latents, prior=PRIOR, fidelity=FIDELITY, **widgets
    )


def interrupted_after(monkeypatch, calls: int):
    """ComfyUI's interruption at the so-many-th place where it is looked for."""
    left = [calls]

    def look():
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted

    management = sys.modules["comfy.model_management"]
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", look)
    return pytest.raises(Interrupted)


def same_latents(one, other) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x.noise, y.noise, strict=True))


def test_the_node_goes_on_where_it_was_interrupted(nodes, monkeypatch, caplog):
    image = picture().movedim(1, -1)
    whole, (trace,), _ = optimise(nodes, noise_of(nodes, image))
    with monkeypatch.context() as patch, interrupted_after(patch, 60):
        optimise(nodes, noise_of(nodes, image))
    (name,) = nodes["kept_runs"].kept_states()
    best, path, (so_far,), _ = nodes["load_map_state"].LoadMapState.execute(name=name)
    assert best.shape == image.shape
    assert so_far == trace[: len(so_far)]
    assert 1 <= len(so_far) < len(trace)
    with caplog.at_level("INFO", "latent_map.nodes"):
        again, (trace_again,), _ = optimise(nodes, noise_of(nodes, image))
    assert "went on from iterate" in caplog.text
    assert same_latents(again, whole)
    assert trace_again == trace
    assert not list(path.parent.iterdir())


def test_the_node_starts_anew_or_from_a_chosen_state_where_that_is_asked(
    nodes, monkeypatch, caplog
):
    image = picture().movedim(1, -1)
    latents = noise_of(nodes, image)
    with monkeypatch.context() as patch, interrupted_after(patch, 60):
        optimise(nodes, latents)
    (name,) = nodes["kept_runs"].kept_states()
    _, state, *_ = nodes["load_map_state"].LoadMapState.execute(name=name)
    with pytest.raises(ValueError, match="belongs to another run"):
        optimise(nodes, noise_of(nodes, picture(1).movedim(1, -1)), state=state)
    whole, *_ = optimise(nodes, latents, state=state)
    assert state.exists()
    caplog.clear()
    with caplog.at_level("INFO", "latent_map.nodes"):
        anew, *_ = optimise(nodes, latents, resume=False)
    assert "went on" not in caplog.text
    assert same_latents(anew, whole)
    assert not state.exists()
