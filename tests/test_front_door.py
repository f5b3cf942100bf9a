"""`from latent_map import ...`: what the README shows, and what it costs."""

import subprocess
import sys

import latent_map
import pytest

from .toys import PRIOR, ToyBackbone, edict, fidelity, picture

IMPORT_SECONDS = 0.1  # 2 ms measured: nothing heavy is behind the door before it is used


def test_everything_named_is_there_and_is_the_one_in_its_room():
    from latent_map.map_estimation.enhance import enhance

    assert latent_map.enhance is enhance
    for name in latent_map.__all__:
        assert callable(getattr(latent_map, name))
        assert name in dir(latent_map)


def test_what_is_not_there_is_named():
    with pytest.raises(AttributeError, match="no attribute 'enhence'"):
        _ = latent_map.enhence


def test_one_import_line_enhances_a_picture():
    from dataclasses import replace

    from latent_map import Enhancer, enhance, preset

    settings = replace(preset("fast"), inversion=edict(3), iterations=1)
    parts = ToyBackbone(), PRIOR, fidelity(lambda x, y: (x - y).square().mean((1, 2, 3)))
    (result,) = enhance(picture(), *parts, settings)
    assert result.picture.shape == picture().shape
    assert Enhancer(*parts, settings).settings is settings


def test_the_door_opens_without_torch_and_at_once():
    code = (
        "import sys, time; start = time.perf_counter(); import latent_map; dir(latent_map);"
        "print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, torch_is_loaded = run.stdout.split()
    assert float(seconds) < IMPORT_SECONDS
    assert torch_is_loaded == "False"
