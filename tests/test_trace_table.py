"""Traces of several runs together: plot, table, file, and the node."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from latent_map.map_estimation.result import TraceRow
from latent_map.map_estimation.trace_table import plot_traces, trace_table, write_traces

from .simulated_comfyui import simulated_nodes


def trace(*energies: float, **terms: float) -> tuple[TraceRow, ...]:
    return tuple(TraceRow(i, e, {"quality": -e, **terms}) for i, e in enumerate(energies))


RUNS = {"a": trace(0.5, 0.2, 0.3), "b": trace(0.4, 0.1, fidelity=0.7)}


def test_the_table_has_the_first_best_and_last_iterate():
    lines = trace_table({**RUNS, "c": ()}).split("\n")
    assert lines[0] == "a: first (0): quality -0.5, energy 0.5"
    assert lines[1] == "a: best (1): quality -0.2, energy 0.2"
    assert lines[2] == "a: last (2): quality -0.3, energy 0.3"
    assert lines[4] == "b: best (1): quality -0.1, fidelity 0.7, energy 0.1"
    assert lines[6] == "c: nothing was evaluated"


def test_all_curves_of_a_panel_are_on_one_scale():
    low, high = {"x": trace(0.0, 0.0)}, {"x": trace(0.0, 0.0), "y": trace(1.0, 1.0)}
    plots = [np.asarray(plot_traces(runs)) for runs in (low, high)]
    assert plots[0].shape == (2 * 170, 640, 3)
    colours = (40, 70, 170), (190, 60, 20)
    rows = [np.nonzero((plots[1][170:, 100:600] == c).all(-1).any(1))[0].mean() for c in colours]
    assert rows[0] - rows[1] > 100  # 0 is at the bottom of the energy's panel, 1 at its top


def test_a_file_has_all_numbers_and_takes_the_place_of_none(tmp_path):
    first, second = (write_traces(RUNS, tmp_path / "latent_map") for _ in range(2))
    assert first != second
    rows = list(csv.DictReader(first.open()))
    assert len(rows) == 5
    assert rows[1] == {
        "run": "a",
        "iteration": "1",
        "quality": "-0.2",
        "fidelity": "",
        "energy": "0.2",
    }


@pytest.mark.parametrize("save", [False, True])
def test_the_node_plots_tabulates_and_saves(save):
    with simulated_nodes():
        node = sys.modules["latent_map.nodes.map_trace"].CompareTraces
        plot, table = node.execute(trace=[RUNS["a"], RUNS["b"]], trace_b=[RUNS["b"]], save=save)
        assert plot.shape == (1, 3 * 170, 640, 3)
        assert "trace, picture 2: best" in table
        assert "trace_b: best" in table
        folder = Path(sys.modules["folder_paths"].get_output_directory()) / "latent_map"
        assert len(list(folder.glob("*.csv"))) == save
