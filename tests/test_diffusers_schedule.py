"""Noise levels by a scheduler's configuration."""

import pytest
from latent_map.edict.backbones.stable_diffusion.schedule import noise_levels


def test_the_schedule_is_the_scheduler_s():
    alphas, prediction = noise_levels(
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, "x"
    )
    assert prediction == "eps"
    assert len(alphas) == 1000
    assert float(alphas[0]) == pytest.approx(1 - 0.00085)  # 1 - beta_start
    assert float(alphas[-1]) == pytest.approx(0.00466, abs=1e-5)  # SD's published last level
    linear, _ = noise_levels({"prediction_type": "v_prediction"}, "x")
    assert float(linear[1]) == pytest.approx((1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999))


def test_zero_terminal_snr_works_with_v_prediction_only():
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    plain, _ = noise_levels({"prediction_type": "v_prediction"}, "x")
    alphas, prediction = noise_levels(config, "x")
    assert (float(alphas[-1]), prediction) == (0, "v")
    assert float(alphas[0]) == pytest.approx(float(plain[0]))
    with pytest.raises(ValueError, match="cannot be inverted"):
        noise_levels({"rescale_betas_zero_snr": True}, "x")


@pytest.mark.parametrize(
    "config",
    [
        {"prediction_type": "sample"},
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"_class_name": "EDMEulerScheduler"},
        {"beta_schedule": "squaredcos_cap_v2"},
    ],
)
def test_other_schedules_are_refused(config):
    with pytest.raises(ValueError, match="choose"):
        noise_levels(config, "x")
