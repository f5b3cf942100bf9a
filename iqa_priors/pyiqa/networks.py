"""The networks of pyiqa as scorers: called directly, in float32, under the caller's grad mode.

pyiqa's own wrapper either returns no gradient or overrides the caller's `no_grad`; its rules for
crops leave up to a third of a picture unseen. Neither is used here.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...files.devices import resized
from ..crops import (
    Position,
    covering_crops,
    crop_map,
    crop_outputs,
    enlarged,
    equal_weights,
    mean_over_crops,
)
from ..prior import Metric, Scorer
from .offline import build_network, load_checkpoint

CROP = 224
BLOCKS = 20  # a side, of the local scores of PaQ-2-PiQ
CHUNK = 4  # crops at once
UNLIMITED = 1 << 26  # pixels: 8192 squared


class PyiqaNetwork(NamedTuple):
    """How to build and call one of pyiqa's networks.

    Attributes:
        arch, class_name: where it is in pyiqa.archs.
        scorer: makes the ways to score of the built network.
        options: arguments of the class.
        max_pixels: largest picture; attention over the whole picture grows with its square.
    """

    arch: str
    class_name: str
    scorer: Callable[[Any], Scorer]
    options: Mapping[str, Any] = {}
    max_pixels: int = UNLIMITED


def load_pyiqa(device: str | torch.device, paths: tuple[Path, ...], name: str) -> Scorer:
    """One of NETWORKS with its published weights.

    Args:
        device: where the weights go.
        paths: its weight file.
        name: key of NETWORKS.
    Raises: ValueError if pyiqa is missing or the file does not fit.
    """
    network = load_checkpoint(random_network(name), paths[0], name)
    return scorer_of(name, network.to(device))


def random_network(name: str) -> nn.Module:
    """One of NETWORKS as pyiqa builds it, with random weights, frozen."""
    row = NETWORKS[name]
    return build_network(row.arch, row.class_name, row.options)


def scorer_of(name: str, network: nn.Module) -> Scorer:
    """The ways to score with a network of NETWORKS; pictures are checked and clamped to [0, 1]."""
    row = NETWORKS[name]
    scorer = row.scorer(network)
    checked = (metric and guarded(name, metric, network, row.max_pixels) for metric in scorer)
    return Scorer(*checked)  # pyright: ignore - the first is never None


def guarded(name: str, metric: Metric, network: nn.Module, max_pixels: int = UNLIMITED) -> Metric:
    """The metric with its input checked, in the network's precision whatever the caller's."""
    dtype = next(network.parameters()).dtype

    def score(image: Tensor) -> Tensor:
        _check(name, image, max_pixels)
        with torch.autocast(image.device.type, enabled=False):
            raw = metric(_clamped(image).to(dtype))
        return raw.to(image.dtype)

    return score


def _clamped(image: Tensor) -> Tensor:
    # torch.clamp gives no gradient to values that are exactly 0 or 1, as saturated pixels are.
    return torch.where((image < 0) | (image > 1), image.detach().clamp(0, 1), image)


def _check(name: str, image: Tensor, max_pixels: int) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(
            f"{name} was given shape {tuple(image.shape)} of {image.dtype}: pass RGB in [0, 1], "
            "shape (B, 3, H, W), floating dtype"
        )
    height, width = image.shape[-2:]
    if height * width > max_pixels:
        raise ValueError(
            f"a picture of {width}x{height} pixels is too large for {name}, whose memory grows with"
            f" the square of its area: at most {math.isqrt(max_pixels)} squared; make it smaller, "
            "or choose a prior that works on crops, as hyperiqa"
        )
    if not image.isfinite().all():
        raise ValueError(f"{name} was given NaN or inf: look at the step that made the picture")


def whole_picture(network: nn.Module) -> Scorer:
    """A network that takes pictures of any size."""
    return Scorer(lambda image: network(image).reshape(len(image)))


def _upscaled(image: Tensor) -> Tensor:
    """Pictures not larger than a crop, enlarged to one pixel more, as pyiqa has it."""
    shortest = min(image.shape[-2:])
    if shortest > CROP:
        return image
    return F.interpolate(image, scale_factor=(CROP + 1) / shortest, mode="bilinear")


def published_crops(height: int, width: int, count: int) -> list[Position]:
    """The crops of pyiqa's rule: a square grid from the top left that never reaches the far border.

    Args:
        height, width: larger than 224.
        count: number of crops; the grid has the next square number of places.
    """
    root = math.sqrt(count)
    down, right = ((side - CROP) // int(root) for side in (height, width))
    places = range(math.ceil(root))
    return [(i * down, j * right) for i in places for j in places][:count]


def _cropped(score: Callable[[Tensor], Tensor], count: int) -> Scorer:
    """Scores of crops, averaged by the published rule and over the whole picture."""

    def official(image: Tensor) -> Tensor:
        image = _upscaled(image)
        height, width = image.shape[-2:]
        positions = published_crops(height, width, count)
        return mean_over_crops(score, image, positions, CROP, equal_weights(positions), CHUNK)

    def covering(image: Tensor) -> Tensor:
        image = enlarged(image, CROP)
        height, width = image.shape[-2:]
        positions = covering_crops(height, width, CROP, CROP)
        return mean_over_crops(score, image, positions, CROP, chunk=CHUNK)

    def local(image: Tensor) -> Tensor:
        image = enlarged(image, CROP)
        height, width = image.shape[-2:]
        positions = covering_crops(height, width, CROP, CROP // 2)
        scores = crop_outputs(score, image, positions, CROP, CHUNK)
        return crop_map(scores, positions, CROP, (height, width))

    return Scorer(official, covering, local)


def hyperiqa(network: Any) -> Scorer:
    """HyperIQA: 25 crops of 224 in the published rule."""
    return _cropped(lambda crops: network.forward_patch(crops).reshape(len(crops)), 25)


def tres(network: Any) -> Scorer:
    """TReS: 50 crops of 224 in the published rule."""
    return _cropped(lambda crops: network(_one_crop_each(crops)).reshape(len(crops)), 50)


def _one_crop_each(crops: Tensor) -> Tensor:
    # A network told to take one crop enlarges a picture of 224, but cuts the first 224 of 225.
    return F.pad(crops, (0, 1, 0, 1))


def maniqa(network: Any) -> Scorer:
    """MANIQA: patches' scores by the network's own weights, pooled over crops; 20 as published."""
    seen: dict[str, Tensor] = {}
    for part in ("fc_score", "fc_weight"):
        module = getattr(network, part)
        module.register_forward_hook(lambda _, __, out, part=part: seen.update({part: out}))

    def sums(crops: Tensor) -> Tensor:
        network(_one_crop_each(crops))
        score, weight = (seen.pop(part).flatten(1) for part in ("fc_score", "fc_weight"))
        return torch.stack(((score * weight).sum(1), weight.sum(1)), 1)

    pooled = _cropped(sums, 20)

    def ratio(mean: Metric) -> Metric:
        def score(image: Tensor) -> Tensor:
            top, bottom = mean(image).unbind(1)
            return top / bottom

        return score

    def score_alone(crops: Tensor) -> Tensor:
        top, bottom = sums(crops).unbind(1)
        return top / bottom

    covering = pooled.covering or pooled.official
    return Scorer(ratio(pooled.official), ratio(covering), _cropped(score_alone, 20).local)


def paq2piq(network: Any) -> Scorer:
    """PaQ-2-PiQ, with the local scores of a grid of 20 x 20 blocks."""

    def local(image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        features = network.body(image)
        boxes = _blocks(height, width).to(image)
        pooled = network.roi_pool(features, [boxes] * len(image))
        return network.head(pooled).view(len(image), BLOCKS, BLOCKS)

    return Scorer(whole_picture(network).official, local=local)


def _blocks(height: int, width: int) -> Tensor:
    """Corners (left, top, right, bottom) of a grid of equal blocks, (BLOCKS^2, 4)."""
    down = torch.linspace(0, height, BLOCKS + 1)
    right = torch.linspace(0, width, BLOCKS + 1)
    boxes = [
        (right[j], down[i], right[j + 1], down[i + 1]) for i in range(BLOCKS) for j in range(BLOCKS)
    ]
    return torch.tensor(boxes)


def nima(network: Any) -> Scorer:
    """NIMA: the picture shrunk to the network's side; the published rule sees its centre only."""
    side = network.base_model.default_cfg["input_size"][-1]

    def score(crops: Tensor) -> Tensor:
        return network(crops).reshape(len(crops))

    def covering(image: Tensor) -> Tensor:
        image = _shrunk(image, side)
        height, width = image.shape[-2:]
        positions = covering_crops(height, width, side, side)
        return mean_over_crops(score, image, positions, side, chunk=CHUNK)

    return Scorer(score, covering)


