"""The settings that benchmarks.pareto compares."""

from dataclasses import replace
from typing import NamedTuple

from latent_map.edict.bijections import BijectionOptions
from latent_map.edict.bijections.bdia import BdiaOptions
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.bijections.obelm import OBelmOptions
from latent_map.edict.inversion_options import InversionOptions
from latent_map.map_estimation.settings import PRESETS, MapSettings, OptimizerName

EDICT = EdictOptions(mixing=0.93)  # holds the pair together in few steps


class Variant(NamedTuple):
    """Settings and the reduction of Eq. (20)."""

    settings: MapSettings
    reduction: str = "mse"


def variant(
    optimizer: OptimizerName,
    rate: float,
    steps: int = 4,
    iterations: int = 14,
    bijection: BijectionOptions = EDICT,
    **options,
) -> Variant:
    """An optimiser in few diffusion steps."""
    inversion = InversionOptions(steps, bijection=bijection)
    settings = MapSettings(
        inversion, optimizer=optimizer, learning_rate=rate, iterations=iterations, **options
    )
    return Variant(settings)


VARIANTS = {name: Variant(settings, "rms") for name, settings in PRESETS.items()}
VARIANTS |= {
    f"adam {rate:g}, T={steps}": variant("adam", rate, steps, momentum=0.5)
    for steps in (2, 4, 8)
    for rate in (0.0025, 0.005, 0.01, 0.02, 0.05)
}
VARIANTS |= {
    f"lbfgs {rate:g}, T={steps}": variant("lbfgs", rate, steps, iterations=5)
    for steps in (2, 4, 8)
    for rate in (0.005, 0.01, 0.02, 0.03)
}
VARIANTS |= {f"sgd {rate:g}, T=4": variant("sgd", rate) for rate in (1e4, 1e5, 1e6)}
VARIANTS |= {
    f"{name}, {optimizer} 0.01, T={steps}": variant(
        optimizer, 0.01, steps, 10 if optimizer == "adam" else 5, bijection, momentum=0.5
    )
    for name, bijection in {"bdia": BdiaOptions(), "obelm": OBelmOptions()}.items()
    for optimizer in ("adam", "lbfgs")
    for steps in (4, 8)
}
# Algorithm 1 as printed, but for a rate that suits the backbone's scale.
VARIANTS |= {
    f"algorithm 1, rate {rate:g}": Variant(replace(PRESETS["paper"], learning_rate=rate))
    for rate in (1e4, 3e4, 1e5)
}
VARIANTS["adam 0.01 momentum 0.9, T=4"] = variant("adam", 0.01, momentum=0.9)
VARIANTS["adam 0.01, T=4, rms"] = VARIANTS["adam 0.01, T=4"]._replace(reduction="rms")
# What the final table and plots show.
TEST = (
    "input",
    "fast",
    "lbfgs 0.01, T=4",
    "lbfgs 0.03, T=4",
    "obelm, adam 0.01, T=4",
    "bdia, adam 0.01, T=4",
    "pixel_ascent",
    "pixel_map",
    "paper",
    "algorithm 1, rate 30000",
)
