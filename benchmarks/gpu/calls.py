"""Part `calls`: one network call, and one with its product, eager, graphed and compiled."""

from functools import partial
from statistics import median
from typing import Any

import torch
from latent_map.edict.gradients import vector_jacobian, with_graph
from torch import Tensor

from .bench import Bench, Job

LABEL = 500.0
GOALS = {"graph": 2.0}  # times as fast as eager, with gradient, at the smaller side


def _calls(bench: Bench, how: str, index: int) -> dict[str, Any]:
    """Milliseconds of F and of F and B, seconds of the first of them, memory, bits."""
    image = bench.picture(bench.sizes.sides[index])
    denoiser, codec = bench.accelerated(how).bind(image)
    with torch.no_grad():
        latent = codec.encode(image).double()

    def call() -> Tensor:
        with torch.no_grad():
            return denoiser(latent, LABEL)

    def product() -> Tensor:
        leaf, output = with_graph(denoiser, latent, LABEL)
        return vector_jacobian(leaf, output, torch.ones_like(output))

    facts, found = {}, {}
    for name, run in (("F", call), ("F and B", product)):
        _, first = bench.measured(run)
        found[name], later = bench.measured(lambda run=run: _milliseconds(bench, run))
        facts[name] = {
            "first_seconds": first["seconds"],
            "ms": round(found[name][0], 2),
            "above_weights_gib": round(later["peak_gib"] - later["before_gib"], 3),
        }
    results = {name: pair[1].cpu() for name, pair in found.items()}
    times = {name: pair[0] for name, pair in found.items()}
    eager = bench.facts.setdefault(f"eager {index}", (times, results))
    # A graphed call that is to be pulled back makes F, and then F and B in one.
    facts["times as fast"] = {name: round(eager[0][name] / times[name], 2) for name in times}
    facts["eager's bits"] = all(torch.equal(results[name], eager[1][name]) for name in results)
    if how == "graph":
        fast = facts["times as fast"]["F and B"] >= GOALS["graph"] or index > 0
        facts["reached"] = fast and facts["eager's bits"]
    return facts


def _milliseconds(bench: Bench, run: Any) -> tuple[float, Tensor]:
    seconds, result = [], run()
    for _ in range(bench.sizes.repeats):
        clock = bench.now()
        result = run()
        seconds.append(bench.now() - clock)
    return 1000 * median(seconds), result


def _job(how: str, index: int, seconds: float) -> Job:
    goal = "eager's bits; F and B twice as fast at the smaller side" if how == "graph" else ""
    return Job(partial(_calls, how=how, index=index), goal, seconds)


# What compiles is last: it takes minutes, or is left out.
JOBS = {
    "eager, smaller": _job("eager", 0, 10),
    "graph, smaller": _job("graph", 0, 10),
    "eager, larger": _job("eager", 1, 15),
    "graph, larger": _job("graph", 1, 15),
    "compile, smaller": _job("compile", 0, 80),
}
