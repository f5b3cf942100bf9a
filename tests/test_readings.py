"""How often an iteration has the processor wait for a number; each time a GPU runs dry."""

from collections import Counter
from dataclasses import replace

from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import MapSettings
from torch.overrides import TorchFunctionMode

from .toys import PRIOR, ToyBackbone, edict, picture

READINGS = {"__bool__", "__float__", "__int__", "equal", "item", "tolist"}
# The means of energy and terms together, the gradient's norm, and which of a new best is better.
MOST = 3


class _Counted(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in READINGS:
            self.found[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def readings(iterations: int) -> int:
    settings = MapSettings(edict(3), iterations=iterations, optimizer="sgd", learning_rate=0.1)
    settings = replace(settings, check_gradient=False, check_round_trip=False)
    with _Counted() as counted:
        enhance(picture(), ToyBackbone(), PRIOR, load_fidelity("mse"), settings)
    return counted.found.total()


def test_an_iteration_reads_few_numbers():
    first, more = readings(2), readings(6)
    assert first > 0
    assert more - first <= 4 * MOST
