"""Small stand-ins for the tests: a denoiser, a codec, a backbone and a prior."""

import math
import os
import socket
from dataclasses import replace

import torch
import torch.nn.functional as F
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.choices import Prediction
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.protocols import Binding
from latent_map.edict.schedule import Schedule, scaled_linear_alphas, vp_schedule
from latent_map.edict.tape import Tape
from latent_map.fidelity.fidelity import MeasuredFidelity
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.objective import Objective
from latent_map.map_estimation.solver import MapSolver
from latent_map.map_estimation.spaces import DiffusionSpace, PixelSpace
from latent_map.map_estimation.terms import Ingredients, terms_of
from torch import Tensor

BLOCK = 2  # the codec folds 2x2 pixels into channels
LATENT_CHANNELS = 3 * BLOCK**2
PRIOR = QualityPrior("contrast", lambda image: image.flatten(1).var(1), Logistic(0.05, 0.02))


def fidelity(measure, name: str = "toy", min_side: int = 1) -> MeasuredFidelity:
    """A function of two pictures as a fidelity."""
    return MeasuredFidelity(name, measure, min_side)


def refuse_network(monkeypatch) -> None:
    """Fail the test that goes to the network."""

    def refuse(*_, **__):
        raise AssertionError("a test went to the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


class Interrupted(Exception):
    """As ComfyUI's own."""


def interrupt_at(item: int, iteration: int):
    """A callback that stops a run at an iterate of one picture of the batch."""

    def watch(step):
        if (step.item, step.row.iteration) == (item, iteration):
            raise Interrupted

    return watch


SHORT_STEP = 1e-3  # of a central difference in noise


class Harmful:
    """Runs code where its pickle is read."""

    def __reduce__(self):
        return os.putenv, ("LATENT_MAP_TEST_CODE_RAN", "1")


def picture(seed: int = 0, height: int = 16, width: int = 16, batch: int = 1) -> Tensor:
    """Smooth noise well inside [0, 1], (batch, 3, height, width), float32."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 4, 4, generator=generator)
    noise = 0.1 * torch.rand(batch, 3, height, width, generator=generator)
    size = (height, width)
    return 0.2 + 0.5 * F.interpolate(coarse, size=size, mode="bilinear") + noise


def noise(seed: int, *shape: int) -> Tensor:
    """Gaussian noise, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flow_times(count: int, shift: float = 1.0) -> Tensor:
    """A rectified flow's times, rising to 1, shifted as those of SD 3 are, (count,), float64."""
    times = 1 - torch.arange(count - 1, -1, -1, dtype=torch.float64) / count
    return shift * times / (1 + (shift - 1) * times)


class ConvDenoiser:
    """tanh(conv(x)), shifted by the label and a condition; frozen weights; counts its calls."""

    def __init__(
        self,
        channels: int = LATENT_CHANNELS,
        dtype: torch.dtype = torch.float64,
        condition: Tensor | None = None,
        trainable: bool = False,
    ):
        weight = noise(11, channels, channels, 3, 3) / math.sqrt(9 * channels)
        self.weight = torch.nn.Parameter(weight.to(dtype), requires_grad=trainable)
        self.condition = condition
        self.calls = 0

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        self.calls += 1
        shifted = F.conv2d(latent.to(self.weight.dtype), self.weight, padding=1) + label / 1000
        if self.condition is not None:
            shifted = shifted + self.condition.to(self.weight.dtype)
        return shifted.tanh()


class FoldingCodec:
    """Pixels of 2x2 blocks as channels, scaled to about unit variance: linear and exact."""

    def encode(self, image: Tensor) -> Tensor:
        return 4 * F.pixel_unshuffle(image.double(), BLOCK) - 2

    def decode(self, latent: Tensor) -> Tensor:
        return F.pixel_shuffle((latent + 2) / 4, BLOCK)


class ToyBackbone:
    """A denoiser conditioned on the picture, in float64; counts the calls of all its bindings."""

    name = "toy"
    multiple = 4
    conditioned = True
    reach = 0
    recipe = None

    def __init__(self, prediction: Prediction = "v", trainable: bool = False):
        self.prediction = prediction
        self.trainable = trainable
        self.denoisers: list[ConvDenoiser] = []

    @property
    def calls(self) -> int:
        return sum(denoiser.calls for denoiser in self.denoisers)

    def schedule(self, steps: int, spacing: str) -> Schedule:
        return vp_schedule(scaled_linear_alphas(), steps, self.prediction, spacing)

    def bind(self, image: Tensor) -> Binding:
        codec = FoldingCodec()
        condition = 0.3 * codec.encode(image)
        self.denoisers.append(ConvDenoiser(condition=condition, trainable=self.trainable))
        return Binding(self.denoisers[-1], codec)


def edict(steps: int, mixing: float | None = 0.93, order: str = "fixed", **options):
    """Inversion options of EDICT's."""
    return InversionOptions(steps, bijection=EdictOptions(mixing, order), **options)


def solver_of(settings, prior=PRIOR, fidelity=None, image=None, backbone=None):
    """A solver on its own, of the toy backbone unless another is given."""
    image = picture() if image is None else image
    space = PixelSpace(image)
    if settings.space == "diffusion":
        bound = bind_picture(backbone or ToyBackbone(), image, settings.inversion)
        space = DiffusionSpace(bound, settings.memory, check=False)
    chosen = settings if fidelity else replace(settings, use_fidelity=False)
    objective = Objective(terms_of(Ingredients(prior, fidelity, chosen)))
    return MapSolver(space, image, objective, chosen)


class _Reconstruct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, bijection, memory):
        ctx.bijection, ctx.tape = bijection, Tape(bijection.calls, memory)
        pair = bijection.reconstruct(LatentPair(x, y), ctx.tape)
        return pair.x, pair.y

    @staticmethod
    def backward(ctx, *gradient):
        pulled = ctx.bijection.pull_back(ctx.tape, LatentPair(*gradient))
        return pulled.x, pulled.y, None, None


def differentiable_reconstruct(bijection, pair, memory="recompute"):
    """`reconstruct` and `pull_back` as an autograd function; one backward only."""
    return LatentPair(*_Reconstruct.apply(pair.x, pair.y, bijection, memory))


def gradient_and_slope(solver) -> tuple[float, float]:
    """The norm of a solver's gradient at its start, and the energy's slope along it, measured."""
    descent = solver.begin(solver.space.start())

    def energy(shift: float) -> float:
        moved = [v.detach() + shift * g / norm for v, g in pairs]
        with torch.no_grad():
            latents = solver.space.synthesise(moved, with_gradient=False)
            return float(solver._evaluate(latents, moved)[1].energy.double().mean())

    latents = solver.space.synthesise(descent.variables, with_gradient=True).requires_grad_(True)
    value = solver._evaluate(latents, descent.variables)[1].energy.mean()
    gradients = solver._gradients(value, latents, descent.variables)
    pairs = list(zip(descent.variables, gradients, strict=True))
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    return norm, (energy(SHORT_STEP) - energy(-SHORT_STEP)) / (2 * SHORT_STEP)
