import math
from dataclasses import replace

import pytest
from latent_map.map_estimation.settings import MapSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"lam": -1.0},
        {"lam": math.nan},
        {"iterations": -1},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"clip": 0.0},
        {"clip": 1.0, "optimizer": "lbfgs"},
        {"patience": 0},
        {"target_quality": 1.5},
        {"optimizer": "newton"},
        {"space": "fourier"},
        {"memory": "disk"},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    name = next(iter(wrong))
    word = "lambda" if name == "lam" else name.split("_", maxsplit=1)[0]
    with pytest.raises(ValueError, match=word):
        replace(MapSettings(), **wrong)
