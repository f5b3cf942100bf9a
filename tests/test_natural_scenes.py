import pytest
import torch
from latent_map.iqa_priors.natural_scenes import (
    asymmetric_mean,
    fit_asymmetric_gaussian,
    luma,
    moment_ratio,
    normalised_coefficients,
    solve_shape,
    spread,
)

EXACT = 1e-9  # float64 rounding
TAIL_TOLERANCE = 5e-3  # quantiles cut the tails


def quantiles_of_gamma(shape: float) -> torch.Tensor:
    """Evenly spread quantiles of the gamma distribution of scale 1."""
    from scipy.special import gammaincinv

    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    return torch.from_numpy(gammaincinv(shape, u.numpy()))


def test_solve_shape_inverts_the_moment_ratio_and_has_its_derivative():
    alpha = torch.tensor([0.2005, 0.5, 1.0, 1.23456, 2.0, 5.0, 9.9], dtype=torch.float64)
    rho = moment_ratio(alpha).requires_grad_()
    torch.testing.assert_close(solve_shape(rho), alpha, rtol=EXACT, atol=EXACT)
    assert torch.autograd.gradcheck(solve_shape, rho, eps=1e-7, atol=1e-4, rtol=1e-4)


def test_solve_shape_holds_ratios_beyond_the_table_at_its_ends():
    rho = torch.tensor([0.01, 0.9], dtype=torch.float64, requires_grad=True)
    alpha = solve_shape(rho)
    torch.testing.assert_close(alpha, alpha.new_tensor([0.2, 10]), rtol=EXACT, atol=EXACT)
    assert torch.autograd.grad(alpha.sum(), rho)[0].count_nonzero() == 0


def test_fit_finds_the_gaussian_and_the_laplacian_it_was_given():
    # Quantiles, not draws. Gaussian: alpha 2, beta sqrt(2) sigma. Laplacian: alpha 1, beta = scale.
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    gaussian = 3 * torch.special.ndtri(u)
    laplacian = -torch.sign(u - 0.5) * torch.log1p(-2 * (u - 0.5).abs())
    alpha, left, right, valid = fit_asymmetric_gaussian(torch.stack([gaussian, -laplacian]))
    betas = left * spread(alpha), right * spread(alpha)
    expected = torch.tensor([[2, 1], [3 * 2**0.5, 1], [3 * 2**0.5, 1]], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([alpha, *betas]), expected, rtol=2e-3, atol=0)
    assert valid.all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize(("left", "right"), [(1.0, 1.0), (0.5, 2.0), (3.0, 0.7)])
def test_fit_recovers_the_distribution_it_was_given(alpha, left, right):
    # |x / beta|^alpha is Gamma(1 / alpha): its quantiles on either side, as many as their weights.
    one_side = quantiles_of_gamma(1 / alpha) ** (1 / alpha)
    count = len(one_side)
    fewer = round(count * min(left, right) / max(left, right))
    picked = one_side[((torch.arange(fewer) + 0.5) * count / fewer).long()]
    negative, positive = (picked, one_side) if left < right else (one_side, picked)
    x = torch.cat([-left * negative, right * positive])
    fitted, sigma_left, sigma_right, valid = fit_asymmetric_gaussian(x)
    beta_left, beta_right = sigma_left * spread(fitted), sigma_right * spread(fitted)
    assert valid
    assert fitted.item() == pytest.approx(alpha, rel=TAIL_TOLERANCE)
    assert (beta_left.item(), beta_right.item()) == pytest.approx((left, right), rel=TAIL_TOLERANCE)
    mean = asymmetric_mean(fitted, beta_left, beta_right)
    assert mean.item() == pytest.approx(x.mean().item(), rel=TAIL_TOLERANCE, abs=1e-9)


def test_a_distribution_without_one_side_is_not_fitted():
    x = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    alpha, left, right, valid = fit_asymmetric_gaussian(x)
    (gradient,) = torch.autograd.grad((alpha + left + right).sum(), x)
    assert not valid.any()
    assert gradient.count_nonzero() == 0


def test_fit_of_eight_numbers_worked_by_hand():
    # Zeros are on neither side: sqrt(4) = 2 and sqrt((1 + 1 + 4) / 3) = sqrt(2), gamma = sqrt(2),
    # r = (6 / 8)^2 / (10 / 8) = 0.45, rho = 0.45 (2 sqrt(2) + 1) (sqrt(2) + 1) / 9.
    x = torch.tensor([-2, 1, 1, 2, 0, 0, 0, 0], dtype=torch.float64)
    alpha, left, right, _ = fit_asymmetric_gaussian(x)
    assert moment_ratio(alpha).item() == pytest.approx(0.05 * (2 * 2**0.5 + 1) * (2**0.5 + 1))
    assert left.item() == pytest.approx(2)
    assert right.item() == pytest.approx(2**0.5)


def test_coefficients_of_a_ramp_are_exactly_zero():
    # Symmetric weights have no residue on a ramp; without the threshold rounding leaves 1e-13.
    ramp = 3.7 * torch.arange(64, dtype=torch.float64).expand(1, 1, 64, 64)
    assert normalised_coefficients(ramp)[..., 3:-3].count_nonzero() == 0
    assert normalised_coefficients(ramp).count_nonzero() > 0


def test_luma_of_the_primaries_is_that_of_matlab():
    primaries = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    expected = 255 * torch.tensor([0.298936, 0.587043, 0.114021], dtype=torch.float64)
    torch.testing.assert_close(luma(primaries, "a metric").flatten(), expected, rtol=1e-5, atol=0)
