from functools import partial

import pytest
import torch
import torch.nn.functional as F
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.edict.tiling.codec import TiledCodec
from latent_map.iqa_priors import one_by_one
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.graphed_judge import graphed_judge

from .simulated_capture import SimulatedCapture
from .test_solver import make_solver, settings
from .test_tiled_codec import HEIGHT, TILING, WIDTH, PointwiseCodec
from .test_tiles import tiled_conv
from .toys import ToyBackbone, noise, picture

SMALL = 1e-8  # about the size of a gradient by latents
HALF = 0.05  # rounding of half precision
every_precision = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


@every_precision
def test_a_small_gradient_comes_through_a_network_of_half_precision(dtype):
    weight = noise(2, 3, 3, 3, 3).to(dtype) / 5
    at, gradient = noise(0, 1, 3, 8, 8), noise(1, 1, 3, 8, 8)

    def network(z):
        hidden = F.conv2d(z.to(dtype), weight, padding=1).tanh()
        return F.conv2d(hidden, weight, padding=1).float()

    wanted = vector_jacobian(*with_graph(network, at), gradient)
    small = vector_jacobian(*with_graph(network, at), SMALL * gradient) / SMALL
    assert float((small - wanted).norm() / wanted.norm()) < HALF


def test_the_size_of_a_gradient_changes_no_bit_of_float32():
    weight, at = noise(2, 3, 3, 3, 3).float(), noise(0, 1, 3, 8, 8).float()
    gradient = 1e-6 * noise(1, 1, 3, 8, 8).float()
    leaf, output = with_graph(lambda z: F.conv2d(z, weight).tanh(), at)
    gradient = gradient[..., :6, :6]
    (wanted,) = torch.autograd.grad(output, leaf, gradient, retain_graph=True)
    assert torch.equal(vector_jacobian(leaf, output, gradient), wanted)
    leaf, output = with_graph(lambda z: 2 * z, at)
    assert not vector_jacobian(leaf, output, torch.zeros_like(at)).any()


class HalfDecoder(ToyBackbone):
    """One whose decoder computes in another precision."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def bind(self, image):
        binding = super().bind(image)
        decode, weight = binding.codec.decode, (noise(3, 3, 3, 3, 3) / 5).to(self.dtype)

        def decode_in_half(latent):
            free = decode(latent).to(self.dtype)
            return (free + F.conv2d(free, weight, padding=1).tanh() / 9).float()

        binding.codec.decode = decode_in_half
        return binding


@every_precision
def test_a_decoder_of_half_precision_loses_no_gradient_of_a_mean_over_pixels(dtype):
    image, gradients = picture(height=128, width=128), []
    for precision in (torch.float64, dtype):
        solver = make_solver(settings(1, steps=2), image, backbone=HalfDecoder(precision))
        descent = solver.begin(solver.space.start())
        latents = solver.space.synthesise(descent.variables, with_gradient=True)
        latents.requires_grad_(True)
        energy = solver._evaluate(latents, descent.variables)[1].energy.mean()
        gradients.append(torch.cat(solver._gradients(energy, latents, descent.variables)))
    wanted, found = gradients
    assert float((found - wanted).norm() / wanted.norm()) < HALF


def once_by_one(monkeypatch):
    monkeypatch.setattr(one_by_one, "LARGE", 1)
    return partial(one_by_one.one_by_one, lambda image: image.square().mean((1, 2, 3)))


def replayed_judge(monkeypatch):
    metric = lambda image: image.square().mean((1, 2, 3))  # noqa: E731
    prior = QualityPrior("toy", metric, Logistic(0.3, 0.1), capturable=True)
    return graphed_judge(prior, SimulatedCapture())


def denoiser_on_tiles(monkeypatch):
    return lambda x: tiled_conv(*x.shape[-2:])[0](x, 0.5)


def codec_on_tiles(monkeypatch):
    return TiledCodec(PointwiseCodec(), picture(3, HEIGHT, WIDTH).double(), TILING).encode


@pytest.mark.parametrize(
    "made",
    [once_by_one, replayed_judge, denoiser_on_tiles, codec_on_tiles],
    ids=lambda f: f.__name__,
)
def test_a_second_derivative_of_what_has_one_is_an_error_not_zero(made, monkeypatch):
    x = picture(3, HEIGHT, WIDTH).double().requires_grad_(True)
    function = made(monkeypatch)
    (slope,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        (slope.square().sum() + x.sum()).backward()
