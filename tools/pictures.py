"""Pictures of single handwritten digits as people send them: drawn on a screen, scanned, photographed.

A kind puts a glyph (glyphs.py) on paper, or on a canvas, and spoils it as such a picture is spoilt. Everything follows
from the numpy Generator that is handed in: the same seed gives the same bytes.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from tools.glyphs import FORMS, LETTERS, Array, Glyph, Rng, any_digit, side_by_side, written

INKS = {
    "black": (0.12, 0.12, 0.14),
    "blue": (0.13, 0.2, 0.55),
    "navy": (0.1, 0.12, 0.32),
    "green": (0.1, 0.42, 0.24),
    "red": (0.7, 0.14, 0.16),
    "violet": (0.5, 0.4, 0.68),
    "pencil": (0.36, 0.36, 0.38),
}


@dataclass(frozen=True)
class Picture:
    """A picture as a file: its bytes, and the suffix that its name ends in (not always what the bytes are)."""

    data: bytes
    suffix: str

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.data))


# What is done to it


def placed(
    glyph: Glyph, shape: tuple[int, int], rng: Rng, *, fill: tuple[float, float] = (0.47, 0.87), pen: float, off: float
) -> Array:
    """(H, W) coverage: the glyph in a frame, `fill` of its shorter side high, up to `off` off its centre."""
    height, width = shape
    size = max(8, round(rng.uniform(*fill) * min(shape)))
    ink = glyph(size, max(pen, 1.2 / size))  # a line thinner than a pixel is lost
    room = 0.92 * np.array(shape) / ink.shape
    if room.min() < 1:
        size = max(8, int(size * room.min()))
        ink = glyph(size, max(pen, 1.2 / size))
    ink = ink[:height, :width]
    free = np.array(shape) - ink.shape
    top, left = np.clip(free / 2 + rng.uniform(-off, off, 2) * shape, 0, free).astype(int)
    return np.pad(ink, ((top, free[0] - top), (left, free[1] - left)))


def noise(shape: tuple[int, int], size: float, rng: Rng) -> Array:
    """(H, W) float32 of mean 0 and standard deviation about 1, in blots of so many pixels."""
    coarse = rng.standard_normal([max(2, int(n / size) + 2) for n in shape], np.float32)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)) * min(1.5, 0.9 + size / 4)


def worn(coverage: Array, rng: Rng, amount: float, size: float = 1.5) -> Array:
    """Ink that does not cover evenly: a little for a ballpoint, much for pencil and chalk."""
    return coverage * np.clip(1 + amount * (noise(coverage.shape, size, rng) - 0.5), 0, 1)


def paint(page: Array, coverage: Array, colour: tuple[float, ...] | Array) -> Array:
    """A page (H, W, 3) in 0…1 with `colour` laid over it where there is coverage."""
    return page + coverage[..., None] * (np.asarray(colour, np.float32) - page)


def sheet(shape: tuple[int, int], colour: tuple[float, ...], rng: Rng, rough: float = 0.007) -> Array:
    """A page (H, W, 3) of one colour with the unevenness of paper."""
    texture = rough * (noise(shape, 1.5, rng) + 0.5 * noise(shape, max(shape) / 6, rng))
    return np.asarray(colour, np.float32) * (1 + texture)[..., None]


def coordinates(shape: tuple[int, int], angle: float) -> Array:
    """(H, W): how far along `angle` (radians) each pixel lies, from about -0.5 to 0.5 of the longer side."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return ((x - shape[1] / 2) * np.cos(angle) + (y - shape[0] / 2) * np.sin(angle)) / max(shape)


def uneven(shape: tuple[int, int], rng: Rng, dark: float = 0.2) -> Array:
    """Light that falls off to one side, with soft blots: (H, W) in about 1-dark…1."""
    ramp = coordinates(shape, rng.uniform(0, 2 * np.pi)) + 0.5
    return 1 - dark * np.clip(ramp + 0.1 * noise(shape, max(shape) / 1.5, rng), 0, 1.2)


def shadow(shape: tuple[int, int], rng: Rng, dark: float = 0.4) -> Array:
    """Light with the hard edge of a shadow, of a hand or a phone, somewhere across the middle."""
    edge = coordinates(shape, rng.uniform(0, 2 * np.pi)) + rng.uniform(-0.2, 0.2)
    edge = edge + rng.uniform(0, 0.04) * noise(shape, max(shape) / 2.5, rng)
    soft = rng.uniform(0.004, 0.04)
    return uneven(shape, rng, 0.1) * (1 - dark / (1 + np.exp(-np.clip(edge / soft, -30, 30))))


