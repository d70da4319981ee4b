"""How every figure looks: colours, sizes, titles, and the few things that all of them draw.

Ink is dark on light paper, as on a page. Signed values run from blue over white (exactly zero) to orange, on
a scale as long on one side as on the other.
"""

import base64
import io
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image
from torch import Tensor

from mnistlab.figures import colours

INK = "gray_r"
BLUE, ORANGE, GREEN, GREY = colours.BLUE, colours.ORANGE, colours.GREEN, colours.GREY
SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, colours.PAPER, ORANGE])
DPI = 110


class Sourced(Protocol):
    """Digits, Predictions: whatever says in words what it is of."""

    @property
    def source(self) -> str: ...


class Figure(MatplotlibFigure):
    """A figure that knows its title and its alt text, and shows itself where it is the last line of a cell.

    title: what the figure shows, as a sentence.  alt: the same for readers who can't see it: what is drawn, and what
    it shows; by default followed by the title.  of: the noun that was drawn; where its source is not MNIST, the
    figure says so.
    """

    def __init__(self, width: float, height: float, title: str, alt: str, of: Sourced | None = None) -> None:
        super().__init__((width, height), layout="constrained")
        self.title, self.alt = title, f"{alt} {title}"
        self.suptitle(title, fontsize=14, fontweight="bold", ha="left", x=0.01, parse_math=False)
        if of is not None and of.source and of.source.split(",")[0] != "MNIST":
            what = getattr(of, "what", "digits").capitalize()
            self.supxlabel(f"{what}: {of.source}", fontsize=9, color=ORANGE, parse_math=False)

    def png(self) -> bytes:
        """The figure as it is shown and kept, on white."""
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
        return _small(Image.open(drawn).convert("RGB"))

    def _ipython_display_(self) -> None:
        _display(self.png(), self.alt)


class Still:
    """A picture, such as a film's still, with its alt text; it shows itself where it is the last line of a cell."""

    def __init__(self, picture: Image.Image, alt: str) -> None:
        self.picture, self.alt = picture, alt

    def png(self) -> bytes:
        return _small(self.picture.quantize(256, dither=Image.Dither.NONE))

    def _ipython_display_(self) -> None:
        _display(self.png(), self.alt)


def _small(picture: Image.Image) -> bytes:
    png = io.BytesIO()
    picture.save(png, format="png", optimize=True)
    return png.getvalue()


def _display(png: bytes, alt: str) -> None:
    from IPython.display import display

    content = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    display(content, raw=True, metadata={"image/png": {"alt": alt}})


def heading(axes: Axes, text: str | int, **style: Any) -> None:
    """A title as it is: the $ in a file's name begins no formula."""
    axes.set_title(str(text), parse_math=False, **style)


def bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def draw(axes: Axes, image: Tensor | np.ndarray, *, signed: bool = False, limit: float | None = None) -> None:
    image = np.asarray(image, dtype=float)
    if signed:
        limit = limit or float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap=SIGNED, vmin=-limit, vmax=limit)
    else:
        axes.imshow(image, cmap=INK, vmin=0, vmax=limit or 255)


def write_numbers(axes: Axes, numbers: np.ndarray, form: str, *, dark: float, fontsize: float) -> None:
    """Each number into its cell, white where its size is above `dark`."""
    for (row, column), value in np.ndenumerate(numbers):
        text = f"{value + 0.0:{form}}".replace("-", "−")  # + 0.0 turns a negative zero into a plain one
        colour = "white" if abs(value) > dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=fontsize, color=colour)


def log_axis(axis: Axis) -> None:
    """A logarithmic axis with plain numbers, the more to a decade the fewer decades there are."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=range(1, 10) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def draw_mosaic(axes: Axes, tiles: Tensor | np.ndarray, columns: int, *, limit: float) -> int:
    """(K, h, w) signed tables as one picture, in reading order, grey lines between; returns the tiles' pitch."""
    signed = np.asarray(tiles, dtype=float)
    scale = max(1, 28 // signed.shape[-1])
    signed = np.pad(signed.repeat(scale, 1).repeat(scale, 2), [(0, 0), (1, 0), (1, 0)], constant_values=np.nan)
    rows = -(-len(signed) // columns)
    high, wide = map(int, signed.shape[1:])
    grid = np.full((rows * columns, high, wide), np.nan)
    grid[: len(signed)] = signed
    page = grid.reshape(rows, columns, high, wide).swapaxes(1, 2).reshape(rows * high, columns * wide)
    draw(bare(axes), np.pad(page, [(0, 1), (0, 1)], constant_values=np.nan), signed=True, limit=limit)
    axes.images[0].set(interpolation="nearest", cmap=SIGNED.resampled(65))  # fewer shades make a smaller file
    axes.set_facecolor("#cccccc")
    return wide


def draw_any(axes: Axes, picture: Tensor | np.ndarray) -> None:
    """Colours as they are, (H, W, 3) uint8; (H, W) as ink, 0…255 where it is uint8, else 0…1."""
    picture = np.asarray(picture)
    if picture.ndim == 3:  # fewer pixels and shades make a smaller file
        small = Image.fromarray(picture)
        small.thumbnail((84, 84))
        axes.imshow((np.asarray(small) / 5).round().astype(np.uint8) * 5, interpolation="nearest")
    else:
        limit = 255 if picture.dtype == np.uint8 else 1
        draw(axes, (picture * (16 / limit)).round(), limit=16)
    axes.set(xticks=[], yticks=[], anchor="N")
    axes.spines[:].set_color("#bbbbbb")
