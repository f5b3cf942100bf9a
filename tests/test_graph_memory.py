"""What captured calls hold, and when it goes."""

import contextlib
import sys
import types

import pytest
import torch
from latent_map.edict.backbones.graphed import CudaCapture, GraphedBackbone
from latent_map.map_estimation.settings import preset
from latent_map.map_estimation.work import work_of

from .simulated_capture import SimulatedCapture
from .simulated_comfyui import simulated_nodes
from .tiny_pictures import IMAGE, load
from .toys import ToyBackbone

LATENT = torch.ones(1, 4, 4, 4, dtype=torch.float64)


@pytest.fixture
def pools(monkeypatch):
    """The pools of memory that graphs are captured into, on a CUDA that is simulated."""
    names, used = iter(range(10)), []

    class Graph:
        def replay(self):
            pass

    def graph(_graph, pool, capture_error_mode):
        used.append(pool)
        return contextlib.nullcontext()

    stream = types.SimpleNamespace(wait_stream=lambda _: None)
    for name, stand_in in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda _: contextlib.nullcontext(),
        "graph_pool_handle": lambda: next(names),
        "CUDAGraph": Graph,
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return used


def test_graphs_share_a_pool_of_memory_until_the_last_is_gone(pools):
    """PyTorch refuses a capture into a pool that its last graph has left."""
    capture = CudaCapture()
    kept = [capture(lambda: LATENT), capture(lambda: LATENT)]
    kept.pop()
    kept.append(capture(lambda: LATENT))
    kept.clear()
    kept.append(capture(lambda: LATENT))
    assert pools == [0, 0, 0, 1]


def test_forgotten_graphs_are_captured_anew(models):
    capture, plain = SimulatedCapture(), load(models, "sd15")
    backbone = GraphedBackbone(plain, capture)
    for times in (1, 2):
        found = backbone.bind(IMAGE).denoiser(LATENT, 500.0)
        assert torch.equal(found, plain.bind(IMAGE).denoiser(LATENT, 500.0))
        assert capture.captures == times
        backbone.graphs.close()


def test_a_nodes_graphs_go_as_it_ends():
    backbone, closed = GraphedBackbone(ToyBackbone(), SimulatedCapture()), []
    backbone.graphs.close = lambda: closed.append(True)
    with simulated_nodes(torch.device("cpu")):
        session = sys.modules["latent_map.nodes.session"]
        progress = session.Progress(work_of(backbone, preset("fast")))
        with session.native_session():
            progress.watch(backbone)
            progress.watch(backbone)
            assert not closed
    assert closed == [True]
