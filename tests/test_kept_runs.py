"""Nothing is lost when a node is interrupted: its state is kept, and gone on from."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation import resume
from latent_map.map_estimation.enhance import enhance_each
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.kept_runs import KeptRuns
from latent_map.map_estimation.result import Cancel
from latent_map.map_estimation.resume import best_of
from latent_map.map_estimation.settings import MapSettings
from PIL import Image
from torch import Tensor

from .simulated_comfyui import simulated_nodes
from .toys import PRIOR, Interrupted, ToyBackbone, edict, interrupt_at, picture

EIGHT_BITS = 0.51 / 255  # rounding
FIDELITY = load_fidelity("mse")
SETTINGS = MapSettings(
    edict(3), iterations=6, optimizer="adam", learning_rate=0.02, memory="recompute"
)


def run(image, states, callback=None, settings=SETTINGS):
    enhancer = Enhancer(ToyBackbone(), PRIOR, FIDELITY, settings)
    return list(enhance_each(image, enhancer, callback, states))


def states_in(folder: Path) -> list[Path]:
    """The states in a folder, each with a picture beside it."""
    states = sorted(folder.glob("*.state"))
    assert sorted(folder.iterdir()) == sorted([*states, *(p.with_suffix(".png") for p in states)])
    return states


def shown_beside(state: Path) -> Tensor:
    with Image.open(state.with_suffix(".png")) as preview:
        pixels = torch.from_numpy(np.array(preview.convert("RGB")))
    return pixels.movedim(-1, 0)[None] / 255


def test_an_interrupted_run_is_kept_told_and_gone_on_from_bit_for_bit(tmp_path):
    told, image = [], picture()
    states = KeptRuns(tmp_path / "latent_map", tell=told.append)
    (whole,) = run(image, None)
    with pytest.raises(Interrupted):
        run(image, states, interrupt_at(0, 4))
    (path,) = states_in(states.folder)
    assert told == [f"stopped after 4 iterates: the best is kept in {path}, run again to go on"]
    shown, trace, inverted = best_of(path)
    assert not inverted
    assert shown.shape == image.shape
    assert [row.iteration for row in trace] == [0, 1, 2, 3, 4]
    (result,) = run(image, states)
    assert told[1:] == [f"went on from iterate 4 of {path}"]
    assert torch.equal(result.picture, whole.picture)
    assert result.trace == whole.trace
    assert not states_in(states.folder)


def test_the_best_picture_is_the_one_kept(tmp_path):
    states, rows = KeptRuns(tmp_path), []

    def watch(step):
        rows.append((step.row.energy, step.preview()))
        if step.row.iteration == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(picture(), states, watch)
    shown, *_ = best_of(*states_in(tmp_path))
    best = min(rows, key=lambda row: row[0])[1]
    assert (shown - best).abs().max() < 0.01  # the pair's other member may be the better one
    assert (shown_beside(*states_in(tmp_path)) - shown).abs().max() < EIGHT_BITS


def test_another_picture_or_other_settings_are_another_run(tmp_path):
    states = KeptRuns(tmp_path)
    with pytest.raises(Interrupted):
        run(picture(), states, interrupt_at(0, 2))
    told = []
    for image, settings, lineage in (
        (picture(1), SETTINGS, ""),
        (picture(), replace(SETTINGS, lam=0.5), ""),
        (picture(), SETTINGS, "another checkpoint"),
    ):
        others = KeptRuns(tmp_path, lineage=lineage, tell=told.append)
        run(image, others, settings=settings)
    assert not told
    run(picture(), KeptRuns(tmp_path, tell=told.append), settings=replace(SETTINGS, iterations=3))
    assert len(told) == 1  # more or fewer iterations are the same run


def test_it_starts_anew_where_that_is_asked(tmp_path):
    told = []
    with pytest.raises(Interrupted):
        run(picture(), KeptRuns(tmp_path), interrupt_at(0, 2))
    (result,) = run(picture(), KeptRuns(tmp_path, go_on=False, tell=told.append))
    assert not told
    assert len(result.trace) == 7


def test_finished_pictures_of_an_interrupted_batch_are_not_made_again(tmp_path):
    images, calls = picture(batch=3), []
    states = KeptRuns(tmp_path)
    with pytest.raises(Interrupted):
        run(images, states, interrupt_at(1, 3))
    assert len(states_in(tmp_path)) == 2
    results = run(images, states, lambda step: calls.append((step.item, step.row.iteration)))
    assert not [call for call in calls if call[0] == 0]
    assert (1, 3) in calls
    assert (1, 2) not in calls
    for result, alone in zip(results, run(images, None), strict=True):
        assert torch.equal(result.picture, alone.picture)
    assert not states_in(tmp_path)


def test_the_picture_beside_a_state_is_that_of_its_last_best(tmp_path):
    for iteration in (1, 5):
        with pytest.raises(Interrupted):
            run(picture(), KeptRuns(tmp_path), interrupt_at(0, iteration))
        (path,) = states_in(tmp_path)
        shown, trace, _ = best_of(path)
        assert len(trace) == iteration + 1
        assert (shown_beside(path) - shown).abs().max() < EIGHT_BITS


def test_a_picture_that_cannot_be_written_costs_nothing_else(tmp_path, monkeypatch, caplog):
    def full(path, content):
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        write(path, content)

    write = resume.write_atomically
    monkeypatch.setattr(resume, "write_atomically", full)
    told = []
    with pytest.raises(Interrupted):
        run(picture(), KeptRuns(tmp_path, tell=told.append), interrupt_at(0, 2))
    assert "not the picture beside it" in caplog.text
    assert told[0].startswith("stopped after 2 iterates")
    assert best_of(*tmp_path.iterdir())


def test_a_state_given_by_its_path_has_no_picture_beside_it(tmp_path):
    (tmp_path / "mine.png").write_text("my own")
    with pytest.raises(Interrupted):
        run(picture(), tmp_path / "mine.state", interrupt_at(0, 2))
    assert (tmp_path / "mine.png").read_text() == "my own"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
@pytest.mark.parametrize("go_on", [True, False])
@pytest.mark.parametrize("there", ["link", "pipe", "link to a pipe", "folder"])
def test_nothing_else_of_the_name_of_a_preview_is_touched(tmp_path, there, go_on):
    states, mine = KeptRuns(tmp_path, go_on), tmp_path / "mine"
    with pytest.raises(Interrupted):
        run(picture(), states, interrupt_at(0, 2))
    (preview,) = tmp_path.glob("*.png")
    preview.unlink()
    if there == "link":
        mine.write_text("my own")
    elif there == "folder":
        preview.mkdir()
    else:
        os.mkfifo(mine if "link" in there else preview)
    if "link" in there:
        preview.symlink_to(mine)
    before = preview.lstat(), preview.stat().st_mode
    with pytest.raises(Interrupted):
        run(picture(), states, interrupt_at(0, 4))
    run(picture(), states)
    assert (preview.lstat(), preview.stat().st_mode) == before
    assert not mine.is_file() or mine.read_text() == "my own"
    assert not list(tmp_path.glob("*.state"))


def test_a_damaged_state_says_how_to_go_on(tmp_path):
    with pytest.raises(Interrupted):
        run(picture(), KeptRuns(tmp_path), interrupt_at(0, 2))
    (path,) = states_in(tmp_path)
    for content in (b"", path.read_bytes()[:-4], path.read_bytes()[:-1] + b"?"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged.*: delete it to start anew"):
            run(picture(), KeptRuns(tmp_path))


def test_a_picture_beside_a_state_that_was_renamed_is_the_users_own(tmp_path):
    with pytest.raises(Interrupted):
        run(picture(), KeptRuns(tmp_path), interrupt_at(0, 2))
    (path,) = states_in(tmp_path)
    renamed, mine = path.rename(tmp_path / "portrait.state"), tmp_path / "portrait.png"
    mine.write_text("my own")
    with pytest.raises(Interrupted):
        run(picture(), KeptRuns(tmp_path, chosen=renamed), interrupt_at(0, 4))
    assert mine.read_text() == "my own"
    assert len(best_of(renamed).trace) == 5


def test_a_chosen_state_is_gone_on_from_and_stays(tmp_path):
    told = []
    with pytest.raises(Interrupted):
        run(picture(), KeptRuns(tmp_path), interrupt_at(0, 2))
    (path,) = states_in(tmp_path)
    run(picture(), KeptRuns(tmp_path, go_on=False, tell=told.append, chosen=path))
    assert told == [f"went on from iterate 2 of {path}"]
    assert states_in(tmp_path) == [path]
    with pytest.raises(ValueError, match="keeps one picture, the batch holds 2"):
        run(picture(batch=2), KeptRuns(tmp_path, chosen=path))
    path.unlink()
    with pytest.raises(ValueError, match="no state file"):
        run(picture(), KeptRuns(tmp_path, chosen=path))


def test_a_state_of_another_model_of_the_same_name_is_refused(tmp_path):
    def states(**made_of):
        return KeptRuns(tmp_path, made_of=lambda: made_of)

    with pytest.raises(Interrupted):
        run(picture(), states(weights="a", vae="b"), interrupt_at(0, 2))
    (path,) = states_in(tmp_path)
    with pytest.raises(ValueError, match=r"another run \(different weights\)"):
        run(picture(), states(weights="c", vae="b"))
    run(picture(), states(weights="a", vae="b"))
    with pytest.raises(Interrupted):  # of before it was noted
        run(picture(), states(), interrupt_at(0, 2))
    assert states_in(tmp_path) == [path]
    run(picture(), states(weights="a", vae="b"))


def test_a_cancelled_batch_keeps_what_is_done(tmp_path):
    def cancel(step):
        if (step.item, step.row.iteration) == (1, 2):
            raise Cancel

    run(picture(batch=2), KeptRuns(tmp_path), cancel)
    assert len(states_in(tmp_path)) == 2


# The nodes.


@pytest.fixture
def nodes():
    with simulated_nodes():
        yield {
            name: sys.modules[f"latent_map.nodes.{name}"]
            for name in ("post_enhance", "kept_runs", "load_map_state")
        }


def post_enhance(nodes, image, **changes):
    options = {"preset": "fast", "iterations": 4, "lam": 1.0, "override": True, "strength": 1.0}
    options |= {"preview_every": 1, "preview": False, "start": "input", **changes}
    return nodes["post_enhance"].PostEnhance.execute(
        image=image, backbone=ToyBackbone(), prior=PRIOR, fidelity=FIDELITY, **options
    )


def interrupt_after(monkeypatch, calls: int) -> None:
    """ComfyUI's interruption at the so-many-th place where it is looked for."""
    left = [calls]

    def look():
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted

    management = sys.modules["comfy.model_management"]
    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", look)


