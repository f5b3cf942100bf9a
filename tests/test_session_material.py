import random
from pathlib import Path

import numpy as np
import pytest
from latent_map.comparison.material import gather_material, read_pairs, result_file
from latent_map.comparison.session_settings import SessionSettings
from latent_map.comparison.traps import OBVIOUS, make_traps, worsened
from PIL import Image

from .tiny_study import ENTRANTS, SETTINGS, make_study


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study")


def test_all_pairs_are_taken_once(study):
    with (study / "pairs.csv").open("a") as file:
        file.write("9,0,picture 0,strong prior,gentle prior,0.1\n")  # another stratum chose it too
    material = gather_material(study, study / "traps", SETTINGS)
    assert len(material.pairs) == 3 * 4


def test_training_shows_pictures_that_the_study_does_not(study):
    material = gather_material(study, study / "traps", SETTINGS)
    assert material.training[0].scene == "picture 4"
    assert len(material.training) == SETTINGS.training


def test_traps_are_written_for_everyone_to_see(study):
    material = gather_material(study, study / "traps", SETTINGS)
    assert len(material.traps) == SETTINGS.traps
    assert len({scene for scene, _ in material.traps}) == SETTINGS.traps
    for scene, entrant in material.traps:
        copy = Image.open(study / "traps" / entrant / f"{scene}.png")
        assert copy.size == Image.open(result_file(study, scene, entrant)).size


def test_a_worsened_copy_of_a_photograph_is_obvious():
    photograph = Image.open(Path(__file__).parents[1] / "docs" / "sample.png").convert("RGB")
    lost = np.asarray(photograph, float) - np.asarray(worsened(photograph), float)
    detail = [
        np.abs(np.diff(np.asarray(each, float), axis=1)).mean()
        for each in (photograph, worsened(photograph))
    ]
    assert lost.std() / 255 > OBVIOUS
    assert detail[1] < 0.5 * detail[0]


def test_a_picture_without_detail_makes_no_trap(tmp_path, caplog):
    Image.new("RGB", (40, 40), (120, 120, 120)).save(tmp_path / "sky.png")
    made = make_traps(
        [("sky", "a")], 3, lambda *_: tmp_path / "sky.png", lambda *_: tmp_path / "trap.png",
        random.Random(0),
    )  # fmt: skip
    assert made == []
    assert not (tmp_path / "trap.png").exists()
    assert "0 of 3 traps" in caplog.text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lacks the column"),
        ("picture,model_a\n", "lacks the column model_b"),
        ("picture,model_a,model_b\n", "holds no pairs"),
        ("picture,model_a,model_b\nx,a\n", "line 2: None is no name"),
        ("picture,model_a,model_b\n../../x,a,b\n", "line 2: .* is no name"),
        ("picture,model_a,model_b\nx,a,a\n", "a against a"),
        ("picture,model_a,model_b\nx,a,trap\n", "a against trap"),
        ("picture,model_a,model_b\nx,a,b\n", "study run again"),
    ],
)
def test_pairs_that_cannot_be_shown_are_refused(tmp_path, text, complaint):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        gather_material(tmp_path, tmp_path / "traps", SETTINGS)


def test_without_pairs_the_message_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="study select"):
        read_pairs(tmp_path / "pairs.csv")


def test_results_of_different_sizes_are_refused(study):
    file = result_file(study, "picture 2", ENTRANTS[1])
    Image.open(file).resize((40, 48)).save(file)
    with pytest.raises(ValueError, match=r"picture 2.* is 40x48: results of one picture must have"):
        gather_material(study, study / "traps", SETTINGS)


def test_a_damaged_result_is_refused(study):
    result_file(study, "picture 2", ENTRANTS[1]).write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    with pytest.raises(ValueError, match=r"picture 2\.png is no readable picture"):
        gather_material(study, study / "traps", SETTINGS)


def test_no_traps_and_no_training_are_possible(study):
    material = gather_material(study, study / "traps", SessionSettings(training=0, traps=0))
    assert (material.training, material.traps) == ((), ())