def vignette(shape: tuple[int, int], rng: Rng, dark: float = 0.5) -> Array:
    """Light that fades to the corners, with its centre a little off."""
    x, y = (coordinates(shape, a) + rng.uniform(-0.12, 0.12) for a in (0, np.pi / 2))
    return uneven(shape, rng, 0.1) * (1 - dark * np.clip((x**2 + y**2) * 2.2, 0, 1))


def ruling(shape: tuple[int, int], gap: float, rng: Rng, squared: bool) -> Array:
    """(H, W) coverage of printed lines, `gap` pixels apart, and of upright ones too where the paper is squared."""
    thick, lines = max(0.6, gap * rng.uniform(0.012, 0.03)), np.zeros(shape, np.float32)
    for axis, count in enumerate(shape if squared else shape[:1]):
        apart = np.abs((np.arange(count) + rng.uniform(0, gap)) % gap - gap / 2)
        lines = np.maximum(lines, np.expand_dims(np.clip(thick + 0.5 - apart, 0, 1), 1 - axis))
    return lines


def specks(shape: tuple[int, int], rng: Rng, count: int, size: tuple[float, float]) -> Array:
    """(H, W) coverage of round specks, `size` pixels in diameter."""
    image = Image.new("L", (shape[1] * 2, shape[0] * 2))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        x, y, r = rng.uniform(0, 2 * shape[1]), rng.uniform(0, 2 * shape[0]), rng.uniform(*size)
        draw.ellipse((x - r, y - r * rng.uniform(0.6, 1), x + r, y + r), fill=255)
    return np.asarray(image.reduce(2), np.float32) / 255


def bytes_of(page: Array) -> Image.Image:
    """(H, W) or (H, W, C) in 0…1 as an 8-bit image."""
    return Image.fromarray((np.clip(page, 0, 1) * 255 + 0.5).astype(np.uint8))


def tilted(page: Array, shape: tuple[int, int], rng: Rng, degrees: float, depth: float) -> Array:
    """The middle of a page, (H, W, 3), seen turned and in perspective."""
    turn, half = np.radians(rng.uniform(-degrees, degrees)), np.array(shape[::-1]) / 2
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half * (1 + rng.uniform(-depth, depth, (4, 2)))
    corners = corners @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + np.array(page.shape[1::-1]) / 2
    image = bytes_of(page).transform(shape[::-1], Image.Transform.QUAD, corners.ravel(), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32) / 255


def saved(image: Image.Image, kind: str = "png", suffix: str = "", **options: object) -> Picture:
    """The image as a file of the kind png, jpg, gif, bmp, tif or webp; under another suffix where one is named."""
    file = io.BytesIO()
    if kind == "jpg" and image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()), **options)
    return Picture(file.getvalue(), suffix or kind)


# Three ways a digit becomes a picture


def drawing(
    glyph: Glyph,
    rng: Rng,
    *,
    ink: tuple[float, ...] = (0, 0, 0),
    paper: tuple[float, ...] = (1, 1, 1),
    pen: tuple[float, float] = (0.04, 0.13),
    shape: tuple[int, int] | None = None,
    dots: int = 0,
    **place: object,
) -> Image.Image:
    """Drawn with mouse, finger or stylus: flat colours, edges smooth or, half of the time, not; RGB."""
    side = int(rng.choice([56, 84, 112, 140, 200, 240, 280, 280, 320, 400, 512]))
    shape = shape or (side, side)
    coverage = placed(glyph, shape, rng, **{"pen": rng.uniform(*pen), "off": 0.08, **place})
    if dots:
        coverage = np.maximum(coverage, specks(shape, rng, dots, (0.008 * side, 0.025 * side)))
    if rng.random() < 0.5:
        coverage = (coverage > 0.5).astype(np.float32)
    return bytes_of(paint(np.broadcast_to(np.float32(paper), (*shape, 3)), coverage, ink))


