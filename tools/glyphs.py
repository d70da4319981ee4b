"""What a hand writes: the digits 0 to 9 in some 75 forms, a few letters, and MNIST's digits, as coverage of any size.

A glyph is a function from a height in pixels and a pen (its width as a share of that height) to coverage, (H, W)
float32 in 0…1, cut to its box. Everything that chance decides is decided when the glyph is made, from a Generator.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

Array = np.ndarray
Rng = np.random.Generator
Glyph = Callable[[int, float], Array]

# Points x,y of a square of 100, y downwards, in the order of writing; "!" is a corner, "/" lifts the pen.
FORMS = {
    "0": (
        "52,2 28,14 18,50 30,88 50,98 70,88 82,50 72,14 50,2",
        "50,8 24,20 12,50 24,82 50,92 76,82 88,50 76,20 50,8",
        "44,10 26,26 18,55 30,88 52,97 74,85 82,52 74,20 56,3",
        "50,2 37,10 31,50 36,88 50,98 63,88 69,50 62,12 50,3",
        "52,4 24,16 10,50 26,86 50,96 76,86 90,50 76,16 50,4 / 88,4 12,96",
        "60,4 34,16 18,55 26,88 48,97 70,80 80,45 72,14 52,4 40,12",
        "72,16 50,2 26,18 18,52 28,88 50,98 72,86 82,52 76,20 60,6 44,6",
    ),
    "1": (
        "50,0 50,50 50,100",
        "62,0 52,50 40,100",
        "20,44 40,26 58,2! 56,50 54,100",
        "36,20 54,2! 54,50 54,100",
        "36,20 54,2! 54,50 54,99 / 28,100 80,98",
        "18,46 38,28 56,3! 55,50 54,98 / 28,99 80,97",
        "16,52 40,30 64,2! 58,50 50,100",
        "46,0 52,35 53,70 48,100",
    ),
    "2": (
        "20,22 34,5 58,3 74,18 70,40 48,68 20,97! 50,96 82,97",
        "20,20 36,4 60,4 74,22 66,48 46,74 26,92 16,86 26,78 46,88 66,96 84,88",
        "22,26 30,8 52,2 72,14 72,38 52,66 22,94! 40,89 60,95 84,88",
        "18,14 44,4 72,10 70,34 44,66 16,96! 50,95 86,96",
        "16,30 28,8 54,2 76,16 74,42 54,70 30,93 12,90 14,78 32,78 52,92 72,97 90,86",
        "32,32 22,20 36,4 60,4 76,20 68,46 44,74 18,98! 84,96",
        "14,16 40,2 70,6 78,26 58,56 16,92! 48,92 84,99",
    ),
    "3": (
        "20,14 40,2 66,6 72,24 60,40 42,46! 66,50 80,70 68,92 42,99 16,86",
        "20,4 76,4! 46,42! 70,46 82,66 70,90 44,99 16,88",
        "22,12 46,2 70,12 68,32 50,44 40,50 46,42 68,50 80,72 64,94 38,98 16,84",
        "20,12 44,0 68,10 68,32 46,46! 72,54 80,76 62,96 36,98 14,84",
        "22,8 72,6! 50,40! 74,54 78,80 50,98 18,90",
        "26,10 52,0 78,12 70,34 40,44! 70,50 78,72 54,96 24,96 8,84",
        "18,20 30,4 56,2 70,18 60,38 38,46! 62,48 78,66 70,90 44,98 20,92 14,80",
    ),
    "4": (
        "24,4 18,60! 50,58 86,58 / 64,8 63,50 62,100",
        "66,100 66,50 66,2! 40,36 14,66! 50,66 90,66",
        "22,4 18,36 26,52 48,52 72,44 / 74,2 72,50 68,100",
        "52,0 32,34 12,64! 48,62 84,60 / 58,38 56,70 54,100",
        "36,2 14,58! 82,54 / 70,14 60,56 50,98",
        "60,3 36,38 12,70! 50,69 92,68 / 63,2 62,50 62,100",
        "20,6 16,40 24,56 46,58 88,54 / 66,8 65,50 64,98",
        "30,2 12,66! 86,62 / 58,34 54,100",
    ),
    "5": (
        "76,4 28,5! 24,44! 50,36 76,50 78,74 60,95 34,98 14,88",
        "30,14 26,46! 50,38 76,52 78,76 58,96 32,98 14,88 / 42,3 84,1",
        "78,4 34,6! 28,42! 54,42 78,60 72,88 44,98 16,88",
        "74,3 26,3! 22,46! 52,42 76,58 74,82 54,98 18,94",
        "90,2 34,6! 28,44! 54,38 74,54 72,80 50,97 20,92",
        "28,6 26,44! 48,38 72,50 76,74 58,95 18,94 / 26,6 80,4",
        "66,4 30,6! 20,50! 46,40 74,50 82,72 66,94 38,99 12,84",
        "34,10 28,44! 52,40 72,54 72,78 54,95 22,96 / 44,12 88,6",
    ),
    "6": (
        "64,2 38,20 22,50 20,78 38,97 62,96 78,78 68,58 44,56 24,72",
        "78,12 62,2 40,14 24,44 20,74 36,97 62,96 76,78 64,60 42,62 26,80",
        "56,0 32,36 20,70 34,95 60,97 78,80 68,60 46,58 24,74",
        "70,0 40,18 20,56 26,90 52,100 78,88 82,64 62,50 36,56 22,76",
        "58,2 36,28 26,64 34,92 54,98 70,86 66,68 48,68 30,84",
        "74,6 46,10 26,38 20,72 36,96 62,94 74,74 58,60 36,66 20,84",
        "48,0 30,30 20,66 32,94 58,98 76,80 66,60 44,60 26,76",
    ),
    "7": (
        "18,6 80,4! 58,46 44,100",
        "18,8 80,5! 58,48 42,100 / 34,52 76,48",
        "20,22 20,6! 82,5! 56,50 44,100",
        "18,20 22,6! 82,4! 60,44 44,100 / 32,54 78,50",
        "14,14 30,4 54,10 82,4! 58,50 50,100",
        "20,4 78,4! 34,100",
        "20,6 82,8! 58,34 46,66 46,100",
        "14,8 84,4! 62,46 38,100 / 30,56 80,46",
    ),
    "8": (
        "50,2 32,12 30,32 48,46 66,36 70,14 52,2 / 50,46 26,58 20,80 46,99 74,86 76,60 50,46",
        "68,14 46,2 28,16 36,38 64,56 76,80 52,99 24,84 34,60 62,40 70,20 60,6",
        "64,8 44,3 28,16 34,36 60,54 76,76 60,97 34,96 22,80 34,60 58,44 76,26",
        "60,10 46,2 36,16 42,38 58,60 62,86 46,99 34,84 42,60 56,40 64,20 56,6",
        "50,3 30,14 34,36 66,56 78,78 54,98 24,86 26,66 62,42 72,18 54,3",
        "52,4 36,12 36,30 52,38 66,28 66,12 50,4 / 50,38 24,52 18,78 48,98 78,82 76,54 48,38",
        "80,8 56,2 32,12 36,36 64,58 72,82 48,99 24,86 32,62 58,40 78,18 84,4",
    ),
    "9": (
        "72,18 50,2 26,14 24,38 44,52 66,42 74,16! 72,60 70,100",
        "74,16 54,2 28,12 24,36 44,50 66,40 74,16! 74,60 66,92 42,99 20,88",
        "74,20 52,2 28,14 24,38 44,54 68,42 76,16 74,50 60,80 40,100",
        "70,14 46,4 24,20 26,44 48,50 66,34 74,6! 66,56 56,100",
        "66,14 44,4 24,18 22,40 42,52 62,44 70,22 60,8 / 73,4 72,50 70,100",
        "64,8 40,5 22,22 26,44 48,50 70,34 77,8! 72,56 64,100",
        "72,18 48,4 26,18 28,42 50,50 72,34 74,10! 76,60 70,90 46,100 26,92",
    ),
}
LETTERS = {
    "A": "10,100 50,0! 90,100 / 24,64 76,64",
    "E": "78,2 22,2! 22,100! 80,98 / 24,48 66,48",
    "H": "16,0 16,100 / 84,0 84,100 / 16,50 84,48",
    "K": "20,0 20,100 / 80,2 22,56! 82,100",
    "M": "8,100 14,2! 50,62! 86,2! 92,100",
    "R": "22,100 20,2! 60,2 76,24 58,46 24,50! 80,100",
    "T": "8,4 92,2 / 50,4 50,100",
    "W": "4,2 26,98! 50,30! 74,98! 96,2",
    "X": "12,2 86,98 / 88,0 10,100",
    "e": "14,54 84,50 78,18 48,4 18,22 12,60 34,94 62,96 86,80",
    "k": "24,0 24,100 / 72,38 26,68! 78,100",
    "m": "10,100 10,30! 10,56 24,32 42,34 48,56! 48,100! 48,56 62,32 80,34 88,56 88,100",
}


def written(forms: str, rng: Rng) -> Glyph:
    """A glyph of one form, as in FORMS: the hand's slant, width, tremor and pressure are drawn once, from `rng`."""
    slant, width, turn = rng.normal(0.08, 0.12), rng.uniform(0.7, 1.15), np.radians(rng.normal(0, 4))
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[width, -slant], [0, 1]]
    strokes = [_stroke(form, rng) @ matrix.T for form in forms.split("/")]
    pressures = [1 + rng.uniform(0, 0.25) * _smooth(len(stroke), 4, rng) for stroke in strokes]

    def glyph(size: int, pen: float) -> Array:
        low, high = (bound([bound(s, 0) for s in strokes], 0) for bound in (np.min, np.max))
        times = 4 if size < 300 else 2
        scale = size * times * (1 - pen) / max(high[1] - low[1], 1e-6)
        extent = (high - low) * scale + size * times * pen * 1.3
        image = Image.new("L", [int(-(-e // times)) * times for e in extent])
        draw = ImageDraw.Draw(image)
        for stroke, pressure in zip(strokes, pressures, strict=True):
            points, radii = (stroke - low) * scale + size * times * pen * 0.65, pressure * size * times * pen / 2
            for (x, y), r in zip(points, radii, strict=True):
                draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
            for a, b, r in zip(points, points[1:], radii, strict=False):
                draw.line((*a, *b), fill=255, width=max(1, round(2 * r)))
        return tight(np.asarray(image.reduce(times), np.float32) / 255)

    return glyph


def _stroke(form: str, rng: Rng) -> Array:
    """(N, 2) points, in units of the height: curves through the form's points, each a little off its place."""
    points, corners = [], [0]
    for i, word in enumerate(form.split()):
        points.append([float(number) for number in word.rstrip("!").split(",")])
        corners += [i] * word.endswith("!")
    places = np.array(points) / 100 + rng.normal(0, 0.014, (len(points), 2))
    places[[0, -1]] += rng.normal(0, 0.014, (2, 2))  # ends are met less well than bends
    pieces = [_curve(places[a : b + 1]) for a, b in zip(corners, [*corners[1:], len(points) - 1], strict=True)]
    line = np.concatenate(pieces)
    tremor = [_smooth(len(line), 3, rng) * 0.008 + _smooth(len(line), 12, rng) * rng.uniform(0, 0.004) for _ in "xy"]
    return line + np.stack(tremor, 1)


def _curve(places: Array, steps: int = 24) -> Array:
    """A Catmull-Rom curve through (N, 2) places."""
    p = np.concatenate([2 * places[:1] - places[1:2], places, 2 * places[-1:] - places[-2:-1]])
    t = np.linspace(0, 1, steps)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    curve = b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * (1.5 * (b - c) + (d - a) / 2)
    return curve.swapaxes(0, 1).reshape(-1, 2)


def _smooth(count: int, knots: int, rng: Rng) -> Array:
    """(count,) values of about standard deviation 1 that change slowly, with so many knots."""
    return np.interp(np.linspace(0, knots, count), np.arange(knots + 1), rng.standard_normal(knots + 1))


def enlarged(image: Array, times: int = 6) -> Glyph:
    """A glyph of an MNIST digit, (28, 28) uint8: enlarged with a crisp edge, its strokes made as wide as the pen.

    Wider than MNIST's strokes is a growth of the form; narrower is a line along their middle.
    """
    image = tight(image.astype(np.float32) / 255)
    image = np.pad(image, 3)
    big = Image.fromarray(image).resize([n * times for n in image.shape[::-1]], Image.Resampling.BICUBIC)
    soft = ndimage.gaussian_filter(np.asarray(big), times / 4)
    darkest = ndimage.gaussian_filter(ndimage.maximum_filter(soft, 3 * times), times)
    form = soft > np.maximum(darkest / 2, 0.15)  # half of the ink thereabouts: a faint line does not break
    inside = ndimage.distance_transform_edt(form) - ndimage.distance_transform_edt(~form)
    middle = _thinned(form)
    radius = form.sum() / max(1, middle.sum()) / 2.2  # a middle line runs partly along diagonals
    rows = np.flatnonzero(form.any(1))
    height = int(rows[-1] - rows[0]) + 1

    # A blur makes the middle line smooth, and its distances larger by what is taken off again.
    from_middle = ndimage.gaussian_filter(ndimage.distance_transform_edt(~middle), 1.5)
    from_middle = np.sqrt(np.clip(from_middle**2 - from_middle[middle].mean() ** 2, 0, None))
    inside = ndimage.gaussian_filter(inside, 1)

    def glyph(size: int, pen: float) -> Array:
        half = pen * height / 2
        thin = np.maximum(half - from_middle, inside - 1.5 * radius)  # a loop that was filled stays filled
        field = inside + half - radius if half > radius else thin
        scale = size / max(1, int((field > 0).any(1).sum()))
        wide = Image.fromarray(field.astype(np.float32))
        wide = wide.resize([max(1, round(n * scale)) for n in wide.size], Image.Resampling.BICUBIC)
        return tight(np.clip(np.asarray(wide) * scale + 0.5, 0, 1))

    return glyph


def _thinned(form: Array) -> Array:
    """The middle line of a form, one pixel wide: Zhang and Suen's thinning (1984)."""
    form = np.pad(form, 1)
    while True:
        before = form.sum()
        for first in (True, False):
            n, s, w, e = (np.roll(form, *shift) for shift in ((1, 0), (-1, 0), (1, 1), (-1, 1)))
            around = [n, np.roll(n, -1, 1), e, np.roll(s, -1, 1), s, np.roll(s, 1, 1), w, np.roll(n, 1, 1)]
            count = np.sum(around, 0)
            changes = sum(~a & b for a, b in zip(around, [*around[1:], n], strict=True))
            kept = (n & e & s) | (e & s & w) if first else (n & e & w) | (n & s & w)
            form = form & ~((changes == 1) & (count >= 2) & (count <= 6) & ~kept)
        if form.sum() == before:
            return form[1:-1, 1:-1]


def tight(coverage: Array) -> Array:
    """Coverage cut to the box of its ink."""
    rows, columns = (np.flatnonzero((coverage > 0.1).any(axis)) for axis in (1, 0))
    if not len(rows):
        return coverage[:1, :1]
    return coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def side_by_side(glyphs: list[Glyph], gap: float) -> Glyph:
    """Several glyphs in a row, on one line, `gap` of their height apart."""

    def glyph(size: int, pen: float) -> Array:
        inked = [
            np.pad(c, ((max(0, size - len(c)), 0), (0, round(gap * size)))) for c in (g(size, pen) for g in glyphs)
        ]
        rows = max(map(len, inked))
        return np.concatenate([np.pad(c, ((rows - len(c), 0), (0, 0))) for c in inked], 1)

    return glyph


def any_digit(rng: Rng) -> Glyph:
    """Any form of any digit."""
    return written(str(rng.choice(FORMS[str(rng.integers(10))])), rng)
