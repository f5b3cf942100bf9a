"""Pictures so unlike all that a model knows that its answers explode: refused, never handed out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_map.edict.inversion import UnlikeError
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.result import Status
from latent_map.map_estimation.settings import preset
from PIL import Image

SAMPLE = Path(__file__).resolve().parents[1] / "docs" / "sample.png"
QUICK = ("--iterations", "1", "--no-check-gradient")


@pytest.fixture
def dithered(folder):
    """A photograph in black and white dots, and the same photograph."""
    with Image.open(SAMPLE) as sample:
        image = sample.convert("RGB").crop((40, 40, 136, 136))
    image.save(folder / "void" / "b.png")
    image.convert("1").save(folder / "void" / "a.png")
    return folder / "void" / "a.png"


def pixels_of(path):
    with Image.open(path) as image:
        array = np.asarray(image.convert("RGB"), np.float32) / 255
    return torch.from_numpy(array.transpose(2, 0, 1).copy())[None]


@pytest.mark.parametrize("how", [(), ("--steps", "1"), ("--preset", "turbo")])
def test_what_the_model_loses_is_refused_and_nothing_is_written(dithered, folder, run, how):
    code, out, err = run("enhance", dithered, "-o", "x.png", *QUICK, *how)
    assert (code, out) == (2, "")
    assert "unlike those that it was trained on" in err.splitlines()[-1]
    assert not (folder / "x.png").exists()


def test_an_inversion_that_cannot_come_back_is_not_written(dithered, folder, run):
    code, out, err = run("invert", dithered, "-o", "x.state", "--steps", "4")
    assert (code, out) == (2, "")
    assert "loses this picture" in err
    assert not (folder / "x.state").exists()


def test_the_other_pictures_of_a_folder_go_on(dithered, folder, run):
    code, _, _ = run("enhance", "void", "-o", "out", *QUICK, "--report", "r.json")
    assert code == 3
    assert [path.name for path in (folder / "out").iterdir()] == ["b.png"]
    reports = json.loads((folder / "r.json").read_text())
    assert "loses this picture" in reports["a.png"]["error"]


def test_in_a_batch_it_is_returned_as_it_is(dithered, loaded_once, caplog):
    batch = torch.cat([pixels_of(dithered), pixels_of(dithered.with_name("b.png"))])
    parts = (load_prior("pocket"), load_fidelity("low_resolution"), preset("fast"))
    lost, found = enhance(batch, loaded_once("pocket", "cpu"), *parts)
    assert (lost.status, lost.improved) == (Status.FAILED, False)
    assert torch.equal(lost.picture, batch[:1])
    assert found.status is Status.ITERATIONS_DONE
    assert "picture 1 of 2 is returned as it is" in caplog.text
    with pytest.raises(UnlikeError, match="trained on"):
        enhance(batch[:1], loaded_once("pocket", "cpu"), *parts)
