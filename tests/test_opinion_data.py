"""Lists of opinions, and the crops that a training sees."""

import numpy as np
import pytest
import torch
from latent_map.iqa_priors.training.opinion_data import (
    random_crops,
    read_opinions,
)

from .clip_weights import CROP_SIDE


def test_crops_come_from_the_scales_by_turns():
    image = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 64, 80).clone()

    def pyramid(x):
        return [x, x[..., :40] + 10]

    crops = random_crops(image, pyramid, 4, CROP_SIDE, np.random.default_rng(0))
    assert crops[:, 0, 0, 0].tolist() == [0, 10, 0, 10]


def test_lists_are_read_in_the_layout_of_liqes_splits(tmp_path):
    for name in ("a b.png", "c.png"):
        (tmp_path / name).touch()
    file = tmp_path / "list.txt"
    file.write_text("a b.png\t3.5\tblur\tanimal\tinvalid\nc.png\t40\n\n")
    found = read_opinions(file, tmp_path)
    assert [(o.path.name, o.score) for o in found] == [("a b.png", 3.5), ("c.png", 40)]
    assert [o.score for o in read_opinions(file, tmp_path, falling=True)] == [-3.5, -40]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png 3\nb.png\t1\n", "line 1: a path, a tab and a score"),
        ("a.png\t3\nb.png\tgood\n", "line 2"),
        ("a.png\tnan\nb.png\t1\n", "not finite"),
        ("a.png\t3\n", "at least 2"),
        ("a.png\t3\nb.png\t1\n", r"2 of 2 pictures .*first is .*a\.png"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(tmp_path, text, words):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_opinions(tmp_path / "list.txt", tmp_path)
