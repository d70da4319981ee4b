"""What films are drawn on: sheets of 960×540 pixels in a few fixed colours, and the film that they make together.

Every number on a sheet is written through `Sheet.write`, together with what it is the value of. So a test can
compute each of them anew.
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mnistlab.figures import colours
from mnistlab.figures.colours import rgb
from mnistlab.live import player
from mnistlab.paths import written_whole

WIDTH, HEIGHT = 960, 540
SHORTEST = 60  # ms a frame; browsers slow down what is much quicker

Colour = tuple[int, int, int]
PAPER, INK, GREY, PALE = map(rgb, (colours.PAPER, colours.INK, colours.GREY, colours.PALE))
BLUE, ORANGE = rgb(colours.BLUE), rgb(colours.ORANGE)
YELLOW, GREEN, RED = rgb(colours.YELLOW), rgb(colours.GREEN), rgb(colours.RED)
STEPS = 9  # shades of blue and of orange

_LAYER = re.compile(r"\b(conv|norm|relu|pool|drop|dense)\d\b")


class Number(NamedTuple):
    """A value, and in words that a test understands what it is the value of, such as ("cell", "conv1", 3, 14, 9).

    name: what is written instead, where the value is the number of a class that has a name.
    """

    value: float
    origin: tuple[Any, ...]
    name: str = ""


class Words(NamedTuple):
    """A text as it stands on a sheet, the box around it (left, top, right, bottom), and the numbers in it."""

    text: str
    box: tuple[int, int, int, int]
    size: int
    form: str
    numbers: tuple[Number, ...]


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with this share of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def two_digits(limit: float) -> str:
    """How numbers up to ±`limit` are written into small cells: with decimals as far as there is room."""
    return "{:+.2f}" if limit < 9.995 else "{:+.1f}" if limit < 99.95 else "{:+.0f}"


SHADES = np.array(
    [mixed(PAPER, BLUE, step / STEPS) for step in range(STEPS, 0, -1)]
    + [mixed(PAPER, ORANGE, step / STEPS) for step in range(STEPS + 1)],
    dtype=np.uint8,
)
GREYS = np.array([mixed(PAPER, INK, step / 15) for step in range(16)], dtype=np.uint8)
PALETTE = [tuple(colour) for colour in np.concatenate([SHADES, GREYS[1:]]).tolist()]
PALETTE += [mixed(PAPER, colour, share) for colour in (YELLOW, GREEN, RED) for share in (0.3, 0.65, 1)]
PALETTE += [mixed(YELLOW, INK, share) for share in (0.35, 0.7)] + [mixed(BLUE, PAPER, 0.5), GREY, PALE]


class Sheet:
    """One frame in the making. Coordinates are pixels from the top left corner."""

    def __init__(self, other: "Sheet | None" = None) -> None:
        self.image: Image.Image = other.image.copy() if other else Image.new("RGB", (WIDTH, HEIGHT), PAPER)
        self.words: list[Words] = list(other.words) if other else []
        self.draw = ImageDraw.Draw(self.image)

    def write(
        self,
        at: tuple[float, float],
        form: str,
        *numbers: Number,
        size: int = 20,
        colour: Colour = INK,
        anchor: str = "la",
        bold: bool = False,
    ) -> None:
        """`form` with `numbers` in its braces. ValueError for a digit in `form` itself, except in layers' names.

        anchor: Pillow's, for example "la" where `at` is the top left corner, "mm" where it is the middle.
        """
        if re.search(r"\d", _LAYER.sub("", re.sub(r"{.*?}", "", form))):
            raise ValueError(f"{form!r} says a number that nobody can check; give it as a Number.")
        text = form.format(*(number.name or _Written(number.value) for number in numbers))
        font = _font(size, bold)
        left, top, right, bottom = map(int, self.draw.textbbox(at, text, font=font, anchor=anchor))
        self.words.append(Words(text, (left, top, right, bottom), size, form, numbers))
        self.draw.text(at, text, colour, font=font, anchor=anchor)

    def grey(self, at: tuple[int, int], pixels: Tensor, size: int) -> None:
        """(H, W) grey levels 0…255, ink dark, `size` pixels a cell."""
        self._paste(at, GREYS[(pixels.numpy().astype(int) * 15 + 127) // 255], size)

    def signed(self, at: tuple[int, int], values: Tensor, size: int, limit: float) -> None:
        """(H, W) values: blue below zero, white at zero, orange above, in full colour from ±`limit` on."""
        shade = (values.double().numpy() / (limit or 1)).clip(-1, 1) * STEPS
        self._paste(at, SHADES[np.rint(shade).astype(int) + STEPS], size)

    def box(self, left: float, top: float, width: float, height: float, colour: Colour, line: int = 0) -> None:
        """A rectangle, filled, or with `line` a frame of that many pixels around it."""
        left, top, right, bottom = round(left), round(top), round(left + width), round(top + height)
        if line:
            self.draw.rectangle((left - line, top - line, right + line - 1, bottom + line - 1), None, colour, line)
        elif right > left and bottom > top:
            self.draw.rectangle((left, top, right - 1, bottom - 1), colour)

    def hatch(self, left: int, top: int, side: int) -> None:
        """Slanting lines over a square: there is nothing in it."""
        for start in range(0, 2 * side, 8):
            ends = (max(0, start - side), min(start, side - 1)), (min(start, side - 1), max(0, start - side))
            self.draw.line([(left + x, top + y) for x, y in ends], fill=GREY)

    def _paste(self, at: tuple[int, int], colours: np.ndarray, size: int) -> None:
        self.image.paste(Image.fromarray(colours.repeat(size, 0).repeat(size, 1)), at)


def kind_of(path: str | Path) -> str:
    """gif or webp, after the name's ending; ValueError for another."""
    path = Path(path)
    if path.suffix not in (".gif", ".webp"):
        raise ValueError(f"A film is saved as .gif or .webp, not as {path.name}.")
    return path.suffix[1:]


