"""Fifteen ways to spoil a digit, each in five strengths. The kinds are those of MNIST-C (Mu & Gilmer, 2019).

Written anew from their description, so numbers measured here are not MNIST-C's.
"""

from collections.abc import Callable
from itertools import pairwise
from math import pi, radians

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Generator, Tensor

Spoil = Callable[[Tensor, float, Generator], Tensor]  # ink (N, 1, H, W) in 0…1, how much, whence the draws → ink


def corrupt(images: Tensor, kind: str, strength: int, seed: int = 0) -> Tensor:
    """(N, 1, H, W) uint8 → the same, every image spoiled by its own draw; the same seed gives the same pictures.

    kind: one of KINDS.  strength: 1 (slight) … 5 (severe); how much that is stands in KINDS.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no kind {kind!r}; there are: {', '.join(KINDS)}.")
    if strength not in range(1, 6):
        raise ValueError(f"The strength is 1, 2, 3, 4 or 5, not {strength!r}.")
    spoil, amounts = KINDS[kind]
    spoiled = spoil(images.cpu().float() / 255, amounts[strength - 1], torch.Generator().manual_seed(seed))
    return (spoiled.clamp(0, 1) * 255).round().to(torch.uint8).to(images.device)


def strokes(starts: Tensor, ends: Tensor, width: float, size: int = 28) -> Tensor:
    """(N, 1, size, size): the ink, 0…1, of straight strokes with round ends, `width` pixels wide.

    starts, ends: (N, 2), row and column in pixels, counted from 0 at the middle of the first.
    """
    distances, _ = _distances(starts, ends, size)
    return (width / 2 + 0.5 - distances).clamp(0, 1)[:, None]


def _distances(starts: Tensor, ends: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(N, H, W) twice: each pixel's distance from its image's segment, and how far along it the nearest point lies."""
    line = torch.arange(size, dtype=torch.float32)
    pixels = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
    way = (ends - starts)[:, None, None]
    length = way.norm(dim=-1).clamp(min=1e-6)
    along = ((pixels - starts[:, None, None]) * way).sum(-1) / length
    along = torch.minimum(along.clamp(min=0), length)
    nearest = starts[:, None, None] + way * (along / length)[..., None]
    return (pixels - nearest).norm(dim=-1), along


def _draw(like: Tensor, generator: Generator) -> Tensor:
    """(N, 1, 1, 1): one number in 0…1 for every image."""
    return torch.rand(len(like), 1, 1, 1, generator=generator)


def _signs(like: Tensor, generator: Generator) -> Tensor:
    """(N,): minus or plus one for every image."""
    return (_draw(like, generator).flatten() < 0.5) * 2.0 - 1


def _blur(ink: Tensor, pixels: float) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(ink.numpy(), pixels, axes=(2, 3)))


def _read(ink: Tensor, places: Tensor) -> Tensor:
    """The ink at (N, H, W, 2) places, column and row in affine_grid's units; beyond the edge there is paper."""
    return F.grid_sample(ink, places, mode="bilinear", padding_mode="zeros", align_corners=False)


def _moved(ink: Tensor, rows: list[Tensor | float]) -> Tensor:
    """Each image through its own affine map: six numbers, each for all images or (N,), in affine_grid's order."""
    count = len(ink)
    matrices = torch.stack([torch.as_tensor(row).float().expand(count) for row in rows], 1).view(count, 2, 3)
    return _read(ink, F.affine_grid(matrices, list(ink.shape), align_corners=False))


def _shot_noise(ink: Tensor, photons: float, generator: Generator) -> Tensor:
    """As in too little light: full ink is so many photons on average."""
    return torch.poisson(ink * photons, generator=generator) / photons


def _impulse_noise(ink: Tensor, share: float, generator: Generator) -> Tensor:
    """This share of the pixels becomes paper or full ink, whatever they were."""
    draws = torch.rand(ink.shape, generator=generator)
    return ink.masked_fill(draws < share / 2, 0).masked_fill(draws > 1 - share / 2, 1)


