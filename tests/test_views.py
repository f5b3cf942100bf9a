"""Several views of a picture for one judge."""

import io

import numpy as np
import pytest
import torch
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import CombinedPrior, QualityPrior
from latent_map.iqa_priors.views import SHIFT, VIEWS, compressed, mirrored, several_views, shifted
from PIL import Image

from .toys import picture

ROUNDING = 1e-6  # float32


def brightness(image):
    return image.flatten(1).mean(1)


def corner(image):
    return image[:, 0, 0, 0]


def slope(metric, image):
    leaf = image.clone().requires_grad_(True)
    return torch.autograd.grad(metric(leaf).sum(), leaf)[0]


def test_one_view_is_the_metric_itself():
    assert several_views(brightness, 1) is brightness


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("shape", [(32, 48), (33, 17), (3, 2)])
def test_every_view_keeps_shape_and_range(view, shape):
    image = picture(height=shape[0], width=shape[1], batch=2)
    seen = view(image)
    assert seen.shape == image.shape
    assert seen.dtype == image.dtype
    assert float(seen.min()) >= 0
    assert float(seen.max()) <= 1


@pytest.mark.parametrize("view", VIEWS)
def test_an_even_grey_picture_looks_the_same_in_every_view(view):
    grey = torch.full((1, 3, 32, 32), 128 / 255)
    assert torch.allclose(view(grey), grey, atol=ROUNDING)


def test_the_mirror_undoes_itself_and_the_shift_moves_by_as_much_as_it_says():
    image = picture(height=32, width=48)
    assert torch.equal(mirrored(mirrored(image)), image)
    down, right = SHIFT
    assert torch.equal(shifted(image)[..., down:, right:], image[..., :-down, :-right])


def test_compression_is_that_of_a_jpeg_file_and_the_gradient_that_of_the_picture():
    image = picture(height=32, width=48)
    file = io.BytesIO()
    pixels = (255 * image[0]).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    wanted = np.asarray(Image.open(file))
    found = (255 * compressed(image)[0]).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(found, wanted)
    assert torch.allclose(
        slope(lambda x: brightness(compressed(x)), image), slope(brightness, image)
    )


def test_the_quality_is_that_of_the_mean_score_and_each_view_pulls_where_it_looks():
    image = picture(height=32, width=48)
    metric = several_views(corner, 3)
    # The corner of the mirror image is the other corner; that of the shifted one lies inside.
    down, right = SHIFT
    wanted = torch.stack((image[0, 0, 0, 0], image[0, 0, 0, -1], image[0, 0, down, right])).mean()
    assert torch.allclose(metric(image), wanted)
    pull = slope(metric, image)
    assert int((pull != 0).sum()) == 3
    assert float(pull.sum()) == pytest.approx(1)


def test_views_are_an_option_of_every_prior_and_leave_raw_scores_alone():
    image = picture(height=48, width=48)
    one, four = load_prior("pocket"), load_prior("pocket", views=4)
    assert float((one(image) - four(image)).abs()) > 0
    assert one.scores(image)["pocket"] == four.scores(image)["pocket"]
    assert torch.equal(four.as_published()(image), one(image))
    assert one.identity == one.name == four.name == "pocket"
    assert four.identity == "pocket in 4 views"
    both = CombinedPrior((four, one), (1.0, 0.5))
    assert both.identity == "pocket in 4 views + 0.5 pocket"
    assert both.name == "pocket + 0.5 pocket"


@pytest.mark.parametrize("views", [0, 5, -1, 1.5])
def test_other_numbers_of_views_are_refused(views):
    with pytest.raises(ValueError, match="views of a picture: choose 1 to 4"):
        load_prior("pocket", views=views)
    with pytest.raises(ValueError, match="views of a picture"):
        QualityPrior("brightness", brightness, Logistic(0.5, 0.2), views=views)