def _shrunk(image: Tensor, side: int) -> Tensor:
    """The picture at a short side of `side` pixels."""
    height, width = image.shape[-2:]
    ratio = side / min(height, width)
    size = [max(side, int(length * ratio)) for length in (height, width)]
    return resized(image, size, "bilinear")


_TOPIQ = {"semantic_model_name": "resnet50", "use_ref": False, "backbone_pretrain": False}
_TOPIQ = {**_TOPIQ, "pretrained": False}
_INCEPTION = {"base_model_name": "inception_resnet_v2", "pretrained": False}
_MANIQA = {"scale": 0.8, "test_sample": 1, "pretrained": False}
_ATTENTION = 2048**2  # pixels: 4,096 tokens

NETWORKS: dict[str, PyiqaNetwork] = {
    "dbcnn": PyiqaNetwork("dbcnn_arch", "DBCNN", whole_picture, {"pretrained": False}),
    "hyperiqa": PyiqaNetwork("hypernet_arch", "HyperNet", hyperiqa, {"pretrained": False}),
    "paq2piq": PyiqaNetwork("paq2piq_arch", "PAQ2PIQ", paq2piq, {"pretrained": False}),
    "unique": PyiqaNetwork("unique_arch", "UNIQUE", whole_picture),
    "musiq": PyiqaNetwork("musiq_arch", "MUSIQ", whole_picture, {"pretrained": False}, _ATTENTION),
    "musiq-ava": PyiqaNetwork(
        "musiq_arch", "MUSIQ", whole_picture, {"pretrained": False, "num_class": 10}, _ATTENTION
    ),
    "topiq_nr": PyiqaNetwork("topiq_arch", "CFANet", whole_picture, _TOPIQ, _ATTENTION),
    "topiq_nr-flive": PyiqaNetwork(
        "topiq_arch", "CFANet", whole_picture, {**_TOPIQ, "test_img_size": 384}
    ),
    "maniqa": PyiqaNetwork("maniqa_arch", "MANIQA", maniqa, _MANIQA),
    "tres": PyiqaNetwork("tres_arch", "TReS", tres, {"test_sample": 1, "pretrained": False}),
    "cnniqa": PyiqaNetwork("cnniqa_arch", "CNNIQA", whole_picture, {"pretrained": None}),
    "nima": PyiqaNetwork("nima_arch", "NIMA", nima, {**_INCEPTION, "num_classes": 10}),
    "nima-koniq": PyiqaNetwork("nima_arch", "NIMA", nima, {**_INCEPTION, "num_classes": 1}),
}
