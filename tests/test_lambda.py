"""lambda matters: the more it weighs, the better the picture scores and the further it moves."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import MapSettings

from .toys import PRIOR, ToyBackbone, edict, picture

LAMBDAS = (0.001, 0.01, 0.1, 0.2, 0.4, 1.0, 10.0, 100.0)
FIDELITY = load_fidelity("low_resolution")
SETTINGS = MapSettings(
    edict(3), iterations=40, optimizer="adam", learning_rate=0.01, momentum=0.5, memory="store"
)
TIE = 0.015  # of quality: where lambda weighs all, more of it only takes another way up


@pytest.fixture(scope="module")
def results():
    return [
        enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, replace(SETTINGS, lam=lam))[0]
        for lam in LAMBDAS
    ]


def test_quality_and_distance_rise_with_lambda(results):
    with torch.no_grad():
        qualities = [float(PRIOR(r.picture)) for r in results]
        distances = [float(FIDELITY(r.picture, picture())) for r in results]
    for values in (qualities, distances):
        assert all(b >= a - TIE for a, b in pairwise(values))
        assert qualities[-1] > qualities[0] + 0.05


def test_the_energy_falls_with_lambda(results):
    energies = [min(row.energy for row in r.trace) for r in results]
    assert energies == sorted(energies, reverse=True)


def test_the_kink_of_the_distance_at_the_input_is_no_wrong_gradient(caplog):
    for lam in LAMBDAS:
        enhance(picture(), ToyBackbone(), PRIOR, FIDELITY, replace(SETTINGS, lam=lam, iterations=1))
    assert not caplog.records


def test_a_small_lambda_gives_the_input_back_and_a_large_one_does_not(results):
    assert torch.equal(results[0].picture, picture())
    assert results[-1].improved