@dataclass(repr=False)
class Film:
    """A film as its frames, how long each stands (ms), and the scenes: (first frame, title).

    label: says to those who cannot see it what it shows.  words: for every frame all that is written on it.
    """

    label: str
    palette: list[Colour]
    frames: list[Image.Image] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    scenes: list[tuple[int, str]] = field(default_factory=list)
    words: list[list[Words]] = field(default_factory=list)

    def add(self, sheet: Sheet, milliseconds: int) -> None:
        """One more frame; `milliseconds` is at least 60."""
        if milliseconds < SHORTEST:
            raise ValueError(f"A frame stands at least {SHORTEST} ms, not {milliseconds}.")
        self.frames.append(sheet.image.quantize(palette=_palette(tuple(self.palette)), dither=Image.Dither.NONE))
        self.durations.append(milliseconds)
        self.words.append(sheet.words)

    @property
    def seconds(self) -> float:
        return sum(self.durations) / 1000

    def encoded(self, kind: str = "gif") -> bytes:
        """The film as the bytes of a "gif", or of a "webp" (lossless), that begins again when it ends."""
        file = io.BytesIO()
        options = {"gif": {"disposal": 1}, "webp": {"lossless": True, "method": 4, "minimize_size": True}}[kind]
        first, *others = self.frames
        first.save(file, format=kind, save_all=True, append_images=others, duration=self.durations, loop=0, **options)
        return file.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the film whole, as *.gif or *.webp; ValueError for another ending."""
        kind = kind_of(path)
        with written_whole(path) as part:
            part.write_bytes(self.encoded(kind))
        return Path(path)

    def __repr__(self) -> str:
        return f"{self.label} ({len(self.frames)} frames, {self.seconds:.0f} s)"

    def _repr_html_(self) -> str:
        return player.html(self.encoded("webp"), self.label, self.scenes)

    def end(self, scene: int) -> int:
        """The last frame of a scene."""
        starts = [frame for frame, _ in self.scenes]
        return [*starts[1:], len(self.frames)][scene] - 1

    def still(self, frame: int) -> Image.Image:
        """One frame as an RGB picture."""
        return self.frames[frame].convert("RGB")

    def contact_sheet(self, frames: Iterable[int] | None = None, columns: int = 4, width: int = 480) -> Image.Image:
        """These frames (default: all) side by side, each `width` pixels wide."""
        chosen = list(range(len(self.frames)) if frames is None else frames)
        height = width * HEIGHT // WIDTH
        sheet = Image.new("RGB", (columns * width, -(-len(chosen) // columns) * height), GREY)
        for place, frame in enumerate(chosen):
            small = self.still(frame).resize((width - 2, height - 2), Image.Resampling.LANCZOS)
            sheet.paste(small, (place % columns * width + 1, place // columns * height + 1))
        # in the film's own colours: chosen anew, a rare blue would turn into another one
        return sheet.quantize(palette=_palette(tuple(self.palette)), dither=Image.Dither.NONE).convert("RGB")


class _Written(NamedTuple):
    """A number as it is written: with a true minus sign, and without a sign where only zeros are left of it."""

    value: float

    def __format__(self, form: str) -> str:
        text = format(self.value, form)
        return text.replace("-", "−") if re.search("[1-9]", text) else text.lstrip("+-")


@cache
def _palette(colours: tuple[Colour, ...]) -> Image.Image:
    picture = Image.new("P", (1, 1))
    picture.putpalette([part for colour in colours for part in colour])
    return picture


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # which brings the fonts

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf"), size)