def _glass_blur(ink: Tensor, reach: float, generator: Generator) -> Tensor:
    """Frosted glass: each pixel is seen where another is, up to so many pixels away."""
    size = ink.shape[-1]
    places = F.affine_grid(torch.eye(2, 3).expand(len(ink), 2, 3), list(ink.shape), align_corners=False)
    jumps = torch.rand(places.shape, generator=generator) * 2 - 1
    return _blur(_read(ink, places + jumps * reach * 2 / size), 0.5)


def _motion_blur(ink: Tensor, length: float, generator: Generator) -> Tensor:
    """The mean over a straight movement of so many pixels, in a direction of its own for every image."""
    angle = _draw(ink, generator).flatten() * pi
    steps = torch.linspace(-1, 1, 15) * length / ink.shape[-1]
    return torch.stack([_moved(ink, [1, 0, angle.cos() * s, 0, 1, angle.sin() * s]) for s in steps]).mean(0)


def _shear(ink: Tensor, slant: float, generator: Generator) -> Tensor:
    """So many pixels sideways for each pixel upwards, to the left or to the right."""
    return _moved(ink, [1, slant * _signs(ink, generator), 0, 0, 1, 0])


def _scale(ink: Tensor, size: float, generator: Generator) -> Tensor:
    """Smaller: so much of the old height and width is left."""
    return _moved(_blur(ink, max(0.0, 0.4 / size - 0.4)), [1 / size, 0, 0, 0, 1 / size, 0])


def _rotate(ink: Tensor, degrees: float, generator: Generator) -> Tensor:
    angle = _signs(ink, generator) * radians(degrees)
    return _moved(ink, [angle.cos(), -angle.sin(), 0, angle.sin(), angle.cos(), 0])


def _brightness(ink: Tensor, grey: float, generator: Generator) -> Tensor:
    """Everything is darker by so much of full ink, the paper too."""
    return ink + grey


def _translate(ink: Tensor, pixels: float, generator: Generator) -> Tensor:
    """Shifted as far, in a direction of its own for every image."""
    angle, step = _draw(ink, generator).flatten() * 2 * pi, 2 * pixels / ink.shape[-1]
    return _moved(ink, [1, 0, angle.cos() * step, 0, 1, angle.sin() * step])


