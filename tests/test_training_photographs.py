"""The photographs that the embedded networks are trained on."""

import numpy as np
import pytest
from PIL import Image

from training.photographs import load_photographs


def test_pictures_of_any_format_are_read_and_some_held_out(tmp_path):
    (tmp_path / "SOURCES.md").write_text("where they are from")
    for grey, name in enumerate(("000.png", "001.JPG", "002.webp", "014_00.png")):
        Image.new("RGB", (8, 6), (grey,) * 3).save(tmp_path / name)
    shown, held_out = load_photographs(tmp_path), load_photographs(tmp_path, held_out=True)
    assert [int(np.median(pixels)) for pixels in shown] == [0, 1, 2]
    assert [pixels.shape for pixels in held_out] == [(6, 8, 3)]


def test_a_folder_without_any_says_what_is_looked_for(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "000.png")
    with pytest.raises(FileNotFoundError, match=r"no photographs whose names begin with 014, 027"):
        load_photographs(tmp_path, held_out=True)
