"""A kept run and other options: what changes the numbers is refused, the rest goes on."""

import json
import signal
from dataclasses import replace

import pytest
from latent_map.command_line import enhance_jobs
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.prior import Scorer
from latent_map.map_estimation.enhance import enhance as enhance_picture

from .test_cli_interruption import interrupted_at

RUN = ("enhance", "good.png", "-o", "b.png", "--steps", "2", "--iterations", "3")


@pytest.fixture
def kept(folder, run, monkeypatch):
    """A whole run's picture, the state of one that was stopped, and calibrations."""
    for name, xi3 in (("first.json", 0.4), ("second.json", 0.5)):
        fit = {"prior": "pocket", "xi3": xi3, "xi4": 0.1, "lower_better": False}
        (folder / name).write_text(json.dumps(fit))

    def keep(*options):
        assert run(*RUN, "-o", "whole.png", *options)[0] == 0
        monkeypatch.setattr(enhance_jobs, "enhance", interrupted_at(2))
        assert run(*RUN, "--state", "a.state", *options)[0] == 128 + signal.SIGINT
        monkeypatch.setattr(enhance_jobs, "enhance", enhance_picture)
        return folder / "a.state"

    return keep


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((), ("--views", "2"), "different prior: pocket then, pocket in 2 views now"),
        (("--views", "3"), (), "different prior: pocket in 3 views then, pocket now"),
        ((), ("--compile",), "different backbone: pocket 2 then, pocket 2, compiled now"),
        ((), ("--lam", "0.5"), "different settings: lam 3.0 then, 0.5 now"),
        ((), ("--bijection", "bdia"), "inversion bijection name edict then, bdia now"),
        (("--calibration", "first.json"), (), "different prior: pocket calibrated at 0.4, 0.1"),
        (
            ("--calibration", "first.json"),
            ("--calibration", "second.json"),
            "different prior: pocket calibrated at 0.4, 0.1 then, pocket calibrated at 0.5, 0.1",
        ),
    ],
)
def test_another_energy_or_map_is_refused_with_both_values(kept, run, before, after, told):
    state = kept(*before)
    content = state.read_bytes()
    code, _, err = run(*RUN, "--state", state, *after)
    assert code == 2
    assert told in err.splitlines()[-1]
    assert "delete it to start anew" in err
    assert state.read_bytes() == content


@pytest.mark.parametrize(
    "after", [("--acceleration", "none"), ("--memory", "recompute"), ("--no-check-gradient",)]
)
def test_what_changes_no_bits_goes_on_to_the_same_picture(kept, folder, run, after):
    state = kept()
    assert run(*RUN, "--state", state, *after)[0] == 0
    assert (folder / "b.png").read_bytes() == (folder / "whole.png").read_bytes()
    assert not state.exists()


def test_priors_that_judge_otherwise_have_other_identities(monkeypatch):
    own = {"prior": "niqe", "xi3": 4.0, "xi4": 1.0}
    assert load_prior("niqe").identity == "niqe"
    assert load_prior("niqe", crops="official").identity == "niqe by official crops"
    both = load_prior("niqe", calibration=own, views=2)
    assert both.identity == "niqe in 2 views calibrated at 4.0, 1.0"
    metric = load_prior("niqe").metric
    row = replace(PRIORS["niqe"], load=lambda *_: Scorer(metric))
    monkeypatch.setitem(PRIORS, "niqe", row)  # with one rule, no crops are others
    assert load_prior("niqe", crops="official").identity == "niqe"


def test_masks_differ_without_their_hashes_being_told(kept, folder, run):
    state = kept()
    code, _, err = run(*RUN, "--mask", "good.png", "--state", state)
    assert code == 2
    assert "(different restraints): delete it" in err