def _chords(ink: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Both ends of a straight line right across each image, near its middle: (N, 2) each."""
    size = ink.shape[-1]
    angle, off = (_draw(ink, generator).flatten() for _ in range(2))
    along = torch.stack([(angle * pi).sin(), (angle * pi).cos()], 1)
    middle = (size - 1) / 2 + along.flip(1) * torch.tensor([1.0, -1.0]) * ((off - 0.5) * size / 2)[:, None]
    return middle - size * along, middle + size * along


def _stripe(ink: Tensor, width: float, generator: Generator) -> Tensor:
    """Ink and paper change places in a stripe so many pixels wide."""
    band = strokes(*_chords(ink, generator), width, ink.shape[-1])
    return torch.where(band >= 0.5, 1 - ink, ink)


def _fog(ink: Tensor, density: float, generator: Generator) -> Tensor:
    """So much of the ink gives way to grey clouds."""
    clouds = torch.zeros_like(ink)
    for cells in (3, 6, 12):
        noise = torch.rand(len(ink), 1, cells, cells, generator=generator)
        clouds += F.interpolate(noise, ink.shape[-2:], mode="bicubic", align_corners=True).clamp(0, 1) * 3 / cells
    return ink * (1 - density) + density * clouds / 1.75


def _spatter(ink: Tensor, share: float, generator: Generator) -> Tensor:
    """Drops of ink on about this share of the picture."""
    wet = _blur(torch.randn(ink.shape, generator=generator), 1.0)
    edge = wet.flatten(1).quantile(1 - share, dim=1).view(-1, 1, 1, 1)
    return torch.maximum(ink, ((wet - edge) * 8 + 0.5).clamp(0, 1))


def _dotted_line(ink: Tensor, lines: float, generator: Generator) -> Tensor:
    """So many straight lines of dots right across."""
    for _ in range(int(lines)):
        distances, along = _distances(*_chords(ink, generator), ink.shape[-1])
        dots = (1.5 - distances).clamp(0, 1) * (along % 4 < 2)
        ink = torch.maximum(ink, dots[:, None])
    return ink


def _zigzag(ink: Tensor, width: float, generator: Generator) -> Tensor:
    """One zigzag right across, drawn by a pen so many pixels wide."""
    starts, ends = _chords(ink, generator)
    way = (ends - starts) / 14
    aside = way.flip(1) * torch.tensor([1.0, -1.0])
    corners = [starts + way * n + aside * (-1) ** n for n in range(15)]
    for start, end in pairwise(corners):
        ink = torch.maximum(ink, strokes(start, end, width, ink.shape[-1]))
    return ink


def _canny_edges(ink: Tensor, share: float, generator: Generator) -> Tensor:
    """So much of the ink gives way to thin lines along its edges."""
    return (1 - share) * ink + share * _canny(ink)


def _canny(ink: Tensor, low: float = 0.5, high: float = 1.5) -> Tensor:
    """1 on edges one pixel wide, else 0.  Source: Canny, 1986."""
    sobel = torch.tensor([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]])
    smooth = F.pad(_blur(ink, 0.7), (1, 1, 1, 1), mode="replicate")
    down, right = (F.conv2d(smooth, filter[None, None]).numpy() for filter in (sobel, sobel.T))
    slope = np.hypot(down, right)
    # An edge is where the slope is steeper than on either side of it, looking across the edge.
    direction = np.round(np.arctan2(down, right) / (pi / 4)).astype(int) % 4
    around = np.pad(slope, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = slope.shape[-2:]
    crest = np.zeros(slope.shape, dtype=bool)
    for number, (row, column) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
        before, after = (
            around[:, :, 1 + s * row : 1 + s * row + height, 1 + s * column : 1 + s * column + width] for s in (-1, 1)
        )
        crest |= (direction == number) & (slope > before) & (slope >= after)
    # Faint pieces stay only where they hang together with a clear one.
    faint, clear = crest & (slope > low), crest & (slope > high)
    within = np.zeros((3, 3, 3, 3), dtype=bool)
    within[1, 1] = True
    pieces, _ = ndimage.label(faint, within)
    return torch.from_numpy(np.isin(pieces, np.unique(pieces[clear])) & faint).float()


# How each kind spoils, and how much at strengths 1 to 5, in the unit that its function names.
KINDS: dict[str, tuple[Spoil, tuple[float, ...]]] = {
    "shot noise": (_shot_noise, (30, 12, 6, 3, 1.5)),
    "impulse noise": (_impulse_noise, (0.02, 0.05, 0.09, 0.15, 0.25)),
    "glass blur": (_glass_blur, (0.6, 1, 1.5, 2, 3)),
    "motion blur": (_motion_blur, (2, 3.5, 5, 7, 10)),
    "shear": (_shear, (0.2, 0.4, 0.6, 0.8, 1)),
    "scale": (_scale, (0.85, 0.7, 0.6, 0.5, 0.4)),
    "rotate": (_rotate, (10, 20, 30, 45, 60)),
    "brightness": (_brightness, (0.03, 0.06, 0.12, 0.25, 0.5)),
    "translate": (_translate, (1, 2, 3.5, 5, 7)),
    "stripe": (_stripe, (1, 2, 3, 5, 7)),
    "fog": (_fog, (0.06, 0.12, 0.25, 0.45, 0.7)),
    "spatter": (_spatter, (0.02, 0.05, 0.08, 0.12, 0.18)),
    "dotted line": (_dotted_line, (1, 2, 3, 4, 6)),
    "zigzag": (_zigzag, (0.5, 1, 1.5, 2, 3)),
    "canny edges": (_canny_edges, (0.15, 0.3, 0.5, 0.75, 1)),
}
