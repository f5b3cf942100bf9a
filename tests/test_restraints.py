"""Masks, guarded regions, anchored colours, and inputs that nothing beats."""

from dataclasses import replace

import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.restraints import Region, Restraints, coarse
from latent_map.map_estimation.result import Cancel, Status
from latent_map.map_estimation.settings import MapSettings
from latent_map.map_estimation.terms import Ingredients
from latent_map.map_estimation.terms.fidelity import fidelity_term
from torch.autograd import gradcheck

from .toys import PRIOR, FoldingCodec, ToyBackbone, edict, picture

FIDELITY = load_fidelity("mse")
SETTINGS = MapSettings(edict(3), iterations=5, optimizer="adam", learning_rate=0.02, memory="store")
EXACT_SUM = 1e-12  # float64 sums in another order
LEFT = torch.zeros(1, 1, 16, 16)
LEFT[..., :8] = 1


def run(image, restraints=None, settings=SETTINGS, backbone=None, prior=PRIOR, **options):
    restraints = restraints or Restraints()
    backbone = backbone or ToyBackbone()
    return enhance(image, backbone, prior, FIDELITY, settings, restraints=restraints, **options)


@pytest.mark.parametrize("space", ["diffusion", "pixel"])
def test_outside_the_mask_the_result_is_the_input_bit_for_bit(space):
    image = picture()
    (result,) = run(image, Restraints(mask=LEFT), replace(SETTINGS, space=space))
    changed = (result.picture != image).any(1, keepdim=True)
    assert result.improved
    assert not changed[..., 8:].any()
    assert changed[..., :8].float().mean() > 0.9


def test_a_mask_of_ones_is_no_mask():
    image = picture()
    (masked,) = run(image, Restraints(mask=torch.ones(1, 1, 16, 16)))
    (free,) = run(image)
    assert torch.equal(masked.picture, free.picture)
    assert masked.trace == free.trace


def test_a_mask_of_zeros_returns_the_input_without_a_network_call():
    image, backbone = picture(), ToyBackbone()
    (result,) = run(image, Restraints(mask=torch.zeros(1, 1, 16, 16)), backbone=backbone)
    assert result.status is Status.NOTHING_TO_DO
    assert torch.equal(result.picture, image)
    assert backbone.calls == 0


def test_a_soft_mask_lets_a_part_of_the_change_through():
    image = picture()
    solid, soft = (run(image, Restraints(mask=m * LEFT))[0] for m in (1.0, 0.2))
    change = [(r.picture - image).abs().mean() for r in (solid, soft)]
    assert 0 < change[1] < 0.6 * change[0]


def test_each_picture_of_a_batch_has_its_own_mask():
    images = picture(batch=2)
    masks = torch.cat((LEFT, 1 - LEFT))
    first, second = run(images, Restraints(mask=masks))
    assert torch.equal(first.picture[..., 8:], images[:1, ..., 8:])
    assert torch.equal(second.picture[..., :8], images[1:, ..., :8])


def test_a_guarded_region_changes_less():
    image = picture()
    (free,) = run(image)
    (guarded,) = run(image, Restraints(guard=LEFT, guard_weight=1000.0))
    half = [(r.picture - image)[..., :8].square().mean() for r in (free, guarded)]
    assert half[1] < 0.5 * half[0]


def test_a_guard_of_weight_zero_is_no_guard():
    image = picture()
    (free,), (guarded,) = run(image), run(image, Restraints(guard=LEFT, guard_weight=0.0))
    assert torch.equal(free.picture, guarded.picture)


def test_the_guarded_fidelity_by_hand():
    x, reference = torch.full((1, 3, 16, 16), 0.5), torch.zeros(1, 3, 16, 16)
    guarded = Restraints(guard=LEFT, guard_weight=4.0)
    term = fidelity_term(Ingredients(PRIOR, FIDELITY, SETTINGS, guarded))
    assert term is not None
    assert float(term.value(x, reference, None)) == pytest.approx(0.25 + 4 * 0.125)


def test_anchored_colours_stay_while_detail_changes():
    image = picture(height=64, width=64)
    (free,) = run(image)
    (anchored,) = run(image, Restraints(anchor_colours=True))
    assert anchored.improved
    drift = [coarse((r.picture - image).double()).abs().max() for r in (free, anchored)]
    assert drift[1] < 0.35 * drift[0]
    assert (anchored.picture - image).abs().max() > 1e-3


def test_the_coarse_part_keeps_constants_and_forgets_fine_detail():
    flat = torch.full((1, 3, 40, 50), 0.3, dtype=torch.float64)
    assert (coarse(flat) - flat).abs().max() < EXACT_SUM
    board = (torch.arange(128)[:, None] + torch.arange(128)) % 2 - 0.5
    board = board.double()[None, None]
    assert coarse(board)[..., 64:66, 64:66].abs().max() < 1e-3