def scan(
    glyph: Glyph,
    rng: Rng,
    *,
    ink: float | None = None,
    paper: float | None = None,
    pen: tuple[float, float] = (0.04, 0.13),
    shape: tuple[int, int] | None = None,
    under: Callable[[Array, Rng], Array] | None = None,
    **place: object,
) -> Array:
    """Flat light, soft edges, little noise: (H, W) grey in 0…1. `under` draws on the paper before the ink comes."""
    if shape is None:
        height = int(rng.choice([40, 64, 90, 128, 160, 200, 240, 300, 420, 600]))
        shape = height, int(height * rng.choice([1, 1, 1, 0.75, 1.3]))
    paper = rng.uniform(0.93, 1) if paper is None else paper
    page = sheet(shape, (paper,), rng, 0.006)[..., 0]
    page = under(page, rng) if under else page
    coverage = placed(glyph, shape, rng, **{"pen": rng.uniform(*pen), "off": 0.08, **place})
    coverage = worn(coverage, rng, rng.uniform(0, 0.15))
    page = page + coverage * ((rng.uniform(0.05, 0.4) if ink is None else ink) - page)
    page = ndimage.gaussian_filter(page, rng.uniform(0.2, 0.004 * max(shape) + 0.3))
    return page + rng.normal(0, rng.uniform(0, 0.02), shape)


def photo(
    glyph: Glyph,
    rng: Rng,
    *,
    light: Callable[[tuple[int, int], Rng], Array] = uneven,
    ink: tuple[float, ...] | None = None,
    paper: tuple[float, ...] | None = None,
    pen: tuple[float, float] = (0.025, 0.12),
    wear: tuple[float, float] = (0, 0.25),
    opacity: tuple[float, float] = (0.8, 1),
    exposure: tuple[float, float] = (0.68, 0.9),
    blur: tuple[float, float] = (0.0015, 0.005),
    grain: tuple[float, float] = (0.002, 0.012),
    shape: tuple[int, int] | None = None,
    under: Callable[[Array, Rng], Array] | None = None,
    degrees: float = 10,
    **place: object,
) -> Image.Image:
    """Paper under a lamp or at a window, seen by a phone: a tilted page times the light, blurred, with noise; RGB.

    `under` draws on the paper before the ink comes. Blur is a share of the longer side, exposure the light's height.
    """
    shape = shape or frame(rng)
    margin = round(0.12 * max(shape))  # for the tilt
    large = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    paper = tuple(rng.uniform(0.9, 0.98) + rng.normal(0, 0.015, 3)) if paper is None else paper
    page = sheet(large, paper, rng)
    page = under(page, rng) if under else page
    coverage = placed(glyph, shape, rng, **{"pen": rng.uniform(*pen), "off": 0.08, **place})
    coverage = worn(np.pad(coverage, margin), rng, rng.uniform(*wear), max(1, max(shape) / rng.uniform(150, 400)))
    colour = INKS[rng.choice(["black", "black", "blue", "navy"])] if ink is None else ink
    page = paint(page, coverage * rng.uniform(*opacity), colour)
    seen = tilted(page, shape, rng, degrees, 0.06)
    cast = 1 + rng.normal(0, 0.03) * np.array([1, 0.2, -1], np.float32)
    seen = seen * light(shape, rng)[..., None] * rng.uniform(*exposure) * cast
    spread = rng.uniform(*blur) * max(shape)
    seen = ndimage.gaussian_filter(seen, (spread, spread, 0))
    if rng.random() < 0.5:  # phones sharpen
        seen = seen + 0.8 * (seen - ndimage.gaussian_filter(seen, (2 * spread, 2 * spread, 0)))
    level = rng.uniform(*grain)
    seen = seen + level * (noise(shape, 1, rng) + 0.7 * noise(shape, 2.5, rng))[..., None]
    return bytes_of(seen + 0.5 * level * rng.standard_normal(seen.shape, np.float32))


def frame(rng: Rng) -> tuple[int, int]:
    """Height and width of a photo: 80 to 600 pixels as a rule, now and then up to 1200."""
    side = rng.uniform(700, 1200) if rng.random() < 0.04 else np.exp(rng.uniform(np.log(80), np.log(600)))
    aspect = rng.choice([1, 1, 1, 0.75, 0.8, 1.33])
    return round(side), round(side * min(aspect, 1200 / side))


def as_jpeg(image: Image.Image, rng: Rng, quality: tuple[int, int] = (35, 93)) -> Picture:
    return saved(image, "jpg", rng.choice(["jpg", "jpg", "jpg", "jpeg", "png"]), quality=int(rng.integers(*quality)))