def test_the_node_goes_on_where_it_was_interrupted(nodes, monkeypatch):
    image = picture().movedim(1, -1)
    whole, *_ = post_enhance(nodes, image)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 50)
        with pytest.raises(Interrupted):
            post_enhance(nodes, image)
    (name,) = nodes["kept_runs"].kept_states()
    load = nodes["load_map_state"].LoadMapState
    assert load.validate_inputs(name=name) is True
    best, path, (trace,), _ = load.execute(name=name)
    assert best.shape == image.shape
    assert 1 <= len(trace) <= 4
    again, summary, *_ = post_enhance(nodes, image)
    assert "went on from iterate" in summary
    assert torch.equal(again, whole)
    assert not path.exists()


def test_a_state_is_gone_on_from_on_purpose_or_refused(nodes, monkeypatch):
    image = picture().movedim(1, -1)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 50)
        with pytest.raises(Interrupted):
            post_enhance(nodes, image)
    (name,) = nodes["kept_runs"].kept_states()
    _, state, *_ = nodes["load_map_state"].LoadMapState.execute(name=name)
    with pytest.raises(ValueError, match="belongs to another run"):
        post_enhance(nodes, picture(1).movedim(1, -1), state=state)
    post_enhance(nodes, image, state=state)


def test_only_states_that_are_there_are_offered(nodes):
    kept = nodes["kept_runs"]
    folder = kept.states_folder()
    (folder / "folder.state").mkdir(parents=True)
    (folder / "removed.state").symlink_to(folder / "gone")
    assert kept.kept_states() == []
    for age, name in enumerate(("new.state", "old.state")):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    assert kept.kept_states() == ["new.state", "old.state"]
    assert nodes["load_map_state"].LoadMapState.define_schema()


def test_a_name_that_is_none_is_refused(nodes):
    assert "no state" in nodes["load_map_state"].LoadMapState.validate_inputs(name="x.state")


def test_a_lineage_is_all_that_a_socket_is_made_of(nodes):
    def prompt(seed, unrelated=0):
        return {
            "1": {"class_type": "Loader", "inputs": {"name": "a"}},
            "2": {"class_type": "Prompt", "inputs": {"model": ["1", 0], "text": seed}},
            "3": {
                "class_type": "DLM_PostEnhance",
                "inputs": {"backbone": ["2", 0], "x": unrelated},
            },
        }

    lineage = nodes["kept_runs"].lineage
    assert lineage(prompt("a"), "3", "backbone") == lineage(prompt("a", 1), "3", "backbone")
    assert lineage(prompt("a"), "3", "backbone") != lineage(prompt("b"), "3", "backbone")
    assert lineage(prompt("a"), "3", "prior") == lineage({}, None, "backbone") == ""