def test_the_coarse_part_is_differentiable():
    image = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: coarse(x, levels=2), image)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 16, 16), "shape"),
        (torch.ones(1, 1, 8, 16), "resize"),
        (torch.ones(3, 1, 16, 16), "shape"),
        (2 * torch.ones(1, 1, 16, 16), "from 0 to 1"),
        (torch.full((1, 1, 16, 16), float("nan")), "from 0 to 1"),
    ],
)
@pytest.mark.parametrize("kind", ["mask", "guard"])
def test_masks_that_do_not_fit_are_refused_before_any_work(kind, mask, message):
    backbone = ToyBackbone()
    with pytest.raises(ValueError, match=message):
        run(picture(), Restraints(**{kind: mask}), backbone=backbone)
    assert backbone.calls == 0


def test_a_state_of_another_mask_is_refused(tmp_path):
    state = tmp_path / "state"

    def stop(step):
        if step.row.iteration == 2:
            raise Cancel

    run(picture(), Restraints(mask=LEFT), state=state, callback=stop)
    assert state.exists()
    with pytest.raises(ValueError, match="restraints"):
        run(picture(), Restraints(mask=1 - LEFT), state=state)
    (resumed,) = run(picture(), Restraints(mask=LEFT), state=state)
    (whole,) = run(picture(), Restraints(mask=LEFT))
    assert torch.equal(resumed.picture, whole.picture)


class LossyCodec(FoldingCodec):
    """Darkens what it encodes, as a lossy autoencoder would."""

    def encode(self, image):
        return super().encode(0.5 * image)


class LossyBackbone(ToyBackbone):
    """A toy whose codec loses quality."""

    def bind(self, image):
        return super().bind(image)._replace(codec=LossyCodec())


def test_the_very_input_is_returned_when_the_codec_costs_more_than_the_run_gains():
    image = picture()
    (result,) = run(image, backbone=LossyBackbone(), settings=replace(SETTINGS, iterations=1))
    energies = [row.energy for row in result.trace]
    assert energies[1] < energies[0]  # better than its start, and still no match for the input
    assert not result.improved
    assert torch.equal(result.picture, image)


def test_one_failed_picture_does_not_lose_the_others():
    calls = []

    def metric(image):
        calls.append(1)
        broken = len(calls) == 9
        return PRIOR.metric(image) * (float("nan") if broken else 1.0)

    images = picture(batch=3)
    prior = QualityPrior("breaking", metric, Logistic(0.05, 0.02))
    settings = replace(SETTINGS, check_gradient=False)  # which asks the prior, too
    first, second, third = run(images, settings=settings, prior=prior)
    assert first.status is Status.ITERATIONS_DONE
    assert second.status is Status.FAILED
    assert third.status is Status.ITERATIONS_DONE
    assert third.improved


def test_regions_weigh_each_by_its_own_weight_and_add_up():
    image, changed = picture().double(), picture(1).double()
    right = 1 - LEFT
    held = Restraints(guard=LEFT, guard_weight=3.0, regions=(Region(right, 5.0), Region(LEFT, 2.0)))
    term = fidelity_term(Ingredients(PRIOR, FIDELITY, SETTINGS, held))
    squares = (changed - image).square()
    left, all_of_it = (squares * LEFT).mean(), squares.mean()
    expected = all_of_it + 5 * left + 5 * (all_of_it - left)
    assert abs(float(term.value(changed, image, None)) - float(expected)) < EXACT_SUM


def test_a_region_of_greater_weight_changes_less():
    image = picture()
    regions = (Region(LEFT, 2.0), Region(1 - LEFT, 0.0))
    (free,), (held,) = run(image), run(image, Restraints(regions=regions))
    half = [(result.picture - image)[..., :8].square().mean() for result in (free, held)]
    assert 0 < half[1] < 0.9 * half[0]


def test_regions_are_of_each_picture_and_tell_runs_apart():
    images, masks = picture(batch=2), torch.cat((LEFT, 1 - LEFT))
    held = Restraints(regions=(Region(masks, 2.0),))
    held.check(images)
    assert torch.equal(held.item(1).regions[0].mask, 1 - LEFT)
    others = (Restraints(regions=(Region(masks, 3.0),)), Restraints(regions=(Region(LEFT, 2.0),)))
    assert len({each.describe() for each in (held, *others, Restraints())}) == 4


@pytest.mark.parametrize(
    ("region", "complaint"),
    [(Region(LEFT, -1.0), "weight"), (Region(LEFT[..., :3], 1.0), "region 1's mask")],
)
def test_regions_that_cannot_work_are_refused(region, complaint):
    with pytest.raises(ValueError, match=complaint):
        run(picture(), Restraints(regions=(region,)))
