"""How many network calls a run makes: what is planned, and what is counted while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from ..edict.choices import Spacing
from ..edict.inversion_options import InversionOptions
from ..edict.protocols import Backbone, Binding, Denoiser
from ..edict.schedule import Schedule
from ..edict.tiling.binding import can_be_cut
from .gradient_check import NETWORK_CALLS
from .settings import MapSettings
from .starts import settings_for


@dataclass(frozen=True)
class Work:
    """The network calls that one picture takes, at most.

    Attributes:
        reconstruction: calls of the way from noise to picture.
        before: such ways before the first gradient: inversion and checks.
        iterations: gradient steps.
        start: calls besides: of an inversion's start, an estimate, a check.
    """

    reconstruction: int
    before: int = 1
    iterations: int = 0
    start: int = 0

    @property
    def calls(self) -> int:
        """All of them, and 1 where none are needed."""
        ways = self.before + 2 * self.iterations
        return max(1, self.start + self.reconstruction * ways)

    def after(self, iteration: int) -> int:
        """Those still to come when an iterate has been evaluated and differentiated."""
        return self.reconstruction * max(0, 2 * (self.iterations - iteration) - 1)


def work_of_inversion(backbone: Backbone, options: InversionOptions) -> Work:
    """What inverting a picture takes."""
    schedule = backbone.schedule(options.steps, options.spacing).last(options.strength)
    bijection = options.bijection.couple(_never, schedule, options.steps)
    return Work(bijection.calls, start=bijection.start_calls)


def work_of_reconstruction(backbone: Backbone, options: InversionOptions) -> Work:
    """What coming back takes."""
    return replace(work_of_inversion(backbone, options), start=0)


def work_of(backbone: Backbone, settings: MapSettings, inverted: bool = False) -> Work:
    """What the optimiser does for each picture; with `inverted` the noise is there already."""
    settings = settings_for(settings, backbone)
    if settings.space == "pixel":  # no network: iterations are counted
        return Work(1, 0, settings.iterations)
    ways = 1 if inverted else 1 + settings.check_round_trip
    work = work_of_inversion(backbone, settings.inversion)
    start = 0 if inverted else work.start
    if settings.check_gradient and settings.iterations:
        start += NETWORK_CALLS
    if settings.expectation or (settings.start == "estimate" and not inverted):
        start += settings.draws
    if not inverted and settings.start != "input":
        start += settings.draws * work.reconstruction * (settings.start == "sample")
        if settings.typicality:  # the very input's noise is measured, too
            start, ways = start + work.start, ways + 1
    return replace(work, before=ways, iterations=settings.iterations, start=start)


def _never(latent: Tensor, label: float) -> Tensor:  # noqa: ARG001 - a Denoiser
    raise RuntimeError("a map made for counting its calls was called")


class WatchedBackbone:
    """A backbone whose network calls are told.

    Args:
        backbone: the model.
        called: before each network call, with its share: 1, or on tiles a tile's share of a call.
        pulled_back: after each gradient through a call.
    """

    def __init__(
        self,
        backbone: Backbone,
        called: Callable[[float], None],
        pulled_back: Callable[[], None] | None = None,
    ):
        self.backbone, self.called, self.pulled_back = backbone, called, pulled_back
        self.name, self.multiple = backbone.name, backbone.multiple
        self.conditioned, self.recipe = backbone.conditioned, backbone.recipe
        self.reach = backbone.reach

    def schedule(self, steps: int, spacing: Spacing) -> Schedule:
        """The backbone's."""
        return self.backbone.schedule(steps, spacing)

    def bind(self, image: Tensor) -> Binding:
        """As the backbone, with calls told."""
        binding = self.backbone.bind(image)
        return binding._replace(denoiser=self._watched(binding.denoiser))

    def _watched(self, denoiser: Denoiser, share: Callable[[], float] = lambda: 1.0) -> Denoiser:
        tiles = []  # with their margins two can see the same, and are two calls all the same

        def call(latent: Tensor, label: float) -> Tensor:
            self.called(share())
            output = denoiser(latent, label)
            if self.pulled_back is not None and output.requires_grad:
                output.register_hook(self._after_gradient)
            return output

        def window(*extent: int) -> Denoiser:
            tiles.append(extent)
            part = denoiser.window(*extent)  # pyright: ignore - it can be cut
            return self._watched(part, lambda: share() / len(tiles))

        if can_be_cut(denoiser):
            call.window = window
        return call

    def _after_gradient(self, _: Tensor) -> None:
        if self.pulled_back is not None:
            self.pulled_back()