# Kinds


def of_drawing(**options: object) -> Callable[[Glyph, Rng], Picture]:
    def kind(glyph: Glyph, rng: Rng) -> Picture:
        image = drawing(glyph, rng, **options)
        form = str(rng.choice(["png", "png", "grey", "jpg", "bmp", "gif", "webp"]))
        if form == "jpg":
            return as_jpeg(image, rng, (60, 96))
        return saved(image.convert("L"), "png") if form == "grey" else saved(image, form)

    return kind


def of_scan(quality: tuple[int, int] = (50, 95), **options: object) -> Callable[[Glyph, Rng], Picture]:
    def kind(glyph: Glyph, rng: Rng) -> Picture:
        image = bytes_of(scan(glyph, rng, **options))
        return as_jpeg(image, rng, quality) if rng.random() < 0.5 else saved(image)

    return kind


def of_photo(quality: tuple[int, int] = (35, 93), **options: object) -> Callable[[Glyph, Rng], Picture]:
    return lambda glyph, rng: as_jpeg(photo(glyph, rng, **options), rng, quality)


def canvas_28(glyph: Glyph, rng: Rng) -> Picture:
    """A line of one or two pixels on 28×28, as Paint and pygame draw it: no grey levels."""
    fill, pixels = rng.uniform(0.6, 0.82), rng.choice([1.1, 2])
    coverage = placed(glyph, (28, 28), rng, fill=(fill, fill), pen=pixels / (28 * fill), off=0.07) > 0.42
    return saved(bytes_of(coverage if rng.random() < 0.5 else ~coverage), str(rng.choice(["png", "bmp"])))


def canvas_transparent(glyph: Glyph, rng: Rng) -> Picture:
    """RGBA with nothing where nothing is drawn: what canvas.toDataURL gives. Ink black, white or coloured."""
    ink = [(0, 0, 0), (0, 0, 0), (1, 1, 1), INKS["blue"], INKS["red"]][rng.integers(5)]
    alpha = drawing(glyph, rng, ink=(1, 1, 1), paper=(0, 0, 0)).convert("L")
    hidden = 255 if ink == (1, 1, 1) else 0  # of a clear pixel, the colour below says nothing
    image = Image.new("RGB", alpha.size, (hidden,) * 3)
    image.paste(tuple(round(255 * c) for c in ink), mask=alpha.point(lambda a: 255 * (a > 0)))
    image.putalpha(alpha)
    return saved(image, str(rng.choice(["png", "png", "webp"])), lossless=True)


def canvas_grey_alpha(glyph: Glyph, rng: Rng) -> Picture:
    """Grey with transparency (LA): black or white ink on clear, or black on white and opaque."""
    alpha = drawing(glyph, rng, ink=(1, 1, 1), paper=(0, 0, 0)).convert("L")
    if rng.random() < 0.4:
        image = alpha.point(lambda a: 255 - a).convert("LA")
    else:
        image = Image.new("L", alpha.size, int(rng.choice([0, 255])))
        image.putalpha(alpha)
    return saved(image)


def canvas_colour(glyph: Glyph, rng: Rng) -> Picture:
    """Any colour on any other, as long as they differ by 90 grey levels."""
    while True:
        ink, paper = (tuple(rng.uniform(0, 1, 3)) for _ in "ip")
        if abs(np.dot(np.subtract(ink, paper), (0.299, 0.587, 0.114))) > 0.35:
            return of_drawing(ink=ink, paper=paper)(glyph, rng)


def palette(glyph: Glyph, rng: Rng) -> Picture:
    """Palette files, GIF or PNG, of 2 to 16 colours; a third of them with one entry clear."""
    image = drawing(glyph, rng).quantize(int(rng.choice([2, 4, 16])))
    clear = image.getpixel((0, 0)) if rng.random() < 0.33 else None
    return saved(image, str(rng.choice(["gif", "png"])), **({} if clear is None else {"transparency": clear}))


