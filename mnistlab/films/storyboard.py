"""The film of one digit's way through the network, in thirteen scenes, from 784 pixels to one answer.

One cell is followed all the way (green); each number that is written was computed by the network for this digit.
Geometry may move between two frames, numbers never do.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnistlab.data.digits import called
from mnistlab.films.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PALETTE,
    PAPER,
    RED,
    STEPS,
    YELLOW,
    Colour,
    Film,
    Number,
    Sheet,
    mixed,
    two_digits,
)
from mnistlab.inspection.trace import PIXELS, Ledger, Trace
from mnistlab.networks.layers import layer_table, receptive_field
from mnistlab.networks.models import CNN

RIBBON = [PIXELS, "conv1", "conv2", "pool1", "conv3", "conv4", "pool2", "conv5", "pool3", "dense1", "dense2"]
LEFT, TOP = 256, 84  # where the stage begins
DIGIT = 7  # pixels a pixel of the digit, on the left
BRIEF = 60  # ms


@dataclass
class Story:
    """What all scenes share: the trace, the tracked cell's ledger in every layer, and the film so far."""

    trace: Trace
    film: Film
    ways: dict[str, Ledger] = field(init=False)
    scene: int = -1

    def __post_init__(self) -> None:
        layers = nn.Sequential(OrderedDict((name, step.layer) for name, step in self.trace.steps.items()))
        self.ways = {ledger.name: ledger for ledger in self.trace.way()}
        self.table = layer_table(layers).set_index("name")
        self.fields = receptive_field(layers)

    def begin(self, title: str) -> None:
        self.scene += 1
        self.film.scenes.append((len(self.film.frames), title))

    def sheet(self, layer: str, caption: str, *numbers: Number) -> Sheet:
        """A frame with everything but the stage: caption, progress, the digit with the tracked cell's view, ribbon."""
        sheet = Sheet()
        sheet.write((24, 12), caption, *numbers, size=26, bold=True)
        for scene in range(len(SCENES)):
            colour = GREY if scene < self.scene else YELLOW if scene == self.scene else PALE
            sheet.box(24 + scene * 70.3, 54, 66, 6, colour)
        sheet.grey((24, TOP), self.trace.digit[0], DIGIT)
        sheet.box(24, TOP, 28 * DIGIT, 28 * DIGIT, PALE, line=1)
        self._ribbon(sheet, layer)
        return sheet

    def see(self, sheet: Sheet, layer: str, colour: Colour = GREEN) -> None:
        """On the digit, the pixels that the tracked cell of `layer` can see."""
        size, step, start = self.fields.loc[layer]
        row, column = (start + step * at for at in self.ways[layer].cell[1:])
        top, left = max(row, 0), max(column, 0)
        high, wide = min(row + size, 28) - top, min(column + size, 28) - left
        sheet.box(24 + left * DIGIT, TOP + top * DIGIT, wide * DIGIT, high * DIGIT, colour, line=3)
        sides = Number(int(high), ("field", layer, 0)), Number(int(wide), ("field", layer, 1))
        sheet.write((24, 290), "The tracked cell", colour=colour, bold=True)
        sheet.write((24, 316), f"of {layer} sees", colour=colour)
        sheet.write((24, 342), "{}×{} pixels.", *sides, colour=colour)

    def _ribbon(self, sheet: Sheet, layer: str) -> None:
        for place, name in enumerate(RIBBON):
            left = 24 + place * 83.2
            here = name == layer
            sheet.box(left, 456, 79, 32, YELLOW if here else PALE)
            sheet.write((left + 39.5, 472), name, size=18, anchor="mm", bold=here)
        if layer == PIXELS:
            sides = Number(28, ("shape", PIXELS, 1)), Number(28, ("shape", PIXELS, 2))
            sheet.write((24, 502), "pixels: {}×{} numbers from {} (paper) to {} (ink)", *sides, *ENDS, size=20)
            return
        shape = [Number(size, ("shape", layer, axis)) for axis, size in enumerate(self.trace[layer].output.shape)]
        form = f"{layer}: {{}} maps of {{}}×{{}}" if len(shape) == 3 else f"{layer}: {{}} numbers"
        costs = [Number(int(self.table.loc[layer, cost]), (cost, layer)) for cost in ("parameters", "multiply_adds")]
        if costs[0].value:
            sheet.write((24, 502), f"{form} · {{:,}} parameters · {{:,}} multiply-adds", *shape, *costs, size=20)
        else:
            sheet.write((24, 502), f"{form} · no parameters", *shape, size=20)

    def cell(self, layer: str) -> Number:
        """The tracked cell's value after `layer`."""
        ledger = self.ways[layer]
        return Number(ledger.output, ("cell", layer, *ledger.cell))

    def limit(self, layer: str) -> float:
        """The layer's scale: nearly all of its cells lie within, so that one outlier does not bleach the rest."""
        return float(self.trace[layer].output.abs().double().quantile(0.995))

    def scale(self, sheet: Sheet, layer: str, top: int = 428) -> None:
        limit = Number(self.limit(layer), ("limit", layer))
        sheet.write((LEFT, top + 2), "white: zero · full colour: ±{:.2f} and beyond", limit, size=18, colour=GREY)

    def maps(
        self, sheet: Sheet, layer: str, shape: tuple[int, int, int], values: Tensor | None = None
    ) -> list[tuple[int, int]]:
        """All maps of a layer in their fixed order: (columns, pitch, pixels a cell). Where each one lies."""
        columns, pitch, size = shape
        values = self.trace[layer].output if values is None else values
        places = [(LEFT + n % columns * pitch, TOP + n // columns * pitch) for n in range(len(values))]
        for place, one in zip(places, values, strict=True):
            sheet.signed(place, one, size, self.limit(layer))
            sheet.box(*place, one.shape[1] * size, one.shape[0] * size, PALE, line=1)
        tracked = self.ways[layer].cell[0]
        side = values.shape[1] * size
        sheet.box(*places[tracked], side, side, GREEN, line=3)
        return places


GRIDS = {"1": (8, 86, 3), "2": (11, 57, 4), "3": (16, 42, 5)}  # columns, pitch, pixels a cell, before pooling
POOLED = {"pool1": (8, 86, 6), "pool2": (11, 57, 8), "pool3": (16, 42, 12)}
ENDS = Number(0, ("grey level of paper",)), Number(255, ("grey level of ink",))


def forward(trace: Trace, show_progress: bool = True) -> Film:
    """The film of `trace`, a trace of the reference CNN: about forty seconds, from the pixels to the verdict.

    ValueError for another network, whose layers the storyboard does not know, and where the way of the tracked cell
    can only begin at the border. The progress shows in a terminal.
    """
    from tqdm import tqdm

    if list(trace.steps) != [name for name, _ in CNN().named_children()]:
        raise ValueError("The film follows the reference network, layer by layer; trace a CNN.")
    read, ten = trace.classes[trace.prediction], "ten " if len(trace.classes) == 10 else ""
    says = f"A {read} is read" if trace.truth is None else f"A {trace.classes[trace.truth]} is read as {read}"
    story = Story(trace, Film(f"{says}: each step of the network, from the pixels to the {ten}probabilities", PALETTE))
    if len(story.ways["conv1"].cells) < 9:
        raise ValueError("Every way through the network begins at the picture's border here; film another digit.")
    for scene in tqdm(SCENES, desc="scenes", disable=None if show_progress else True, leave=False):
        scene(story)
    return story.film


def _class(trace: Trace, label: int, origin: tuple[str | int, ...]) -> Number:
    """A class as it is written: a digit as a number, another by its name."""
    name = trace.classes[label]
    return Number(label, origin, "" if name == str(label) else name)


def question(story: Story) -> None:
    story.begin("What will it say?")
    sheet = story.sheet(PIXELS, "What will it say?")
    sheet.grey((LEFT + 180, TOP), story.trace.digit[0], 12)
    sheet.box(LEFT + 180, TOP, 336, 336, PALE, line=1)
    story.film.add(sheet, 1500)


def numbers(story: Story) -> None:
    """A patch grows out of the digit, and turns into numbers."""
    story.begin("A picture is numbers")
    rows, columns = _window(story)
    sheet = story.sheet(PIXELS, "A picture is a table of numbers")
    side = 3 * DIGIT
    start = 24 + columns[0] * DIGIT, TOP + rows[0] * DIGIT
    sheet.box(*start, side, side, YELLOW, line=3)
    patch = story.trace.digit[0, rows[0] : rows[0] + 3, columns[0] : columns[0] + 3]
    goal, size = (LEFT + 40, TOP + 40), 72
    for step in range(1, 9):
        moving = Sheet(sheet)
        share = step / 8
        left, top = (round(a + (b - a) * share) for a, b in zip(start, goal, strict=True))
        cell = round(DIGIT + (size - DIGIT) * share)
        moving.grey((left, top), patch, cell)
        moving.box(left, top, 3 * cell, 3 * cell, YELLOW, line=3)
        story.film.add(moving, BRIEF)
    sheet = moving
    sheet.write((goal[0], TOP), "as they lie in the file", size=20)
    _table(sheet, goal, size, patch, [Number(int(v), ("grey", r, c)) for v, (r, c) in _cells(patch, rows, columns)])
    story.film.add(sheet, 900)
    sheet = Sheet(sheet)
    sheet.write((LEFT + 400, TOP), "as the network gets them", size=20)
    normal = story.trace.pixels[0, rows[0] : rows[0] + 3, columns[0] : columns[0] + 3]
    shown = [Number(float(v), ("pixel", r, c)) for v, (r, c) in _cells(normal, rows, columns)]
    _table(sheet, (LEFT + 400, TOP + 40), size, patch, shown, "{:+.2f}")
    sheet.write((LEFT, TOP + 280), "Normalised: over all training digits, the mean is zero and the", size=20)
    sheet.write((LEFT, TOP + 308), "spread is one. Paper is a little below zero.", size=20)
    story.film.add(sheet, 1600)


def products(story: Story) -> None:
    """Nine products, their running sum, the bias, batch norm, ReLU: one cell."""
    story.begin("One cell by hand")
    trace, ledger = story.trace, story.ways["conv1"]
    rows, columns = _window(story)
    channel = ledger.cell[0]
    sheet = story.sheet("conv1", "Nine pixels times nine weights make one cell")
    sheet.box(24 + columns[0] * DIGIT, TOP + rows[0] * DIGIT, 3 * DIGIT, 3 * DIGIT, YELLOW, line=3)
    size, tops = 58, TOP + 34
    lefts = LEFT, LEFT + 246, LEFT + 492
    pixels, weights = trace.pixels[0][rows[0] :, columns[0] :][:3, :3], _weights(story, "conv1")[channel, 0]
    grey = trace.digit[0, rows[0] : rows[0] + 3, columns[0] : columns[0] + 3]
    sheet.write((lefts[0], TOP), "pixels", size=20)
    sheet.write((lefts[1], TOP), "filter: weights", size=20)
    sheet.write((lefts[2], TOP), "products", size=20)
    sheet.write((LEFT + 210, tops + 87), "×", size=34, anchor="mm")
    sheet.write((LEFT + 456, tops + 87), "=", size=34, anchor="mm")
    shown = [Number(float(v), ("pixel", r, c)) for v, (r, c) in _cells(pixels, rows, columns)]
    _table(sheet, (lefts[0], tops), size, grey, shown, "{:+.2f}", text=18)
    shown = [Number(float(v), ("weight", "conv1", channel, 0, n // 3, n % 3)) for n, v in enumerate(weights.flatten())]
    _signed_table(sheet, (lefts[1], tops), size, weights, shown, float(weights.abs().max()))
    sheet.box(lefts[2], tops, 174, 174, PALE, line=1)
    story.film.add(sheet, 600)

    limit = float(ledger.products.abs().max())
    total = 0.0
    for term, product in enumerate(ledger.products.tolist()):
        total += product
        at = term % 3 * size, term // 3 * size
        sheet = Sheet(sheet)
        sheet.signed((lefts[2] + at[0], tops + at[1]), torch.tensor([[product]]), size, limit)
        number = Number(product, ("product", "conv1", *ledger.cell, term))
        light = abs(product) > 0.6 * limit
        middle = lefts[2] + at[0] + size / 2, tops + at[1] + size / 2
        sheet.write(middle, two_digits(limit), number, size=18, anchor="mm", colour=PAPER if light else INK)
        now = Sheet(sheet)
        for left in lefts:
            now.box(left + at[0], tops + at[1], size, size, YELLOW, line=3)
        running = Number(total, ("running sum", "conv1", *ledger.cell, term))
        now.write((LEFT, 318), "sum so far {:+.3f}", running, size=24)
        story.film.add(now, 220)

    products_sum = Number(total, ("running sum", "conv1", *ledger.cell, 8))
    bias = Number(ledger.bias, ("bias", "conv1", channel))
    sheet.write((LEFT, 304), "sum {:+.3f}, bias {:+.3f}: {:+.3f}", products_sum, bias, story.cell("conv1"), size=24)
    story.film.add(sheet, 700)
    sheet = Sheet(sheet)
    norm = story.ways["norm1"]
    scale = Number(float(norm.weights[0]), ("scale", "norm1", channel))
    shift = Number(norm.bias, ("shift", "norm1", channel))
    form = "batch norm: times {:.3f}, plus {:+.3f}: {:+.3f}"
    sheet.write((LEFT, 339), form, scale, shift, story.cell("norm1"), size=24)
    story.film.add(sheet, 700)
    sheet = Sheet(sheet)
    passes = "above zero, so it stays" if story.cell("relu1").value > 0 else "not above zero, so it becomes"
    sheet.write((LEFT, 374), f"ReLU: {passes} {{:+.3f}}", story.cell("relu1"), size=24)
    story.film.add(sheet, 700)
    sheet = Sheet(sheet)
    sheet.box(LEFT, 412, 30, 30, GREEN)
    sheet.write((LEFT + 44, 414), "This cell we shall follow to the end.", size=22, colour=GREEN, bold=True)
    story.film.add(sheet, 1500)


def sliding(story: Story) -> None:
    """The filter slides over the digit: the tracked cell's row cell by cell, the others row by row."""
    story.begin("The same nine weights everywhere")
    channel, row, column = story.ways["conv1"].cell
    values, limit = story.trace["conv1"].output[channel], story.limit("conv1")
    weights = _weights(story, "conv1")[channel, 0]
    base = story.sheet("conv1", "The same nine weights everywhere: a feature map")
    base.write((620, TOP), "one filter", size=20)
    base.signed((620, TOP + 32), weights, 30, float(weights.abs().max()))
    base.box(620, TOP + 32, 90, 90, INK, line=1)
    base.box(LEFT, TOP, 336, 336, PALE, line=1)
    story.scale(base, "conv1")
    done = torch.zeros(28, 28, dtype=torch.bool)

    def frame(rows: slice, columns: slice, at: tuple[int, int], milliseconds: int) -> None:
        done[rows, columns] = True
        sheet = Sheet(base)
        sheet.signed((LEFT, TOP), values.where(done, torch.zeros(())), 12, limit)
        top, bottom = max(at[0] - 1, 0), min(at[0] + 2, 28)
        left, right = (0, 28) if columns == slice(None) else (max(at[1] - 1, 0), min(at[1] + 2, 28))
        sheet.box(24 + left * DIGIT, TOP + top * DIGIT, (right - left) * DIGIT, (bottom - top) * DIGIT, YELLOW, line=3)
        if columns == slice(None):
            sheet.box(LEFT, TOP + 12 * at[0], 336, 12, YELLOW, line=2)
        else:
            sheet.box(LEFT + 12 * at[1], TOP + 12 * at[0], 12, 12, YELLOW, line=3)
            sheet.write((620, TOP + 150), "this cell", size=20)
            number = Number(float(values[at]), ("cell", "conv1", channel, *at))
            sheet.write((620, TOP + 178), "{:+.3f}", number, size=26, bold=True)
        if done[row, column]:
            sheet.box(LEFT + 12 * column, TOP + 12 * row, 12, 12, GREEN, line=3)
        story.film.add(sheet, milliseconds)

    for one in range(row):
        frame(slice(one, one + 1), slice(None), (one, 0), BRIEF)
    for one in range(28):
        frame(slice(row, row + 1), slice(one, one + 1), (row, one), BRIEF)
    for one in range(row + 1, 28):
        frame(slice(one, one + 1), slice(None), (one, 0), BRIEF)
    sheet = Sheet(base)
    sheet.signed((LEFT, TOP), values, 12, limit)
    sheet.box(LEFT + 12 * column, TOP + 12 * row, 12, 12, GREEN, line=3)
    story.see(sheet, "conv1")
    story.film.add(sheet, 1000)


def all_maps(story: Story) -> None:
    story.begin("All maps of the first layer")
    maps = len(story.trace["norm1"].output)
    count = Number(maps, ("shape", "norm1", 0))
    sheet = story.sheet("conv1", "{} filters make {} maps, here after batch norm", count, count)
    story.see(sheet, "conv1")
    places = story.maps(sheet, "norm1", GRIDS["1"])
    story.scale(sheet, "norm1")
    dead = [channel for channel, one in enumerate(story.trace["relu1"].output) if not one.any()]
    for channel in dead:
        sheet.hatch(*places[channel], 84)
    number = Number(len(dead), ("maps without a cell above zero", "norm1"))
    sheet.write((24, 388), "Blank after ReLU:", size=18)
    sheet.write((24, 412), "{} of {} maps" + (" (hatched)" if dead else ""), number, count, size=18)
    story.film.add(sheet, 2000)


def rectified(story: Story) -> None:
    """A line passes over the maps: on its left they are after ReLU, on its right before."""
    story.begin("ReLU")
    before, after = story.trace["norm1"].output, story.trace["relu1"].output
    for column in range(0, 29, 2):
        sheet = story.sheet("conv1", "ReLU: what is below zero becomes zero")
        story.see(sheet, "conv1")
        mixture = torch.cat([after[..., :column], before[..., column:]], dim=-1)
        story.maps(sheet, "norm1", GRIDS["1"], mixture)
        story.scale(sheet, "norm1")
        if column < 28:
            story.film.add(sheet, BRIEF)
    share = Number(float((after == 0).double().mean()), ("share of zeros", "relu1"))
    cells = Number(after.numel(), ("cells", "relu1"))
    sheet.write((24, 388), "{:.0%} of {:,} cells", share, cells, size=18)
    sheet.write((24, 412), "are now zero.", size=18)
    story.film.add(sheet, 1500)


def deeper(story: Story) -> None:
    """One cell of the second convolution, then its maps."""
    story.begin("A deeper cell")
    maps = Number(len(story.trace["conv2"].input), ("shape", "relu1", 0))
    _sum_of_maps(story, "conv2", "norm2", "relu2", True, "A deeper cell adds up all {} maps before it", maps)
    sheet = story.sheet("conv2", "The second layer's maps, after batch norm and ReLU")
    story.see(sheet, "conv2")
    story.maps(sheet, "relu2", GRIDS["1"])
    story.scale(sheet, "relu2")
    story.film.add(sheet, 1500)


def pooling(story: Story) -> None:
    """Of every four cells the largest moves on."""
    story.begin("Pooling")
    channel, row, column = story.ways["pool1"].cell
    maps = Number(len(story.trace["pool1"].output), ("shape", "pool1", 0))
    before, after = story.trace["relu2"].output[channel], story.trace["pool1"].output[channel]
    limit = story.limit("relu2")
    right = LEFT + 400
    base = story.sheet("pool1", "Pooling: of four cells the largest moves on")
    base.write((24, 388), "Map {} of {}", Number(channel, ("tracked map", "pool1")), maps, size=18)
    base.signed((LEFT, TOP), before, 9, limit)
    base.box(LEFT, TOP, 252, 252, PALE, line=1)
    base.box(right, TOP, 252, 252, PALE, line=1)
    story.scale(base, "relu2")
    winners = F.max_pool2d(before[None], 2, return_indices=True)[1][0]
    for one in range(14):
        base.signed((right, TOP + 18 * one), after[one : one + 1], 18, limit)
        sheet = Sheet(base)
        for place in range(14):
            sheet.box(LEFT + 18 * place, TOP + 18 * one, 18, 18, YELLOW, line=1)
            down, along = divmod(int(winners[one, place]), 28)
            sheet.box(LEFT + 9 * along, TOP + 9 * down, 9, 9, INK, line=1)
        sheet.box(right, TOP + 18 * one, 252, 18, YELLOW, line=2)
        story.film.add(sheet, 70)
    window = story.ways["pool1"]
    won = int(window.products.argmax())
    down, along = window.cells[won, 1:].tolist()
    places = window.cells.tolist()
    four = [Number(float(v), ("cell", "relu2", *at)) for v, at in zip(window.values, places, strict=True)]
    story.see(base, "pool1")
    base.write((LEFT, 352), "Our four cells: {:.2f}, {:.2f}, {:.2f}, {:.2f}", *four, size=22)
    base.box(LEFT + 18 * column, TOP + 18 * row, 18, 18, GREEN, line=2)
    start, goal = (LEFT + 9 * along, TOP + 9 * down), (right + 18 * column, TOP + 18 * row)
    for step in range(9):
        sheet = Sheet(base)
        share = step / 8
        x, y = (a + (b - a) * share for a, b in zip(start, goal, strict=True))
        size = 9 + 9 * share
        sheet.box(x, y, size, size, mixed(PAPER, ORANGE, min(1, float(window.output) / (limit or 1))))
        sheet.box(x, y, size, size, GREEN, line=3)
        if step == 8:
            sheet.write(
                (LEFT, 384), "The largest moves on: {:.2f}", story.cell("pool1"), size=22, colour=GREEN, bold=True
            )
        story.film.add(sheet, 90 if step < 8 else 1200)


def blocks(story: Story) -> None:
    """The same again in blocks two and three, faster."""
    story.begin("Again, deeper")
    for number, conv, pool in (("3", "conv3", None), ("4", "conv4", "pool2"), ("5", "conv5", "pool3")):
        norm, relu, grid = f"norm{number}", f"relu{number}", GRIDS["2" if number in "34" else "3"]
        maps = Number(len(story.trace[conv].input), ("shape", story.trace.before(conv), 0))
        _sum_of_maps(story, conv, norm, relu, False, f"{conv} adds up all {{}} maps before it", maps)
        count = Number(len(story.trace[relu].output), ("shape", relu, 0))
        for layer, shape in ((relu, grid), *([(pool, POOLED[pool])] if pool else [])):
            named = conv if layer == relu else layer
            what = "after ReLU" if layer == relu else "the largest of every four cells"
            caption = f"{named}: {{}} maps, {what}"
            sheet = story.sheet(named, caption, count)
            story.see(sheet, named)
            story.maps(sheet, layer, shape)
            story.scale(sheet, layer)
            story.film.add(sheet, 750)


def flatten(story: Story) -> None:
    """The last maps are written in one row; the tracked cell keeps its place."""
    story.begin("In one row, and weighed")
    values, limit = story.trace["pool3"].output, story.limit("pool3")
    place = story.ways["flatten"].cell[0]
    tracked = story.ways["pool3"].cell
    columns, pitch, size = POOLED["pool3"]
    count = Number(values.numel(), ("shape", "flatten", 0))
    for step in range(7):
        share = step / 6
        sheet = story.sheet("pool3", "All that is left of the picture: {:,} numbers in a row", count)
        story.see(sheet, "pool3")
        for index, (channel, row, column) in enumerate(_every(values.shape)):
            start = LEFT + channel % columns * pitch + column * size, TOP + channel // columns * pitch + row * size
            goal = LEFT + index % 96 * 7, TOP + index // 96 * 11
            x, y = (a + (b - a) * share for a, b in zip(start, goal, strict=True))
            wide, high = (a + (b - a) * share for a, b in ((size, 7), (size, 11)))
            green = (channel, row, column) == tracked
            shade = min(round(STEPS * float(values[channel, row, column]) / (limit or 1)), STEPS) / STEPS
            sheet.box(x, y, wide, high, GREEN if green else mixed(PAPER, ORANGE, shade))
        if step == 6:
            sheet.box(LEFT, TOP, 672, 132, PALE, line=1)
            sheet.write((LEFT, 232), "The row is broken in twelve lines to fit the screen.", size=20)
            nth = Number(place, ("place in the row", *tracked))
            sheet.write(
                (LEFT, 262),
                "Counted from zero, ours is number {:,}: {:.2f}",
                nth,
                story.cell("flatten"),
                size=22,
                colour=GREEN,
            )
        story.film.add(sheet, 80 if step < 6 else 1500)
    _unit(story, count)


def _unit(story: Story, count: Number) -> None:
    """One unit of the first dense layer."""
    sheet = story.sheet("dense1", "A dense unit weighs all {:,} numbers", count)
    ledger = story.ways["dense1"]
    top = _sum_lines(story, sheet, ledger, LEFT, TOP, 5, "number", _longest(ledger, 5))
    norm, relu = story.cell("norm6"), story.cell("relu6")
    sheet.write((LEFT, top + 6), "after batch norm {:+.2f}, after ReLU {:+.2f}", norm, relu, size=22)
    units, limit = story.trace["relu6"].output, story.limit("relu6")
    number = Number(len(units), ("shape", "relu6", 0))
    sheet.write((LEFT, top + 50), "All {} units, ours in green:", number, size=20)
    sheet.signed((LEFT, top + 80), units.reshape(4, 64), 10, limit)
    sheet.box(LEFT, top + 80, 640, 40, PALE, line=1)
    unit = ledger.cell[0]
    sheet.box(LEFT + unit % 64 * 10, top + 80 + unit // 64 * 10, 10, 10, GREEN, line=3)
    story.scale(sheet, "relu6")
    story.film.add(sheet, 2000)


def votes(story: Story) -> None:
    """What makes the winner's logit, and beside it the runner-up's, or the right answer's where the winner is wrong."""
    story.begin("Votes for and against")
    trace = story.trace
    rival = trace.ranking[1] if trace.truth in (None, trace.prediction) else trace.truth
    sheet = story.sheet("dense2", "Every unit votes: the ten strongest for each answer")
    ledgers = {digit: trace.ledger("dense2", digit) for digit in (trace.prediction, rival)}
    longest = max(_longest(ledger, 10) for ledger in ledgers.values())
    for place, (digit, origin) in enumerate(((trace.prediction, ("prediction",)), (rival, ("rival",)))):
        left = LEFT + 352 * place
        colour = INK if trace.truth in (None, trace.prediction) else RED if place == 0 else INK
        sheet.write((left, TOP - 8), "for the {}", _class(trace, digit, origin), size=22, bold=True, colour=colour)
        _sum_lines(story, sheet, ledgers[digit], left, TOP + 20, 10, "unit", longest, width=110)
        story.film.add(sheet, 1400 + 600 * place)
        sheet = Sheet(sheet)


def softmax(story: Story) -> None:
    """Logits become probabilities; of more than ten classes, the ten likeliest are shown."""
    story.begin("From scores to probabilities")
    logits, probabilities = story.trace.logits.double(), story.trace.logits.double().softmax(0)
    powers = logits.exp()
    shown = sorted(story.trace.ranking[:10])
    few = len(shown) == len(powers)
    heading = "From ten scores to ten probabilities" if len(powers) == 10 else "From scores to probabilities"
    sheet = story.sheet("dense2", heading if few else f"{heading}: the likeliest")
    lefts = LEFT, LEFT + 96, LEFT + 220, LEFT + 400
    form = "{:,.3f}" if float(powers.sum()) < 1e6 else "{:.2e}"
    sheet.write((lefts[0], TOP - 6), called(story.trace.classes)[:-1] if few else "sign", size=20)
    rows = {digit: TOP + 22 + 31 * place for place, digit in enumerate(shown)}
    columns = (
        ("logit", lefts[1], logits, "{:+.2f}", "logit"),
        ("e to the logit", lefts[2], powers, form, "power"),
        ("divided by their sum", lefts[3], probabilities, "{:.2%}", "probability"),
    )
    for digit, top in rows.items():
        sign = _class(story.trace, digit, ("digit", digit))
        at, size = (lefts[0] + (0 if sign.name[1:] else 20), top), 16 if sign.name[3:] else 22
        sheet.write(at, "{}", sign, size=size, bold=digit == story.trace.prediction)
    for name, left, values, form, kind in columns:
        sheet = Sheet(sheet)
        sheet.write((left, TOP - 6), name, size=20)
        for digit, top in rows.items():
            winner = digit == story.trace.prediction
            number = Number(float(values[digit]), (kind, digit))
            sheet.write((left, top), form, number, size=20, bold=winner)
            if kind == "probability":
                sheet.box(left + 104, top + 3, 180 * float(values[digit]), 18, GREY if not winner else INK)
        if kind == "power":
            total = Number(float(powers.sum()), ("sum of powers",))
            sheet.write((lefts[2], TOP + 336), f"sum {form}", total, size=20)
        story.film.add(sheet, 700 if kind != "probability" else 1600)


def verdict(story: Story) -> None:
    story.begin("The verdict")
    trace = story.trace
    wrong = trace.truth not in (None, trace.prediction)
    says = _class(trace, trace.prediction, ("prediction",))
    if trace.truth is None:
        sheet = story.sheet("dense2", "It says {}", says)
    elif wrong:
        sheet = story.sheet("dense2", "It says {}, but the label says {}", says, _class(trace, trace.truth, ("truth",)))
    else:
        sheet = story.sheet("dense2", "It says {}, and so does the label", says)
    colour = RED if wrong else INK
    sheet.grey((LEFT, TOP), trace.digit[0], 12)
    sheet.box(LEFT, TOP, 336, 336, colour, line=4 if wrong else 1)
    left = LEFT + 372
    sheet.write((left, TOP - 30), "{}", says, size=40 if says.name[2:] else 150, bold=True, colour=colour)
    first, second = trace.probabilities.double()[trace.ranking[:2]].tolist()
    runner_up = _class(trace, trace.ranking[1], ("runner-up",))
    lines = [
        ("probability {:.1%}", [Number(first, ("probability", trace.prediction))]),
        ("second: {}, with {:.1%}", [runner_up, Number(second, ("probability", trace.ranking[1]))]),
        ("margin {:.1%}", [Number(first - second, ("margin",))]),
    ]
    if trace.truth is not None:
        lines.append(("label: {}", [_class(trace, trace.truth, ("truth",))]))
    for place, (form, given) in enumerate(lines):
        sheet.write((left, TOP + 168 + 42 * place), form, *given, size=26)
    story.film.add(sheet, 2800)


SCENES = (
    question,
    numbers,
    products,
    sliding,
    all_maps,
    rectified,
    deeper,
    pooling,
    blocks,
    flatten,
    votes,
    softmax,
    verdict,
)


def _weights(story: Story, conv: str) -> Tensor:
    """(out, in, 3, 3) of a convolution."""
    return cast(nn.Conv2d, story.trace[conv].layer).weight.detach()


def _window(story: Story) -> tuple[list[int], list[int]]:
    """Rows and columns of the tracked cell's nine pixels."""
    row, column = story.ways["conv1"].cell[1:]
    return [row - 1, row, row + 1], [column - 1, column, column + 1]


def _cells(patch: Tensor, rows: list[int], columns: list[int]) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    yield from zip(patch.flatten(), ((r, c) for r in rows for c in columns), strict=True)


def _every(shape: torch.Size) -> Iterator[tuple[int, ...]]:
    yield from (tuple(index.tolist()) for index in torch.cartesian_prod(*map(torch.arange, shape)))


def _table(
    sheet: Sheet,
    at: tuple[int, int],
    size: int,
    grey: Tensor,
    shown: list[Number],
    form: str = "{}",
    text: int = 22,
) -> None:
    """A patch of grey cells with a number in each."""
    sheet.grey(at, grey, size)
    sheet.box(*at, 3 * size, 3 * size, INK, line=1)
    for index, (level, number) in enumerate(zip(grey.flatten().tolist(), shown, strict=True)):
        middle = at[0] + (index % 3 + 0.5) * size, at[1] + (index // 3 + 0.5) * size
        sheet.write(middle, form, number, size=text, anchor="mm", colour=PAPER if level > 110 else INK)


def _signed_table(
    sheet: Sheet, at: tuple[int, int], size: int, values: Tensor, shown: list[Number], limit: float
) -> None:
    sheet.signed(at, values, size, limit)
    sheet.box(*at, 3 * size, 3 * size, INK, line=1)
    for index, number in enumerate(shown):
        middle = at[0] + (index % 3 + 0.5) * size, at[1] + (index // 3 + 0.5) * size
        light = abs(number.value) > 0.6 * limit
        sheet.write(middle, two_digits(limit), number, size=18, anchor="mm", colour=PAPER if light else INK)


def _sum_of_maps(story: Story, conv: str, norm: str, relu: str, slow: bool, caption: str, *given: Number) -> None:
    """One cell as the sum over the maps below: the five that weigh most, window by window, and the others."""
    trace, ledger = story.trace, story.ways[conv]
    channel, row, column = ledger.cell
    tracked = story.ways[trace.before(conv)].cell[0]
    top_five, others = ledger.largest(5)
    padded = F.pad(trace[conv].input, (1, 1, 1, 1))
    weights = _weights(story, conv)[channel]
    values_limit = story.limit(trace.before(conv))
    weights_limit = float(_weights(story, conv).abs().max())
    longest = max(abs(share) for share in [*top_five, others])
    sheet = story.sheet(conv, caption, *given)
    story.see(sheet, conv)
    for heading, left in (
        ("map", LEFT),
        ("window", LEFT + 78),
        ("weights", LEFT + 172),
        ("sum of nine products", LEFT + 290),
    ):
        sheet.write((left, TOP - 8), heading, size=18, colour=GREY)
    for place, (source, share) in enumerate(top_five.items()):
        top = TOP + 20 + 50 * place
        name, ours = Number(source, ("channel", conv, *ledger.cell, place)), source == tracked
        colour = GREEN if ours else INK
        sheet.write((LEFT, top + 22), "{}", name, size=20, anchor="lm", colour=colour, bold=ours)
        sheet.signed((LEFT + 84, top), padded[source, row : row + 3, column : column + 3], 15, values_limit)
        sheet.box(LEFT + 84, top, 45, 45, PALE, line=1)
        sheet.write((LEFT + 152, top + 22), "×", size=24, anchor="mm")
        sheet.signed((LEFT + 182, top), weights[source], 15, weights_limit)
        sheet.box(LEFT + 182, top, 45, 45, PALE, line=1)
        sheet.write((LEFT + 256, top + 22), "=", size=24, anchor="mm")
        _bar(sheet, LEFT + 396, top + 22, share, longest, 100)
        number = Number(share, ("channel sum", conv, *ledger.cell, source))
        sheet.write((LEFT + 616, top + 22), "{:+.2f}", number, size=20, anchor="rm")
        if slow:
            story.film.add(sheet, 280)
            sheet = Sheet(sheet)
    sheet.write((24, 388), "windows: ±{:.2f}", Number(values_limit, ("limit", trace.before(conv))), size=18)
    sheet.write((24, 412), "weights: ±{:.2f}", Number(weights_limit, ("largest weight", conv)), size=18)
    count = Number(len(ledger.channels) - 5, ("other channels", conv))
    rest = Number(others, ("other sums", conv, *ledger.cell, *top_five.index))
    if tracked in top_five.index:
        sheet.write((LEFT, TOP + 284), "the {} others together", count, size=20, anchor="lm")
    else:
        ours = Number(tracked, ("tracked map", trace.before(conv)))
        form = "the {} others, with ours, map {}"
        sheet.write((LEFT, TOP + 284), form, count, ours, size=20, anchor="lm", colour=GREEN, bold=True)
    _bar(sheet, LEFT + 396, TOP + 284, others, longest, 100)
    sheet.write((LEFT + 616, TOP + 284), "{:+.2f}", rest, size=20, anchor="rm")
    bias = Number(ledger.bias, ("bias", conv, channel))
    sheet.write((LEFT, TOP + 312), "bias", size=20, anchor="lm")
    sheet.write((LEFT + 616, TOP + 312), "{:+.2f}", bias, size=20, anchor="rm")
    after = story.cell(conv), story.cell(norm), story.cell(relu)
    sheet.write(
        (LEFT, TOP + 346), "total {:+.2f} · after batch norm {:+.2f} · after ReLU {:+.2f}", *after, size=22, anchor="lm"
    )
    sheet.box(LEFT - 20, TOP + 338, 14, 14, GREEN)
    story.film.add(sheet, 1400 if slow else 1100)


def _sum_lines(
    story: Story,
    sheet: Sheet,
    ledger: Ledger,
    left: int,
    top: int,
    count: int,
    what: str,
    longest: float,
    width: int = 150,
) -> int:
    """The sum behind a dense unit, a line a term; returns the height below the last line."""
    largest, others = ledger.largest(count)
    form = "{:+.2f}" if longest >= 0.1 else "{:+.4f}"
    middle, end = left + 116 + width // 2, left + 216 + width
    tracked = story.ways[story.trace.before(ledger.name)].cell[0]
    cell = ledger.cell
    for place, (source, share) in enumerate(largest.items()):
        y = top + 25 * place + 12
        colour = GREEN if source == tracked else INK
        name = Number(source, ("channel", ledger.name, *cell, place))
        sheet.write((left, y), f"{what} {{:,}}", name, size=18, anchor="lm", colour=colour, bold=colour == GREEN)
        _bar(sheet, middle + 30, y, share, longest, width // 2 - 8)
        number = Number(share, ("channel sum", ledger.name, *cell, source))
        sheet.write((end, y), form, number, size=18, anchor="rm", colour=colour)
    y = top + 25 * count + 12
    number = Number(len(ledger.channels) - count, ("other channels but", ledger.name, count))
    if tracked in largest.index:
        sheet.write((left, y), "{:,} others", number, size=18, anchor="lm")
    else:
        sheet.write((left, y), "{:,} with ours", number, size=18, anchor="lm", colour=GREEN)
    _bar(sheet, middle + 30, y, others, longest, width // 2 - 8)
    rest = Number(others, ("other sums", ledger.name, *cell, *largest.index))
    sheet.write((end, y), form, rest, size=18, anchor="rm")
    sheet.write((left, y + 25), "bias", size=18, anchor="lm")
    sheet.write((end, y + 25), form, Number(ledger.bias, ("bias", ledger.name, cell[0])), size=18, anchor="rm")
    total = Number(ledger.output, ("cell", ledger.name, *cell))
    sheet.write((left, y + 54), "total", size=22, anchor="lm", bold=True)
    sheet.write((end, y + 54), form, total, size=22, anchor="rm", bold=True)
    return y + 72


def _longest(ledger: Ledger, count: int) -> float:
    """The longest bar of a sum with so many lines."""
    largest, others = ledger.largest(count)
    return max(map(abs, [*map(float, largest), others]))


def _bar(sheet: Sheet, zero: float, middle: float, share: float, longest: float, length: int) -> None:
    """A bar from `zero` to the right for a positive share, to the left for a negative one."""
    reach = length * share / (longest or 1)
    sheet.box(min(zero, zero + reach), middle - 7, abs(reach), 14, ORANGE if share > 0 else BLUE)
    sheet.box(zero, middle - 10, 1, 20, GREY)
