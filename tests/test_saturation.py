"""A prior at a flat end of its logistic is named before it disappoints."""

import pytest
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.settings import MapSettings

from .toys import picture, solver_of


def warnings_of(xi3, caplog, lower_better=False):
    """What a run logs whose picture scores 0 through a logistic of width 1 at xi3."""

    def metric(image):
        return 0 * image.flatten(1).sum(1)

    prior = QualityPrior("flat", metric, Logistic(xi3, 1.0, lower_better))
    image = picture()
    settings = MapSettings(space="pixel", iterations=1, check_round_trip=False)
    with caplog.at_level("WARNING"):
        solver_of(settings, prior, image=image).run()
    return [r.getMessage() for r in caplog.records if "steepest" in r.getMessage()]


# 4 q (1 - q) is 0.1 at q = 0.0257 and 0.9743, that is ln(0.9743 / 0.0257) = 3.636 from xi3.
@pytest.mark.parametrize("distance", [3.7, -3.7, 20.0])
def test_a_flat_prior_is_logged_once_with_its_name_and_slope(distance, caplog):
    (message,) = warnings_of(distance, caplog)
    assert "the prior flat puts this picture at" in message
    assert "calibrate" in message


@pytest.mark.parametrize("distance", [0.0, 3.6, -3.6])
def test_a_prior_that_pulls_is_not(distance, caplog):
    assert not warnings_of(distance, caplog)
