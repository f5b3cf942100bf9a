"""Random degradations of a batch of photographs at once, on whatever device it is.

Each picture draws its own kinds and severities from torch's generator. What the gates measure with
are the degradations of degradations.py, picture by picture, which these never saw.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MULTIPLE = 16  # pixels: JPEG's blocks of 8, and chroma at half the resolution

# Annex K of the JPEG standard.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
SUBSAMPLED = 0.8  # of JPEG files keep chroma at half the resolution
KINDS_DRAWN = (0.45, 0.35, 0.2)  # chances of one, two and three kinds


def gaussian_blur(x: Tensor, along: Tensor, across: Tensor, angle: Tensor) -> Tensor:
    """Gaussian blur by Fourier transform, so circular at the borders.

    Args:
        x: (B, C, H, W).
        along, across: standard deviations in pixels, (B,).
        angle: of `along` from the x axis in radians, (B,).
    """
    height, width = x.shape[-2:]
    fy = torch.fft.fftfreq(height, device=x.device)[:, None]
    fx = torch.fft.rfftfreq(width, device=x.device)
    cosine, sine = _per_plane(angle.cos()), _per_plane(angle.sin())
    u, v = cosine * fx + sine * fy, cosine * fy - sine * fx
    spread = (_per_plane(along) * u).square() + (_per_plane(across) * v).square()
    return _filtered(x, torch.exp(-2 * math.pi**2 * spread))


def defocus(x: Tensor, radius: Tensor) -> Tensor:
    """Blur by a disc of a radius in pixels, (B,); circular at the borders."""
    height, width = x.shape[-2:]
    rows = torch.fft.fftfreq(height, 1 / height, device=x.device)[:, None]
    columns = torch.fft.fftfreq(width, 1 / width, device=x.device)
    distance = (rows.square() + columns.square()).sqrt()
    disc = (_per_plane(radius) + 0.5 - distance).clamp(0, 1)
    return _filtered(x, torch.fft.rfft2(disc / disc.sum((1, 2), keepdim=True)))


def rescale(x: Tensor, least: float = 1.1, most: float = 4.0, groups: int = 12) -> Tensor:
    """Down by a factor in [least, most] and up again; the factor is drawn for each of the groups.

    Pictures keep their places, so shuffle them to have groups of any.
    """
    height, width = x.shape[-2:]
    parts = []
    for part in x.chunk(groups):
        factor = least * (most / least) ** torch.rand(()).item()
        size = [max(8, round(side / factor)) for side in (height, width)]
        down = ("bicubic", "bilinear", "area")[int(torch.randint(3, ()))]
        smooth = {} if down == "area" else {"antialias": True, "align_corners": False}
        small = F.interpolate(part, size=size, mode=down, **smooth)
        up = "bicubic" if torch.rand(()) < 0.7 else "bilinear"
        parts.append(F.interpolate(small, size=(height, width), mode=up, align_corners=False))
    return torch.cat(parts).clamp(0, 1)


def noise(x: Tensor, sigma: Tensor) -> Tensor:
    """Noise of a deviation (B,): coloured or grey, white or correlated, even or as light has it."""
    grain = torch.randn_like(x)
    grain = torch.where(_chance(x, 0.3), grain[:, :1].expand_as(grain), grain)
    width = 0.9 * torch.rand(len(x), device=x.device)  # as after demosaicing or resizing
    soft = gaussian_blur(grain, width, width, torch.zeros_like(width))
    soft = soft / soft.std((1, 2, 3), keepdim=True)
    grain = torch.where(_chance(x, 0.35), soft, grain)
    level = x.mean(1, keepdim=True)
    size = torch.where(_chance(x, 0.4), 1.4 * (level + 0.05).sqrt(), torch.ones_like(level))
    return (x + _per_picture(sigma) * size * grain).clamp(0, 1)


def jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """JPEG compression, but for its entropy coding, which loses nothing.

    Args:
        x: RGB in [0, 1], (B, 3, H, W); sides are multiples of 16.
        quality: 1 to 100, (B,).
    """
    luma, chroma = (_table(base, quality.clamp(1, 100)) for base in _tables(x))
    to_ycc = torch.tensor(_TO_YCC)
    ycc = torch.einsum("kc,bchw->bkhw", to_ycc.to(x), (255 * x).round())
    planes = [_quantised(ycc[:, :1] - 128, luma) + 128]
    subsampled = _chance(x, SUBSAMPLED)
    for plane in ycc[:, 1:].split(1, 1):
        half = _quantised(F.avg_pool2d(plane, 2), chroma)
        half = F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
        planes.append(torch.where(subsampled, half, _quantised(plane, chroma)))
    rgb = torch.einsum("kc,bchw->bkhw", torch.linalg.inv(to_ycc).to(x), torch.cat(planes, 1))
    return (rgb / 255).clamp(0, 1)


@torch.no_grad()
def degrade_batch(x: Tensor, clean: float = 0.07) -> Tensor:
    """Degrade each picture by one to three kinds: blur, rescaling, noise and JPEG, in this order.

    One in eight goes through a second, mild round of rescaling and JPEG, as on the web.

    Args:
        x: RGB in [0, 1], (B, 3, H, W); sides are multiples of 16. Blur wraps around at the borders:
            cut a margin off.
        clean: share that is left as it is.
    Returns: the same shape, in [0, 1].
    """
    count, device = len(x), x.device

    def uniform() -> Tensor:
        return torch.rand(count, device=device)

    chances = torch.tensor(KINDS_DRAWN, device=device).expand(count, -1)
    kinds = torch.multinomial(chances, 1) + 1
    blurred, rescaled, noisy, compressed = (
        (torch.rand(count, 4, device=device).argsort(1) < kinds) & (uniform() > clean)[:, None]
    ).unbind(1)
    shuffled = torch.randperm(count, device=device)
    back = shuffled.argsort()
    y = _pick(blurred, _blur_of_either_kind(x), x)
    y = _pick(rescaled, rescale(y[shuffled])[back], y)
    y = _pick(noisy, noise(y, (1.5 + 38 * uniform() ** 1.6) / 255), y)
    y = _pick(compressed, jpeg(y, 90 - 82 * uniform() ** 1.2), y)
    again = (uniform() < 0.12) & (blurred | rescaled | noisy | compressed)
    second = jpeg(rescale(y[shuffled], 1.05, 1.6)[back], 60 + 35 * uniform())
    return _pick(again, second, y)


def _blur_of_either_kind(x: Tensor) -> Tensor:
    """Gaussian, four in ten of them longer than wide, or (one in four) defocus."""
    draws = torch.rand(6, len(x), device=x.device)
    along = 0.3 + 3 * draws[0] ** 1.5
    ratio = torch.where(draws[1] < 0.6, 1.0, 0.4 + 0.6 * draws[2])
    gaussian = gaussian_blur(x, along, along * ratio, math.pi * draws[3])
    disc = defocus(x, 0.8 + 3.5 * draws[4] ** 1.5)
    return _pick(draws[5] < 0.75, gaussian, disc).clamp(0, 1)


def _filtered(x: Tensor, response: Tensor) -> Tensor:
    """Pictures (B, C, H, W) times responses (B, H, W / 2 + 1) in frequency."""
    return torch.fft.irfft2(torch.fft.rfft2(x) * response[:, None], s=x.shape[-2:])


def _tables(x: Tensor) -> tuple[Tensor, Tensor]:
    chroma = torch.full((8, 8), 99.0)
    chroma[:4, :4] = torch.tensor(_CHROMA_CORNER)
    return torch.tensor(_LUMA).to(x), chroma.to(x)


def _table(base: Tensor, quality: Tensor) -> Tensor:
    """Quantisation steps (B, 8, 8) as the Independent JPEG Group scales them."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    return ((base * _per_plane(percent) + 50) / 100).floor().clamp(1, 255)


def _quantised(plane: Tensor, table: Tensor) -> Tensor:
    """A plane (B, 1, H, W) about 0 after quantising its blocks' cosine coefficients."""
    count, _, height, width = plane.shape
    k, n = torch.arange(8.0, device=plane.device)[:, None], torch.arange(8.0, device=plane.device)
    cosines = (math.pi / 16 * (2 * n + 1) * k).cos() / 2
    cosines[0] /= math.sqrt(2)
    blocks = plane.reshape(count, height // 8, 8, width // 8, 8).permute(0, 1, 3, 2, 4)
    steps = table[:, None, None]
    coefficients = (cosines @ blocks @ cosines.T / steps).round() * steps
    blocks = cosines.T @ coefficients @ cosines
    return blocks.permute(0, 1, 3, 2, 4).reshape(plane.shape)


def _chance(x: Tensor, share: float) -> Tensor:
    """A coin for each picture, (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, device=x.device) < share


def _pick(chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return torch.where(_per_picture(chosen), first, second)


def _per_picture(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _per_plane(values: Tensor) -> Tensor:
    return values[:, None, None]
