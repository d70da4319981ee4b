"""How every figure looks: colours, sizes, titles, and the few things that all of them draw.

Ink is dark on light paper, as on a page. Signed values run from blue over white (exactly zero) to orange, on
a scale as long on one side as on the other.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image
from torch import Tensor

from mnistlab.figures import colours

INK = "gray_r"
BLUE, ORANGE, GREEN, GREY = colours.BLUE, colours.ORANGE, colours.GREEN, colours.GREY
SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, colours.PAPER, ORANGE])
DPI = 110


def titled(width: float, height: float, title: str, source: str = "") -> Figure:
    figure = Figure((width, height), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold", ha="left", x=0.01, parse_math=False)
    if source and source != "MNIST":
        figure.supxlabel(f"Digits: {source}", fontsize=9, color=ORANGE, parse_math=False)
    return figure


def heading(axes: Axes, text: str | int, **style: object) -> None:
    """A title as it is: the $ in a file's name begins no formula."""
    axes.set_title(text, parse_math=False, **style)


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


def draw_mosaic(axes: Axes, tiles: Tensor, columns: int, *, limit: float) -> int:
    """(K, h, w) signed tables as one picture, in reading order, grey lines between; returns the tiles' pitch."""
    tiles = np.asarray(tiles, dtype=float)
    scale = max(1, 28 // tiles.shape[-1])
    tiles = np.pad(tiles.repeat(scale, 1).repeat(scale, 2), [(0, 0), (1, 0), (1, 0)], constant_values=np.nan)
    rows = -(-len(tiles) // columns)
    high, wide = tiles.shape[1:]
    table = np.full((rows * columns, high, wide), np.nan)
    table[: len(tiles)] = tiles
    table = table.reshape(rows, columns, high, wide).swapaxes(1, 2).reshape(rows * high, columns * wide)
    table = np.pad(table, [(0, 1), (0, 1)], constant_values=np.nan)
    draw(bare(axes), table, signed=True, limit=limit)
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
