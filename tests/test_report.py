import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.curves import PAPER
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.report import (
    COLOURS,
    ENERGY_COLOUR,
    before_after_sheet,
    describe_run,
    plot_trace,
    sheet_size,
    summarise,
)
from latent_map.map_estimation.result import MapResult, Status, TraceRow
from latent_map.map_estimation.settings import PRESETS

from .toys import ToyBackbone

BRIGHTNESS = QualityPrior("brightness", lambda image: image.mean((1, 2, 3)), Logistic(0.5, 0.1))


def result(best=1, size=(20, 30), rows=3):
    after = torch.full((1, 3, *size), 0.75)
    terms = [{"quality": 0.2 + 0.1 * i, "fidelity": 0.01 * i} for i in range(rows)]
    trace = tuple(TraceRow(i, -0.1 * i, values) for i, values in enumerate(terms))
    return MapResult(Status.ITERATIONS_DONE, after, after - 0.25, best, trace, improved=best > 0)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (20, 300), (300, 17)])
def test_the_sheet_has_the_announced_size_and_both_pictures(size):
    sheet = before_after_sheet(torch.zeros(1, 3, *size), result(size=size))
    assert sheet.size == sheet_size(size[1], size[0])
    pixels = np.asarray(sheet)
    assert (pixels == 0).all(-1).sum() >= size[0] * size[1]
    assert (pixels == 191).all(-1).sum() >= size[0] * size[1]  # 0.75 in 8 bits


def test_captions_stay_on_their_side_and_inside_the_sheet():
    pixels = np.asarray(before_after_sheet(torch.ones(1, 3, 16, 16), result(size=(16, 16))))
    height, width = pixels.shape[:2]
    ink = (pixels[26:] != PAPER).any(-1).any(0)
    assert ink.any()
    assert not ink[-2:].any()
    assert not ink[width // 2 - 2 : width // 2 + 2].any()
    assert not (pixels[height - 1] != PAPER).any()


def test_a_sheet_without_a_trace_has_plain_captions():
    done = MapResult(Status.NOTHING_TO_DO, torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 9), 0, ())
    assert before_after_sheet(torch.zeros(1, 3, 9, 9), done).size == sheet_size(9, 9)


@pytest.mark.parametrize("rows", [0, 1, 2, 500])
def test_a_trace_of_any_length_is_plotted(rows):
    plot = plot_trace(result(rows=rows).trace, width=320, panel=100)
    count = 3 if rows else 1
    assert plot.size == (320, 100 * count)
    drawn = {tuple(colour) for colour in np.asarray(plot).reshape(-1, 3).tolist()}
    assert {*COLOURS[: count - 1], ENERGY_COLOUR} <= drawn


def test_a_constant_trace_is_a_level_line():
    trace = tuple(TraceRow(i, 0.0, {"quality": 0.5, "fidelity": 0.0}) for i in range(20))
    plot = np.asarray(plot_trace(trace))[30:140, 80:600]
    rows = (plot == COLOURS[0]).all(-1).sum(1)
    assert rows.max() == plot.shape[1]
    assert (rows > 0).sum() <= 5  # the line and its dots


def test_the_curve_of_a_rising_trace_rises():
    trace = tuple(TraceRow(i, 0.0, {"quality": float(i), "fidelity": 0.0}) for i in range(10))
    plot = np.asarray(plot_trace(trace))[26:132, 72:620]
    at = (plot == COLOURS[0]).all(-1).argmax(0)
    assert at[5] > at[len(at) // 2] > at[-40]


def test_a_run_is_described_in_plain_json():
    settings = PRESETS["fast"]
    enhancer = Enhancer(ToyBackbone(), BRIGHTNESS, load_fidelity("low_resolution"), settings)
    described = describe_run(torch.zeros(1, 3, 20, 30), result(), enhancer)
    read = json.loads(json.dumps(described, allow_nan=False))
    assert read == described | {"trace": read["trace"], "settings": read["settings"]}
    assert read["size"] == [30, 20]
    assert read["scores"] == {"before": {"brightness": 0.0}, "after": {"brightness": 0.75}}
    assert read["pair_difference"] == 0.25
    assert (read["prior"], read["backbone"]) == ("brightness", enhancer.backbone.name)
    assert read["fidelity"] == enhancer.fidelity.identity
    assert read["improved"] is True
    assert [row["iteration"] for row in read["trace"]] == [0, 1, 2]
    assert read["settings"]["inversion"]["steps"] == settings.inversion.steps


def test_a_run_is_summarised_in_one_line():
    assert summarise(result()) == (
        "quality 0.2000 -> 0.3000, best at iteration 1; all iterations done"
    )
    assert "input returned" in summarise(result(best=0))
    falling = replace(result(), trace=result().trace[::-1], before=result().trace[2])
    assert "quality 0.4000 -> 0.3000, best at iteration 1 by all terms" in summarise(falling)
    assert summarise(result(best=0, rows=0)) == "all iterations done"
