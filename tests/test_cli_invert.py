"""latent-map invert and reconstruct."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from .sample_files import photograph, pixels


@pytest.mark.parametrize("size", [(96, 192), (37, 50)])
def test_inverting_and_reconstructing_gives_the_identical_picture(folder, run, size):
    Image.fromarray(photograph(*size)).save("a.png")
    code, out, err = run("invert", "a.png", "-o", "a.state", "--steps", "6")
    assert (code, err) == (0, "")
    assert float(out.split()[-1]) < 1e-6
    code, _, err = run("reconstruct", "a.state", "-o", "b.png")
    assert (code, err) == (0, "")
    assert np.array_equal(pixels("b.png"), pixels("a.png"))


@pytest.mark.parametrize("steps", [2, 4])
def test_few_steps_need_no_option(folder, run, steps):
    assert run("invert", "good.png", "-o", "a.state", "--steps", steps)[0] == 0
    assert run("reconstruct", "a.state", "-o", "b.png")[0] == 0
    assert np.array_equal(pixels("b.png"), pixels("good.png"))


def test_inverting_warns_of_what_the_state_does_not_keep(folder, run, caplog):
    assert run("invert", "alpha.png", "-o", "a.state", "--steps", "6")[0] == 0
    assert "no alpha channel" in caplog.text


def test_inverting_names_only_what_is_left_behind(folder, run, caplog):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "{}")
    texts.add(b"gAMA", (100000).to_bytes(4, "big"))
    Image.fromarray(photograph(48, 64)).save("a.png", pnginfo=texts, dpi=(300, 300))
    assert run("invert", "a.png", "-o", "a.state", "--steps", "2")[0] == 0
    words = "keeps pixels alone, and no dpi, PNG text (workflow), colour chunks (gAMA)"
    assert words in caplog.text
    assert "alpha" not in caplog.text