def cut_by_border(glyph: Glyph, rng: Rng) -> Picture:
    """Digits whose strokes run into the border on one side or two, by up to half a pen."""
    pen = rng.uniform(0.09, 0.14)
    ink = np.pad(glyph(round(np.exp(rng.uniform(np.log(60), np.log(350)))), pen), 4)
    size, cut = len(ink), round(rng.uniform(0.15, 0.45) * pen * len(ink)) + 4
    chosen = rng.permutation(4 if ink.shape[1] > 0.5 * size else 2)[: rng.integers(1, 3)]  # not the sides of a 1
    margins = (rng.uniform(0.05, 0.3, 4) * size).astype(int)
    margins[chosen] = -cut
    top, bottom, left, right = margins
    ink = ink[max(0, -top) : size - max(0, -bottom), max(0, -left) : ink.shape[1] - max(0, -right)]
    ink = np.pad(ink, ((max(0, top), max(0, bottom)), (max(0, left), max(0, right))))
    page = paint(sheet(ink.shape, (rng.uniform(0.75, 1),) * 3, rng, 0.005), ink, INKS["black"])
    return as_jpeg(bytes_of(page if rng.random() < 0.7 else 1 - page), rng)


def scan_bilevel(glyph: Glyph, rng: Rng) -> Picture:
    """One bit a pixel, as from a fax or a form reader: a threshold over the noise."""
    grey = scan(glyph, rng, pen=(0.06, 0.13))
    image = bytes_of(grey > rng.uniform(0.55, 0.8)).convert("1")
    return saved(image, "tif", compression="group4") if rng.random() < 0.3 else saved(image)


def scan_speckle(glyph: Glyph, rng: Rng) -> Picture:
    """Dust and toner: many specks, smaller than the pen."""

    def dust(page: Array, rng: Rng) -> Array:
        side = max(page.shape)
        dirt = specks(page.shape, rng, int(rng.integers(5, 40)), (0.4, max(0.6, 0.008 * side)))
        return page * (1 - rng.uniform(0.3, 0.9) * dirt)

    return of_scan(under=dust)(glyph, rng)


def scan_frame(glyph: Glyph, rng: Rng) -> Picture:
    """What is left of a form's boxes: lines along the border, a whole box, or one with its neighbours."""

    def box(page: Array, rng: Rng) -> Array:
        h, w = page.shape
        image = Image.new("L", (w, h))
        draw, thick = ImageDraw.Draw(image), max(1, round(rng.uniform(0.006, 0.02) * h))
        top, left, bottom, right = (rng.uniform(0, rng.choice([0.04, 0.04, 0.1]), 4) * h).astype(int)
        sides = {
            "top": (-9, top, w + 9, top + rng.integers(-2, 3)),
            "bottom": (-9, h - 1 - bottom, w + 9, h - 1 - bottom + rng.integers(-2, 3)),
            "left": (left, -9, left + rng.integers(-2, 3), h + 9),
            "right": (w - 1 - right, -9, w - 1 - right + rng.integers(-2, 3), h + 9),
        }
        for side in rng.permutation(list(sides))[: rng.choice([1, 2, 3, 4, 4])]:
            draw.line(tuple(map(int, sides[side])), fill=255, width=thick)
        return page - rng.uniform(0.3, 0.8) * np.asarray(image, np.float32) / 255

    return of_scan(under=box, fill=(0.45, 0.68), off=0.05, shape=(int(rng.integers(60, 400)),) * 2)(glyph, rng)


def scan_printthrough(glyph: Glyph, rng: Rng) -> Picture:
    """The other side of the sheet shines through: blurred strokes, mirrored."""

    def back(page: Array, rng: Rng) -> Array:
        behind = placed(any_digit(rng), page.shape, rng, pen=0.1, off=0.3)[:, ::-1]
        return page - rng.uniform(0.06, 0.16) * ndimage.gaussian_filter(behind, 0.01 * max(page.shape))

    return of_scan(under=back, ink=rng.uniform(0.05, 0.3), paper=rng.uniform(0.85, 0.97))(glyph, rng)


def jpeg_ringing(glyph: Glyph, rng: Rng) -> Picture:
    """Saved small and badly, then enlarged: blocks, and waves about the strokes."""
    image = drawing(
        glyph, rng, pen=(0.06, 0.13), ink=(rng.uniform(0, 0.2),) * 3, shape=(int(rng.integers(40, 160)),) * 2
    )
    small = saved(image, "jpg", quality=int(rng.integers(6, 25))).image
    times = float(rng.choice([1, 2, 3.5]))
    return as_jpeg(small.resize([round(n * times) for n in small.size], Image.Resampling.BILINEAR), rng)


