"""A photograph, scan or drawing of digits → MNIST's own form, every step on the way kept.

MNIST's digits were all brought to one form: light ink on black, a box of 20×20 pixels, the centre of mass in the
middle of 28×28. A network that has learned from nothing else reads nothing else.
"""

import io
import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

Picture = str | Path | bytes | Image.Image | np.ndarray | Tensor

# What photographs, scans and drawings come as. Pillow knows more; one of those is read by starting another program.
# Pillow's opinion on damaged metadata and large files is not the reader's. (warnings.catch_warnings is of no use where
# several threads read: the last to leave it may leave all warnings switched off.)
warnings.filterwarnings("ignore", module=r"PIL\.")

SUFFIXES = {".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 36_000_000  # of a file: a sheet at 600 dots an inch has 35
MOST_OF = {"JPEG": 50_000_000, "MPO": 50_000_000, "WEBP": 16_000_000}  # two unpack small, the last large
ORIENTATION = 0x0112  # in a photograph's EXIF data: which way up
SIZE = 320  # pixels of the longer side while looking for the ink
BOX = 100  # pixels of the longer side of a digit while its pen is measured
PEN = 0.08, 0.11  # a pen thinner than the first share of the digit's size is made as wide as the second
SPECK = 0.03  # of the largest part's area: what is smaller is no stroke
LINE = 0.6  # of the sheet's width: a straight line that covers as much, and both ends, is printed
MOST_PARTS = 24  # that are looked at, the largest first
FAINT = 10.0  # grey levels: what differs less from the paper is no ink


class PictureError(ValueError):
    """A picture cannot be read; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Preparation:
    """A picture on its way to MNIST's form.

    steps: name → (H, W, 3) uint8 of the picture, then (H, W) of ink in 0…1, in the order they were made.
    digits: (N, 1, 28, 28) uint8, each digit on the picture, left to right; none on blank paper.
    subject: the number of the largest of them, of those that the border does not cut.
    """

    steps: dict[str, np.ndarray]
    digits: Tensor
    subject: int


def to_mnist(picture: Picture) -> Tensor:
    """A picture of one digit → (1, 28, 28) uint8 as MNIST would have it: ink up to 255 on 0.

    picture: a file's name or its bytes (whatever Pillow reads), a Pillow image, or an array or tensor of shape
      (H, W), (1, H, W), (3, H, W), (H, W, 3) or (H, W, 4): whole numbers or floats in 0…255, floats in 0…1, bools.
    Where several digits stand on it, the largest is taken. Blank paper gives zeros.
    Raises PictureError for what is no picture.
    """
    prepared = prepare(picture)
    return prepared.digits[prepared.subject] if len(prepared.digits) else torch.zeros(1, 28, 28, dtype=torch.uint8)


def shrunk(picture: Picture) -> Tensor:
    """A picture → (1, 28, 28) uint8 as it is: grey, on a square, only smaller, and light on dark.

    It takes what `to_mnist` takes. Where the border is light, grey levels are turned round.
    """
    grey = _pixels(picture) @ np.array([0.299, 0.587, 0.114])
    border = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    if border > 127:
        grey, border = 255 - grey, 255 - border
    high, wide = grey.shape
    side = max(high, wide)
    top, left = (side - high) // 2, (side - wide) // 2
    square = np.pad(grey, ((top, side - high - top), (left, side - wide - left)), constant_values=border)
    small = cv2.resize(square, (28, 28), interpolation=cv2.INTER_AREA if side > 28 else cv2.INTER_LINEAR)
    return torch.from_numpy(small.round().clip(0, 255).astype(np.uint8))[None]


def prepare(picture: Picture) -> Preparation:
    """As `to_mnist`, with every digit on the picture and all the steps."""
    pixels = _pixels(picture)
    steps = {"picture": pixels.round().astype(np.uint8)}
    if _is_in_form(steps["picture"]):
        return Preparation(steps, torch.from_numpy(steps["picture"][None, None, ..., 0].copy()), 0)
    ink, noise = _ink(pixels)
    steps["ink"] = ink
    groups, subject = _groups(_without_rules(_strokes(ink, noise), ink))
    digits = []
    for number, group in enumerate(groups):
        alone = _cropped(ink * group) if noise == 0 else _cropped(_saturated(ink, noise) * group)
        penned = _pen(alone)
        digits.append(_in_form(penned))
        if number == subject:
            shown = {"one digit": alone, "pen": penned, "28×28": digits[-1].numpy() / 255}
    if not digits:
        return Preparation(steps, torch.zeros(0, 1, 28, 28, dtype=torch.uint8), 0)
    return Preparation(steps | shown, torch.stack(digits)[:, None], subject)


def script() -> str:
    """picture.js, which does the same in a page without Python, with the numbers above in front of it."""
    given = {"SIZE": SIZE, "BOX": BOX, "PEN": PEN, "SPECK": SPECK, "LINE": LINE}
    given |= {"MOST_PARTS": MOST_PARTS, "FAINT": FAINT}
    numbers = "".join(f"const {name} = {json.dumps(number)};\n" for name, number in given.items())
    return numbers + Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


# --- ink on paper


def _ink(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """(H, W, 3) → how much ink covers each pixel, 0…1, and its noise on bare paper (0: none, as if drawn).

    Paper is what most of the picture, or of its border, is made of; ink is what differs from it, in whatever
    direction of colour the strongest differences lie. So ink may be dark or light and of any colour.
    """
    drawn = _one_colour(pixels)
    if drawn is not None:
        ink, noise = np.maximum(_along(pixels - drawn), 0), 0.0
        level = float(ink.max())
    else:
        for share in (300, 120, 60):  # of the picture's size, as blur, until ink stands out from noise
            ink = _along(_differences(cv2.GaussianBlur(pixels, (0, 0), max(pixels.shape) / share)))
            ink -= np.median(ink)
            bare = ink[ink < _otsu(np.maximum(ink, 0))]
            noise = float(np.median(np.abs(bare))) * 1.4826
            ink = np.maximum(ink, 0)
            middle = np.where(_without_edges(ink > _otsu(ink)), ink, 0)
            level = float(np.percentile(middle[middle > 0], 75)) if middle.any() else 0.0
            if level > 8 * noise:
                break
    if level < max(FAINT, 5 * noise):
        return np.zeros_like(ink), noise
    return np.minimum(ink / level, 1), noise / level


def _along_border(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: parts of the mask that lie along the picture's border, as the edge of a sheet does."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    border = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    contact = np.bincount(border, minlength=count)
    along = contact > 0.35 * stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].sum(1)
    along[0] = False
    on_border: np.ndarray = along[labels]
    return on_border


def _without_edges(mask: np.ndarray) -> np.ndarray:
    """The mask without what lies along the border and is no stroke, unless nothing would be left but specks."""
    size = math.sqrt(mask.size)
    along = _along_border(mask).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(along, connectivity=8)
    thick = cv2.erode(along, _disc(0.2 * size), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    short, long = np.sort(stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]], 1).T
    edge = short < np.where(long > 0.8 * size, 0.2, 0.1) * size
    edge[np.unique(labels[thick])] = True
    edge[0] = False  # a digit that the border cuts is neither thick nor thin
    inner = mask & ~edge[labels]
    stats = cv2.connectedComponentsWithStats(inner.astype(np.uint8), connectivity=8)[2]
    return inner if (stats[1:, cv2.CC_STAT_AREA] > 0.003 * mask.size).any() else mask


def _disc(diameter: float) -> np.ndarray:
    size = max(3, round(diameter) | 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _one_colour(pixels: np.ndarray) -> np.ndarray | None:
    """The paper's colour where much of the picture, and most of its border, has exactly that; else None."""
    code = pixels.astype(np.int32) @ np.array([65536, 256, 1])
    border = np.concatenate([code[0], code[-1], code[:, 0], code[:, -1]])
    values, counts = np.unique(border, return_counts=True)
    colour = values[counts.argmax()]
    if counts.max() < 0.5 * len(border) or (code == colour).mean() < 0.25:
        return None
    return np.array([colour >> 16, colour >> 8 & 255, colour & 255], np.float32)


def _along(differences: np.ndarray) -> np.ndarray:
    """(H, W, 3) of differences from the paper → (H, W), their length along the strongest ones' mean direction."""
    strength = np.abs(differences).sum(2)
    strong = differences[strength >= 0.6 * np.percentile(strength, 99)]
    _, _, directions = np.linalg.svd(strong.T @ strong)
    direction = directions[0].astype(np.float32)
    direction = direction / np.abs(direction).sum()
    along: np.ndarray = differences @ direction
    centre = _centre_weight(along.shape)
    return along if (along**3 * centre).sum() >= 0 else -along


def _centre_weight(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    weight: np.ndarray = np.exp(-(rows[:, None] ** 2) - columns**2)
    return weight


def _differences(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3): how far each pixel is from the paper behind it, in grey levels as in full light.

    The paper is a surface of second degree through most of the pixels. Where that leaves more than ink, as the edge
    of a shadow does, all that is narrower than a stroke may be is filled from its sides instead. Dark ink takes away
    a share of the light, wherever it falls; light ink adds to it.
    """
    size = math.sqrt(pixels.shape[0] * pixels.shape[1])  # strokes are broad beside the width of a narrow picture
    paper = _surface(pixels)
    darker = _is_darker(pixels.mean(2), paper.mean(2))
    marked, away = _marked(pixels, paper, darker)
    thick = cv2.morphologyEx(marked.astype(np.uint8), cv2.MORPH_OPEN, _disc(0.16 * size), borderType=0, borderValue=0)
    beside = _along_border(cv2.dilate(thick, _disc(0.03 * size)) > 0)
    shadow = beside.any() and _written_on(pixels.mean(2), beside, darker)
    if beside.any() and not shadow:  # a table beside the sheet, or an empty corner in the dark
        pixels = np.where(beside[..., None], paper, pixels)
        marked, away = _marked(pixels, paper, darker)
    parted = marked.any() and not marked.all()
    uneven = parted and np.percentile(np.abs(away[~marked]), 95) > 0.3 * np.median(away[marked])
    if shadow or uneven:
        how = cv2.MORPH_CLOSE if darker else cv2.MORPH_OPEN
        flat = cv2.medianBlur((pixels - paper + 128).clip(0, 255).astype(np.uint8), 5).astype(np.float32)
        paper = paper + cv2.GaussianBlur(_filled(flat, how, 0.25), (0, 0), 0.02 * size) - 128
    differences: np.ndarray = (pixels - paper) * (255 / np.maximum(paper, 25)) if darker else pixels - paper
    return differences


def _filled(page: np.ndarray, how: int, widest: float) -> np.ndarray:
    """A closing or an opening: what is narrower than that share of the page is filled from its sides.

    Paper needs no detail, so it is done on a small copy.
    """
    height, width = page.shape[:2]
    scale = min(1.0, 120 / max(height, width))
    small = cv2.resize(
        page, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    filled = cv2.morphologyEx(small, how, _disc(widest * min(small.shape[:2])))
    return cv2.resize(filled, (width, height))


def _is_darker(grey: np.ndarray, paper: np.ndarray) -> bool:
    """Whether what is narrow is rather darker than the paper, or lighter."""
    dark = np.minimum(_filled(grey, cv2.MORPH_CLOSE, 0.25) - grey, paper - grey)
    light = np.minimum(grey - _filled(grey, cv2.MORPH_OPEN, 0.25), grey - paper)
    weight = _centre_weight(grey.shape)
    return bool((np.maximum(dark, 0) ** 2 * weight).sum() >= (np.maximum(light, 0) ** 2 * weight).sum())


def _marked(pixels: np.ndarray, paper: np.ndarray, darker: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where a picture differs from the paper as ink does, (H, W) bool, and by how much, (H, W)."""
    away = (paper - pixels).mean(2) if darker else (pixels - paper).mean(2)
    return away > _otsu(np.maximum(away, 0)), away


def _written_on(grey: np.ndarray, part: np.ndarray, darker: bool) -> bool:
    """Whether there are strokes within a part of the picture: then it lies in a shadow, and is no table."""
    size = min(grey.shape)
    inside = cv2.erode(part.astype(np.uint8), _disc(0.16 * size), borderValue=1) > 0
    strokes = np.abs(_filled(grey, cv2.MORPH_CLOSE if darker else cv2.MORPH_OPEN, 0.15) - grey)
    return bool(inside.any() and (strokes[inside] > 0.5 * np.percentile(strokes, 98)).sum() > 0.0015 * grey.size)


def _surface(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3): for each channel the polynomial of second degree that most pixels lie on."""
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA).reshape(-1, 3)

    def terms(rows: int, columns: int) -> np.ndarray:
        y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None]
        return np.stack(np.broadcast_arrays(np.ones(()), x, y, x * y, x * x, y * y), -1).astype(np.float32)

    basis = terms(48, 48).reshape(-1, 6)
    values = np.median(small, 0) + 0 * small
    for _ in range(8):
        far = np.abs(small - values).mean(1)
        scale = max(2.0, 1.5 * float(np.median(far)))
        weight = 1 / (1 + (far / scale) ** 4)
        coefficients = np.linalg.lstsq(basis * weight[:, None], small * weight[:, None], rcond=None)[0]
        values = basis @ coefficients
    paper: np.ndarray = terms(height, width) @ coefficients
    return paper


def _otsu(ink: np.ndarray) -> float:
    scale = float(ink.max()) or 1.0
    level, _ = cv2.threshold((ink * (255 / scale)).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return level * scale / 255


def _saturated(ink: np.ndarray, noise: float) -> np.ndarray:
    """Ink from a camera or a scanner as MNIST has it: bare paper exactly 0, strokes full in their middle."""
    low = max(0.2, 3 * noise)
    return np.clip((ink - low) / (0.8 - low), 0, 1)


# --- strokes and what is none


def _strokes(ink: np.ndarray, noise: float) -> np.ndarray:
    """(H, W) bool: where there surely is ink; paler ink counts where it hangs together with such."""
    low, high = (0.15, 0.5) if noise == 0 else (max(0.35, 4 * noise), max(0.55, 5 * noise))
    count, labels = cv2.connectedComponents((ink > low).astype(np.uint8), connectivity=8)
    strong = np.zeros(count, bool)
    strong[np.unique(labels[ink > high])] = True
    strong[0] = False
    inked: np.ndarray = strong[labels]
    if noise == 0:
        return inked
    whole = _without_edges(inked).astype(np.uint8)  # chalk leaves gaps
    return cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0


def _without_rules(mask: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The mask without straight lines that run from border to border; strokes that cross them stay."""
    if not (mask[[0, -1]].any() or mask[:, [0, -1]].any()):
        return mask
    mask = mask.copy()
    for sheet, shades in ((mask, ink), (mask.T, ink.T)):  # views: level lines, then upright ones
        height, width = sheet.shape
        rows, columns = cv2.dilate(sheet.astype(np.uint8), np.ones((3, 1), np.uint8)).nonzero()
        if not len(rows):
            break
        middle, starts = columns - width / 2, np.arange(-width, height + width)
        found = []
        for slope in np.linspace(-0.25, 0.25, 51):  # rows a column; a line starts, in the middle column, at `start`
            count = np.bincount(np.round(rows - slope * middle).astype(int) + width, minlength=len(starts))
            crossings = np.sort([-starts, height - 1 - starts], 0) / (slope or 1e-9)
            first, last = np.sort(crossings, 0).clip(-width / 2, width / 2)
            long = (last - first > 0.5 * width) & (count[: len(starts)] > LINE * (last - first))
            found += [(int(count[n]), int(starts[n]), float(slope)) for n in long.nonzero()[0]]
        for _, offset, slope in sorted(found, reverse=True):
            _erase_line(sheet, shades, np.round(offset + slope * (np.arange(width) - width / 2)).astype(int))
    return mask


def _erase_line(sheet: np.ndarray, shades: np.ndarray, line: np.ndarray) -> None:
    """Clear, in place, what a line of one row a column covers, except where a darker or broader stroke crosses it."""
    height, width = sheet.shape
    thick = max(3, round(0.04 * height))
    columns = ((line >= 1) & (line < height - 1)).nonzero()[0]
    if len(columns) < 0.5 * width:
        return
    rows, ends = line[columns], max(3, len(columns) // 16)
    met = sheet[rows, columns] | sheet[rows - 1, columns] | sheet[rows + 1, columns]
    if met.mean() < LINE or min(met[:ends].mean(), met[-ends:].mean()) < 0.5:
        return
    near = np.arange(-thick, thick + 1)[:, None]
    inside = (rows + near >= 0) & (rows + near < height)
    window = sheet[np.clip(rows + near, 0, height - 1), columns] & inside
    window[thick] = met
    run = np.logical_and.accumulate(window[thick::-1], 0)[::-1], np.logical_and.accumulate(window[thick:], 0)
    length = run[0].sum(0) + run[1].sum(0) - 1
    shade = np.max([shades[rows + step, columns] for step in (-1, 0, 1)], 0)
    there = length > 0
    usual, pale = np.median(length[there]), np.median(shade[there])
    if usual > 0.035 * height:  # a stroke of a digit as large as the picture
        return
    covered = np.concatenate([run[0][:-1], run[1]]) & (length <= usual + 2) & (shade < 1.4 * pale)
    at = covered.nonzero()
    sheet[np.clip(rows[at[1]] + near[at[0], 0], 0, height - 1), columns[at[1]]] = False


def _groups(mask: np.ndarray) -> tuple[list[np.ndarray], int]:
    """The strokes of each digit, left to right, as (H, W) of 0 and 1, with room for the soft edge of a stroke.

    And the number of the largest. Beside a whole digit, what the border cuts is left out.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if len(stats) == 1:
        return [], 0
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    numbers = [n for n in areas.argsort()[::-1][:MOST_PARTS] if areas[n] >= SPECK * areas.max()]
    strokes = [n for n in numbers if not _is_frame(labels, stats, n, numbers)] or numbers[:1]
    edges = set(np.unique(labels[_along_border(mask)]).tolist())
    together = {n: {n} for n in strokes}
    for n in strokes:
        away = cv2.distanceTransform((labels != n).astype(np.uint8), cv2.DIST_L2, 3)
        for other in strokes:
            if other in together[n] or (n in edges) != (other in edges):
                continue
            if _one_digit(stats[n], stats[other], float(away[labels == other].min())):
                joined = together[n] | together[other]
                together |= dict.fromkeys(joined, joined)
    groups = list({id(group): group for group in together.values()}.values())
    sizes = [sum(areas[n] for n in group) for group in groups]
    tall = [_box(stats[list(group)])[3] for group in groups]
    inner = [not _touches(stats[list(group)], mask.shape) for group in groups]
    whole = [size if free and size > 0.003 * mask.size else 0 for size, free in zip(sizes, inner, strict=True)]
    subject = int(np.argmax(whole if any(whole) else sizes))
    free = inner if any(whole) else [True] * len(groups)
    kept = [
        n for n in range(len(groups)) if free[n] and sizes[n] > 0.15 * sizes[subject] and tall[n] > 0.4 * tall[subject]
    ]
    kept.sort(key=lambda n: min(stats[part, cv2.CC_STAT_LEFT] for part in groups[n]))
    soft = max(1, max(mask.shape) // 100)
    masks = [np.isin(labels, list(groups[n])).astype(np.uint8) for n in kept]
    grown = [cv2.dilate(part, np.ones((3, 3), np.uint8), iterations=soft) for part in masks]
    return grown, kept.index(subject)


def _box(stats: np.ndarray) -> tuple[int, int, int, int]:
    """left, top, width, height around several parts."""
    left, top = stats[:, 0].min(), stats[:, 1].min()
    return left, top, (stats[:, 0] + stats[:, 2]).max() - left, (stats[:, 1] + stats[:, 3]).max() - top


def _touches(stats: np.ndarray, shape: tuple[int, ...]) -> bool:
    left, top, width, height = _box(stats)
    return bool(left == 0 or top == 0 or left + width == shape[1] or top + height == shape[0])


def _one_digit(one: np.ndarray, other: np.ndarray, gap: float) -> bool:
    """Whether two parts, `gap` pixels apart, are strokes of one digit: a 5 and its hat, the two bars of a 4."""
    size = min(max(one[2:4]), max(other[2:4])) * 1.5
    size = min(size, max(*one[2:4], *other[2:4]))
    left, right = max(one[0], other[0]), min(one[0] + one[2], other[0] + other[2])
    above_each_other = right - left > 0.3 * min(one[2], other[2])
    if gap <= 0.05 * size:
        return True
    if above_each_other:
        return bool(gap <= 0.3 * size)
    low = min(one[3], other[3]) / max(one[3], other[3])
    return bool(gap <= (0.25 if low < 0.4 else 0.2) * size and low < 0.75)  # a 5's hat may float off to the right


def _is_frame(labels: np.ndarray, stats: np.ndarray, number: int, numbers: list[int]) -> bool:
    """Whether a part is a printed box around others."""
    left, top, wide, high = stats[number, :4]
    inner = stats[[n for n in numbers if n != number], :4]
    if not any(left <= x and top <= y and x + w <= left + wide and y + h <= top + high for x, y, w, h in inner) or min(
        wide, high
    ) < 0.5 * min(labels.shape):
        return False
    part = labels[top : top + high, left : left + wide] == number
    rim = max(2, round(0.08 * max(wide, high)))
    return bool(part[rim:-rim, rim:-rim].sum() < 0.1 * part.sum())


# --- one digit


def _cropped(ink: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _pen(ink: np.ndarray) -> np.ndarray:
    """Thin strokes widened to a pen like those MNIST was written with; others as they are."""
    longest = max(ink.shape)
    scale = BOX / longest
    size = [max(1, round(n * scale)) for n in ink.shape[::-1]]
    big = cv2.resize(ink, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC).clip(0, 1)
    width = _pen_width(big) / BOX
    if width >= PEN[0]:
        return ink
    grow = round((PEN[1] - width) * BOX / 2)
    big = cv2.copyMakeBorder(big, grow, grow, grow, grow, cv2.BORDER_CONSTANT, value=0)
    return cv2.dilate(big, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1)))


def _pen_width(ink: np.ndarray) -> float:
    """Pixels across a stroke, the median over its middle line."""
    mask = np.pad(ink > 0.5, 1).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    ridge = (inside > 0) & (inside >= cv2.dilate(inside, np.ones((3, 3), np.uint8)))
    return float(2 * np.median(inside[ridge])) - 0.5 if ridge.any() else 0.0


def _in_form(ink: np.ndarray) -> Tensor:
    """(H, W) of ink in 0…1 → (28, 28) uint8: 20 pixels on the longer side, the centre of mass nearest to (14, 14).

    One antialiased resample does both. The box's corner falls on the corner of a pixel, as in MNIST, so that a digit
    of MNIST that was enlarged comes back on its own grid. This is not `data.form.centre_in_box`, which follows the
    recipe that MNIST was made by: two steps, the second a move by whole pixels, and an edge at the first trace of ink.
    The two agree on MNIST's own digits; on photographs, whose edges are soft, they differ.
    """
    (top, bottom), (left, right) = _edges(ink)
    scale = max(bottom - top, right - left) / 20
    rows, columns = (ink.sum(axis) @ (np.arange(ink.shape[1 - axis]) + 0.5) / ink.sum() for axis in (1, 0))
    # 15 = 14, to the nearest, counting from centres; a little more, so that chance decides no tie
    first = left - math.floor(15.0001 - (columns - left) / scale) * scale
    first_row = top - math.floor(15.0001 - (rows - top) / scale) * scale
    margin = math.ceil(28 * scale)
    page = Image.fromarray((np.pad(ink, margin) * 255).round().astype(np.uint8))
    box = (first + margin, first_row + margin, first + margin + 28 * scale, first_row + margin + 28 * scale)
    return torch.from_numpy(np.array(page.resize((28, 28), Image.Resampling.LANCZOS, box=box)))


def _is_in_form(pixels: np.ndarray) -> bool:
    """Whether (H, W, 3) is a digit as MNIST has them already: 20 pixels high or wide, centred, light on black."""
    grey = pixels[..., 0]
    if grey.shape != (28, 28) or (pixels != grey[..., None]).any():
        return False
    rows, columns = np.flatnonzero(grey.any(1)), np.flatnonzero(grey.any(0))
    if not len(rows) or max(np.ptp(rows), np.ptp(columns)) not in (18, 19) or grey.max() < 200:
        return False
    places = np.arange(28) - 14
    total = grey.sum(dtype=float)
    return bool(abs(grey.sum(1) @ places / total) <= 0.5 and abs(grey.sum(0) @ places / total) <= 0.5)


def _edges(ink: np.ndarray) -> list[tuple[int, int]]:
    """(top, bottom), (left, right): where the ink begins. On a soft edge, half-way up its first half pixel of 20."""
    profiles = [ink.max(1), ink.max(0)]
    edges = [(0, len(profile)) for profile in profiles]
    for _ in range(2):
        half = round(max(last - first for first, last in edges) / 40)
        edges = [(_rise(p, half), len(p) - _rise(p[::-1], half)) for p in profiles]
    return edges


def _rise(profile: np.ndarray, half: int) -> int:
    ahead = np.append(profile[half:], np.zeros(half))
    return int(np.argmax((profile > 0.004) & (profile >= 0.5 * ahead)))


# --- files and arrays


def _pixels(picture: Picture) -> np.ndarray:
    """Any picture → (H, W, 3) float32 in 0…255, upright, on paper, SIZE pixels at most a side."""
    if isinstance(picture, Tensor):
        picture = _as_array(picture)
    pixels = _on_paper(_from_array(np.asarray(picture)) if isinstance(picture, np.ndarray) else _opened(picture))
    longest = max(pixels.shape[:2])
    if longest > SIZE:
        size = [max(1, round(n * SIZE / longest)) for n in pixels.shape[1::-1]]
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).round()  # so that bare paper stays one colour
    return pixels


def _opened(picture: str | Path | bytes | Image.Image) -> Image.Image:
    name = "The picture"
    given: Path | io.BytesIO | Image.Image
    if isinstance(picture, bytes):
        given = io.BytesIO(picture)
    elif isinstance(picture, str | Path):
        name, given = str(picture), Path(picture)
        try:
            there = given.is_file()
        except OSError:  # as of a name that is too long for any file
            there = False
        if not there:
            raise PictureError(f"There is no file {given}.")
    elif isinstance(picture, Image.Image):
        given = picture
    else:
        raise PictureError(f"A {type(picture).__name__} is no picture; give a file, bytes, a Pillow image or an array.")
    formats: tuple[str, ...] = FORMATS
    if not isinstance(given, Image.Image) and _is_heif(given):
        _know_heif(name)
        formats = (*FORMATS, "HEIF")
    try:
        try:
            image = given if isinstance(given, Image.Image) else Image.open(given, formats=formats)
        except Image.DecompressionBombError as error:
            raise PictureError(f"{name} has far more pixels than a picture needs: make it smaller.") from error
        most = MOST_OF.get(image.format or "", MOST_PIXELS)
        if image.width * image.height > most:
            raise PictureError(
                f"{name} has {image.width:,} × {image.height:,} pixels, more than {most:,}: make it smaller."
            )
        if not isinstance(given, Image.Image):
            image.draft("RGB", (2 * SIZE, 2 * SIZE))  # a JPEG of a large photograph is decoded small
        image.load()
        return ImageOps.exif_transpose(_reduced(image))
    except PictureError:
        raise
    except Exception as error:  # a damaged file can end in almost any of them
        raise PictureError(f"{name} is no picture that can be read ({error}). Save it again as PNG or JPEG.") from error


def _is_heif(given: Path | io.BytesIO) -> bool:
    """Whether a file begins as an iPhone's pictures do."""
    try:
        with given.open("rb") if isinstance(given, Path) else io.BytesIO(given.getbuffer()[:12]) as file:
            head = file.read(12)
    except OSError:  # which Pillow's own attempt will tell
        return False
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def _know_heif(name: str) -> None:
    """Teach Pillow the form of an iPhone's pictures. PictureError where the package for it is missing."""
    try:
        import pillow_heif
    except ImportError as error:
        raise PictureError(f"{name} is in HEIC, which needs one more package: pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def _reduced(image: Image.Image) -> Image.Image:
    """A large picture some whole number of times smaller, strip by strip, so that it never lies in memory as floats."""
    factor = max(image.size) // (4 * SIZE)
    if factor < 2:
        return image
    mode = {"1": "L", "P": "RGB", "PA": "RGBA"}.get(image.mode, "I" if image.mode.startswith("I") else image.mode)
    if "transparency" in image.info:
        mode = "RGBA"
    wide, high = image.size
    small = Image.new(mode, (-(-wide // factor), -(-high // factor)))
    for top in range(0, high, 64 * factor):
        strip = image.crop((0, top, wide, min(top + 64 * factor, high)))
        small.paste(strip.convert(mode).reduce(factor), (0, top // factor))
    small.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return small


def _as_array(tensor: Tensor) -> np.ndarray:
    """Wherever it lies, however it is laid out, and whether or not it is being learned."""
    try:
        tensor = tensor.detach().cpu().to_dense()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise PictureError(f"A tensor of {tensor.dtype} on {tensor.device} holds no picture ({error}).") from error


def _from_array(array: np.ndarray) -> Image.Image:
    shape = array.shape
    if array.ndim == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or 0 in shape or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(f"An array of shape {shape} is no picture; (H, W), (H, W, 3) or (H, W, 4) is.")
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise PictureError(f"An array of shape {shape} is more than {MOST_PIXELS:,} pixels: make it smaller.")
    if array.dtype == bool:
        array = array * 255
    elif array.dtype.kind not in "uif":
        raise PictureError(f"An array of {array.dtype} is no picture; take uint8, or floats in 0…1 or 0…255.")
    elif not np.isfinite(array).all():
        raise PictureError("The array holds values that are infinite or not a number.")
    elif array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        array = array * 255.0
    if array.dtype == np.uint16 and array.max() > 255:
        array = array / 257
    if array.min() < 0 or array.max() > 255:
        raise PictureError(f"The array runs from {array.min():g} to {array.max():g}; grey levels lie in 0…1 or 0…255.")
    return Image.fromarray(array.round().astype(np.uint8))


def _on_paper(image: Image.Image) -> np.ndarray:
    """Any Pillow image → (H, W, 3) float32; what is transparent becomes paper that the rest stands out from."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float32))
        most = next((n for n in (255, 4095, 65535) if values.max() <= n), float(values.max()))
        return np.repeat((values.clip(0) * (255 / most))[..., None], 3, 2)
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"), np.float32)
        colour, opaque = pixels[..., :3], pixels[..., 3:] / 255
        share = float(opaque.mean())
        if 0 < share < 1:
            mean = float((colour * opaque).sum() / opaque.sum() / 3)
            lonely = 255.0 if mean < 140 else 0.0  # a drawing on nothing: the opposite of its ink
            paper = lonely if share < 0.5 else np.median(colour[opaque[..., 0] >= 0.5], 0)
            return colour * opaque + paper * (1 - opaque)
    return np.asarray(image.convert("RGB"), np.float32)
