"""Where an enhancement's time goes: shares of network, codec, prior, fidelity, and top operators.

Backward operators are counted to the part whose forward operator they are the derivative of, by
autograd's sequence numbers.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from latent_map.edict.backbones import load_backbone
from latent_map.edict.protocols import Binding
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import preset
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

PARTS = ("network", "codec", "prior", "fidelity")
BACKWARD = "autograd::engine::evaluate_function: "
WHOLE = "enhance"
TOP = 12


class Named:
    """Something callable whose calls are recorded under a name; the rest is its own."""

    def __init__(self, name: str, inner: Any):
        self._name, self._inner = name, inner

    def __call__(self, *arguments: Any) -> Tensor:
        """The inner one's result."""
        with record_function(self._name):
            return self._inner(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class NamedCodec:
    """A codec whose calls are recorded."""

    def __init__(self, inner: Any):
        self.encode: Callable[[Tensor], Tensor] = Named("codec", inner.encode)
        self.decode: Callable[[Tensor], Tensor] = Named("codec", inner.decode)


class NamedBackbone:
    """A backbone whose denoiser's and codec's calls are recorded."""

    def __init__(self, inner: Any):
        self.inner, self.name, self.multiple = inner, inner.name, inner.multiple
        self.conditioned, self.recipe = inner.conditioned, inner.recipe
        self.reach = inner.reach
        self.schedule = inner.schedule

    def bind(self, image: Tensor) -> Binding:
        """As the inner one, recorded."""
        denoiser, codec = self.inner.bind(image)
        return Binding(Named("network", denoiser), NamedCodec(codec))


def profile_enhance(image: Tensor, iterations: int) -> dict[str, Any]:
    """Profile the fast preset on a picture (1, 3, H, W).

    Returns: shares of the whole by part, and the operators that took the most time themselves.
    """
    backbone = NamedBackbone(load_backbone("pocket"))
    prior, fidelity = Named("prior", load_prior("pocket")), load_fidelity("low_resolution")
    settings = preset("fast")
    settings = replace(
        settings, iterations=iterations, inversion=replace(settings.inversion, tile=None)
    )
    tools = (backbone, prior, Named("fidelity", fidelity))
    enhance(image, *tools, replace(settings, iterations=1))
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function(WHOLE):
        enhance(image, *tools, settings)
    return {"shares": _shares(profiler.events()), "operators": _operators(profiler)}


def _shares(events: Any) -> dict[str, float]:
    """Share of the whole time by part, forward and backward apart."""
    part_of: dict[int, str] = {}
    spent: dict[str, float] = {}
    whole = 1.0
    for event in events:
        if event.name == WHOLE:
            whole = event.cpu_time_total
        elif event.name in PARTS:
            spent[event.name] = spent.get(event.name, 0.0) + event.cpu_time_total
        elif event.sequence_nr >= 0 and not event.name.startswith(BACKWARD):
            part = _enclosing(event)
            if part:
                part_of[event.sequence_nr] = part
    for event in events:
        if event.name.startswith(BACKWARD):
            part = part_of.get(event.sequence_nr, "own code")
            name = f"{part}, backward"
            spent[name] = spent.get(name, 0.0) + event.cpu_time_total
    shares = {name: value / whole for name, value in spent.items()}
    return dict(sorted(shares.items())) | {"everything else": 1 - sum(shares.values())}


def _enclosing(event: Any) -> str | None:
    while event is not None:
        if event.name in PARTS:
            return event.name
        event = event.cpu_parent
    return None


def _operators(profiler: Any) -> list[dict[str, Any]]:
    operators = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in operators)
    return [
        {"name": row.key, "calls": row.count, "share": row.self_cpu_time_total / whole}
        for row in operators[:TOP]
    ]


def markdown(profile: dict[str, Any]) -> list[str]:
    """Both tables."""
    lines = ["| part | share of the time |", "|---|---|"]
    lines += [f"| {name} | {100 * share:.1f} % |" for name, share in profile["shares"].items()]
    lines += ["", "| operator | calls | share, itself |", "|---|---|---|"]
    lines += [
        f"| `{row['name']}` | {row['calls']} | {100 * row['share']:.1f} % |"
        for row in profile["operators"]
    ]
    return lines