def _ruled(squared: bool) -> Callable[[Array, Rng], Array]:
    def under(page: Array, rng: Rng) -> Array:
        gap = max(page.shape) * rng.uniform(*((0.07, 0.16) if squared else (0.13, 0.4)))
        colour = [(0.55, 0.65, 0.85), (0.6, 0.6, 0.62), (0.5, 0.6, 0.75)][rng.integers(3)]
        page = paint(page, ruling(page.shape[:2], gap, rng, squared) * rng.uniform(0.4, 0.9), colour)
        if not squared and rng.random() < 0.25:  # the margin of an exercise book
            at = int(rng.uniform(0.22, 0.3) * page.shape[1])
            page[:, at : at + max(1, page.shape[1] // 200)] *= (0.95, 0.6, 0.6)
        return page

    return under


def _on_table(page: Array, rng: Rng) -> Array:
    """The sheet ends within the picture, along a side or about a corner, and a dark table begins."""
    height, width = shape = page.shape[:2]
    margin = 0.12 / 1.24 * max(shape)  # of what the photo will not show
    turn = rng.uniform(0, 2 * np.pi)
    beyond = np.full(shape, -1.0, np.float32)
    for angle in (turn, turn + np.pi / 2)[: rng.integers(1, 3)]:
        seen = (width / 2 - margin) * abs(np.cos(angle)) + (height / 2 - margin) * abs(np.sin(angle))
        reach = seen * rng.uniform(0.74, 0.92) / max(shape)
        beyond = np.maximum(beyond, coordinates(shape, angle) - reach)
    dark = rng.uniform(0.08, 0.3) * np.array([[1.3, 1, 0.75], [1, 1, 1], [0.8, 0.9, 1.1]][rng.integers(3)])
    table = sheet(shape, tuple(dark), rng, 0.1)
    page = page * (1 - 0.3 * np.exp(-np.abs(beyond) * 150))[..., None]  # the sheet's edge throws a shadow
    return paint(page, np.clip(beyond * max(shape) + 0.5, 0, 1), table)


def _wiped(amount: float) -> Callable[[Array, Rng], Array]:
    """A board that was wiped: broad smears of what stood there before."""

    def under(page: Array, rng: Rng) -> Array:
        angle, (h, w) = rng.uniform(-0.5, 0.5), page.shape[:2]
        streaks = noise((h, w), max(h, w) / 8, rng) * np.sin(
            60 * coordinates((h, w), angle + np.pi / 2) + rng.uniform(0, 6)
        )
        return page + amount * np.clip(streaks, 0, 2)[..., None] + amount * 0.5 * noise((h, w), h / 4, rng)[..., None]

    return under


def rotated_exif(glyph: Glyph, rng: Rng) -> Picture:
    """Stored lying or upside down, with the EXIF entry that says so."""
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    orientation = int(rng.choice(list(turns)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photo(glyph, rng, degrees=5).transpose(turns[orientation])
    return saved(image, "jpg", exif=exif, quality=int(rng.integers(60, 93)))


def photo_tall(glyph: Glyph, rng: Rng) -> Picture:
    width = int(rng.integers(90, 500))
    return of_photo(shape=(width * 16 // 9, width), fill=(0.5, 0.85), off=0.06)(glyph, rng)


def photo_small(glyph: Glyph, rng: Rng) -> Picture:
    """A photo made small for the network by hand: 28 to 64 pixels, in colour or grey."""
    image = photo(glyph, rng, pen=(0.06, 0.12))
    side = int(rng.choice([28, 28, 32, 48, 64]))
    image = image.resize((side, side), Image.Resampling.BOX)
    return saved(image.convert("L")) if rng.random() < 0.5 else as_jpeg(image, rng, (75, 96))


def photo_coloured_paper(glyph: Glyph, rng: Rng) -> Picture:
    """Sticky notes, packing paper, cardboard."""
    paper = [(0.95, 0.88, 0.45), (0.95, 0.7, 0.75), (0.72, 0.6, 0.45), (0.65, 0.85, 0.7), (0.65, 0.8, 0.92)][
        rng.integers(5)
    ]
    return of_photo(paper=paper)(glyph, rng)


def photo_coloured_ink(glyph: Glyph, rng: Rng) -> Picture:
    return of_photo(ink=INKS[rng.choice(["blue", "green", "red", "violet"])])(glyph, rng)


def photo_low_contrast(glyph: Glyph, rng: Rng) -> Picture:
    ink = INKS[rng.choice(["pencil", "violet", "pencil"])]
    return of_photo(ink=ink, opacity=(0.45, 0.8), pen=(0.03, 0.08), wear=(0.2, 0.5))(glyph, rng)


def chalkboard(glyph: Glyph, rng: Rng) -> Picture:
    board = [(0.1, 0.22, 0.16), (0.08, 0.09, 0.1), (0.14, 0.27, 0.22)][rng.integers(3)]
    chalk = {"ink": (0.92, 0.92, 0.88), "pen": (0.05, 0.12), "wear": (0.4, 0.9)}
    return of_photo(paper=board, under=_wiped(rng.uniform(0.01, 0.06)), **chalk)(glyph, rng)


def whiteboard(glyph: Glyph, rng: Rng) -> Picture:
    ink = INKS[rng.choice(["black", "blue", "red", "green"])]
    marker = {"ink": ink, "pen": (0.05, 0.11), "wear": (0, 0.15)}
    return of_photo(paper=(0.9, 0.92, 0.95), under=_wiped(-rng.uniform(0.005, 0.04)), **marker)(glyph, rng)


KINDS: dict[str, dict[str, Callable[[Glyph, Rng], Picture]]] = {
    "drawing": {
        "canvas_black": of_drawing(ink=(1, 1, 1), paper=(0, 0, 0)),
        "canvas_white": of_drawing(),
        "canvas_28": canvas_28,
        "canvas_transparent": canvas_transparent,
        "canvas_grey_alpha": canvas_grey_alpha,
        "canvas_colour": canvas_colour,
        "palette": palette,
        "thick_brush": of_drawing(pen=(0.15, 0.2)),
        "stylus_thin": of_drawing(pen=(0.015, 0.035)),
        "off_centre": of_drawing(off=0.3, fill=(0.45, 0.65)),
        "small_in_frame": of_drawing(fill=(0.15, 0.3), pen=(0.06, 0.14), off=0.3),
        "stray_dots": lambda glyph, rng: of_drawing(dots=int(rng.integers(1, 6)))(glyph, rng),
        "cut_by_border": cut_by_border,
    },
    "scan": {
        "scan_clean": of_scan(),
        "scan_grey": of_scan(paper=0.75, ink=0.3),
        "scan_bilevel": scan_bilevel,
        "scan_speckle": scan_speckle,
        "scan_frame": scan_frame,
        "scan_printthrough": scan_printthrough,
        "jpeg_ringing": jpeg_ringing,
    },
    "photo": {
        "photo_paper": of_photo(),
        "photo_shadow": of_photo(light=shadow),
        "photo_vignette": of_photo(light=vignette),
        "photo_low_contrast": photo_low_contrast,
        "photo_coloured_ink": photo_coloured_ink,
        "photo_ruled": of_photo(under=_ruled(False)),
        "photo_squared": of_photo(under=_ruled(True)),
        "photo_noise_blur": of_photo(
            (15, 50), blur=(0.006, 0.014), grain=(0.02, 0.05), exposure=(0.4, 0.65), pen=(0.06, 0.12)
        ),
        "photo_edge": of_photo(under=_on_table, fill=(0.4, 0.55), off=0.03),
        "photo_tall": photo_tall,
        "photo_small": photo_small,
        "photo_coloured_paper": photo_coloured_paper,
        "whiteboard": whiteboard,
        "chalkboard": chalkboard,
        "rotated_exif": rotated_exif,
    },
}
MAKERS = {name: maker for group in KINDS.values() for name, maker in group.items()}


def make(kind: str, glyph: Glyph, rng: Rng) -> Picture:
    """The glyph as a picture of a kind, one of MAKERS' names."""
    return MAKERS[kind](glyph, rng)


def on_canvas(image: Array, rng: Rng) -> Image.Image:
    """An MNIST digit, (28, 28) uint8, enlarged smoothly and put anywhere on a black canvas of 280×280."""
    digit = Image.fromarray(image)
    digit = digit.crop(digit.getbbox())
    scale = rng.uniform(100, 270) / max(digit.size)
    digit = digit.resize([round(n * scale) for n in digit.size], Image.Resampling.BICUBIC)
    canvas = Image.new("L", (280, 280))
    canvas.paste(digit, (int(rng.integers(281 - digit.width)), int(rng.integers(281 - digit.height))))
    return canvas


# What is no digit, and what is several


def _blank(size: int, pen: float) -> Array:
    return np.zeros((1, 1), np.float32)


def _scribble(rng: Rng) -> Glyph:
    places = rng.uniform(0, 100, (int(rng.integers(12, 30)), 2)).round()
    return written(" ".join(f"{x},{y}" for x, y in places), rng)


def _scene(what: str, rng: Rng) -> Array:
    """(240, 320, 3) in about 0…1: something else in front of the camera."""
    shape = h, w = 240, 320
    y, x = coordinates(shape, np.pi / 2), coordinates(shape, 0)
    rough = sum(noise(shape, size, rng) * size / 80 for size in (80, 40, 20, 10, 5))
    page = sheet(shape, tuple(rng.uniform(0.3, 0.9, 3)), rng, 0.02)
    if what == "clouds":
        return paint(
            np.broadcast_to(np.float32([0.35, 0.55, 0.85]), (h, w, 3)), np.clip(rough * 0.4 + 0.4, 0, 1), (1, 1, 1)
        )
    if what == "landscape":
        page = paint(page * 0 + (0.6, 0.75, 0.95), y + 0.4, (0.95, 0.9, 0.85))
        for depth in (0.05, 0.15, 0.25):
            hills = y > depth + 0.05 * noise((1, w), 60, rng)
            page = paint(page, hills, np.array([0.25, 0.45, 0.2]) * (1.2 - 2 * depth) + 0.03 * rough[..., None])
        return page
    if what == "face":
        page = paint(page, (x / 0.2) ** 2 + (y / 0.28) ** 2 < 1, (0.85, 0.66, 0.55))
        page = paint(page, ((x / 0.21) ** 2 + (y / 0.29) ** 2 < 1) & (y < -0.15), (0.25, 0.17, 0.1))
        for at in (-0.08, 0.08):
            page = paint(page, ((x - at) / 0.03) ** 2 + ((y + 0.04) / 0.015) ** 2 < 1, (0.15, 0.1, 0.1))
        return paint(page, (x / 0.08) ** 2 + ((y - 0.14) / 0.02) ** 2 < 1, (0.6, 0.25, 0.25))
    if what == "checkerboard":
        return paint(page, (np.floor(x * 9) + np.floor(y * 9)) % 2 > 0, (0.1, 0.1, 0.12))
    return page * uneven(shape, rng, 0.9)[..., None]  # a gradient


def _blank_on(kind: str) -> Callable[[Rng], Picture]:
    return lambda rng: make(kind, _blank, rng)


def _letter_as(way: Callable[[Glyph, Rng], Picture], form: str) -> Callable[[Rng], Picture]:
    return lambda rng: way(written(form, rng), rng)


def _scribble_on(kind: str) -> Callable[[Rng], Picture]:
    return lambda rng: make(kind, _scribble(rng), rng)


def _scene_of(what: str) -> Callable[[Rng], Picture]:
    return lambda rng: as_jpeg(bytes_of(_scene(what, rng)), rng)


BLANK = ("canvas_black", "canvas_transparent", "scan_clean", "scan_bilevel", *KINDS["photo"])
# Names → pictures that show no single digit: blank paper, letters, scribbles, other things.
OTHERS: dict[str, Callable[[Rng], Picture]] = {
    **{f"blank_{kind}": _blank_on(kind) for kind in BLANK},
    **{
        f"letter_{'small' if letter.islower() else 'capital'}_{letter}": _letter_as(way, form)
        for (letter, form), way in zip(LETTERS.items(), [of_drawing(), of_scan(), of_photo()] * 4, strict=True)
    },
    **{f"scribble_{kind}": _scribble_on(kind) for kind in ("canvas_white", "photo_paper")},
    **{what: _scene_of(what) for what in ("clouds", "landscape", "face", "checkerboard", "gradient")},
}


def row(answer: str, rng: Rng) -> Picture:
    """Several digits beside each other, drawn, scanned or photographed: what `answer` says, such as "407"."""
    glyph = side_by_side([written(str(rng.choice(FORMS[digit])), rng) for digit in answer], rng.uniform(0.12, 0.35))
    height = int(rng.integers(100, 260))
    frame = {"shape": (height, round(height * (0.4 + 0.65 * len(answer)))), "fill": (0.45, 0.7), "off": 0.04}
    ways = [of_drawing(**frame), of_scan(**frame), of_photo(**frame, degrees=4)]
    return ways[rng.integers(3)](glyph, rng)
