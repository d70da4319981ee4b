"""A film of one filter on its way over a digit, its nine products beside it."""

import torch
from torch import nn

from mnistlab.films.canvas import GREY, INK, PALE, PALETTE, PAPER, YELLOW, Film, Number, Sheet, two_digits
from mnistlab.inspection.trace import INKED, Trace

PIXELS, WEIGHTS, MAP, TOP, SIZE, CELL = 24, 388, 600, 112, 12, 62


def convolution_scan(trace: Trace, channel: int | None = None) -> Film:
    """A filter of the first layer slides over the whole digit; default: the one that answers most in both directions.

    A few rows are scanned cell by cell, with a rest at the map's largest and smallest cell; the others at once.
    ValueError where the first layer is no 3×3 convolution of one channel with padding 1, or has no such filter.
    """
    step = next(iter(trace.steps.values()))
    layer = step.layer
    plain = {"kernel_size": (3, 3), "padding": (1, 1), "stride": (1, 1), "dilation": (1, 1), "padding_mode": "zeros"}
    if not isinstance(layer, nn.Conv2d) or any(getattr(layer, name) != value for name, value in plain.items()):
        raise ValueError(f"A scan needs a first layer of 3×3 filters with padding 1, not {layer}.")
    filters = len(step.output)
    if channel is None:
        maps = step.output.flatten(1)
        channel = int(torch.minimum(maps.amax(1), -maps.amin(1)).argmax())
    if not 0 <= channel < filters:
        raise ValueError(f"{step.name} has no filter {channel}; it has 0 to {filters - 1}.")
    values, weights = step.output[channel], layer.weight[channel, 0].detach()
    ink = trace.digit[0] >= min(INKED, int(trace.digit.max()))
    rows, columns = ink.nonzero().T
    largest, smallest = (divmod(int(place), 28) for place in (values.argmax(), values.argmin()))
    first, last = int(rows.min()), int(rows.max())
    slow = {largest[0], smallest[0], first + 1, (first + last) // 2, last - 1}
    ends = [*columns.tolist(), largest[1], smallest[1]]
    across = range(max(0, min(ends) - 2), min(28, max(ends) + 3))

    film = Film("A filter of nine weights slides over a digit and leaves a feature map, cell by cell", PALETTE)
    film.scenes.append((0, "One filter over a digit"))
    limit = float(values.abs().max())
    base = Sheet()
    name = Number(channel, ("filter",))
    base.write((24, 12), "One filter, the same nine weights everywhere", size=24, bold=True)
    base.write((PIXELS, TOP - 34), "pixels", size=20)
    base.write((WEIGHTS, TOP - 34), "filter {}: weights", name, size=20)
    base.write((MAP, TOP - 34), "feature map", size=20)
    scale = Number(limit, ("limit",))
    base.write((MAP, TOP + 376), "full colour: ±{:.2f}", scale, size=18, colour=GREY)
    base.grey((PIXELS, TOP), trace.digit[0], SIZE)
    base.box(PIXELS, TOP, 336, 336, PALE, line=1)
    shown = [Number(float(w), ("weight", *divmod(n, 3))) for n, w in enumerate(weights.flatten())]
    _table(base, TOP, weights, shown, float(weights.abs().max()))
    bias = 0.0 if layer.bias is None else layer.bias[channel].item()
    padded = torch.nn.functional.pad(step.input[0], (1, 1, 1, 1))
    windows = torch.nn.functional.unfold(padded[None, None], 3)[0]
    strongest = float((windows * weights.reshape(9, 1)).abs().max())
    number = two_digits(limit)
    done = torch.zeros(28, 28, dtype=torch.bool)

    def frame(row: int, place: int | None, milliseconds: int) -> None:
        sheet = Sheet(base)
        column = 0 if place is None else place
        if place is None:
            done[row] = True
        done[row, : column + 1] = True
        sheet.signed((MAP, TOP), values.where(done, torch.zeros(())), SIZE, limit)
        sheet.box(MAP, TOP, 336, 336, PALE, line=1)
        if place is None:
            sheet.box(MAP, TOP + row * SIZE, 336, SIZE, YELLOW, line=2)
            sheet.box(PIXELS, TOP + max(0, row - 1) * SIZE, 336, SIZE * (3 if 0 < row < 27 else 2), YELLOW, line=3)
        else:
            sheet.box(MAP + column * SIZE, TOP + row * SIZE, SIZE, SIZE, YELLOW, line=3)
            left, top = PIXELS + (column - 1) * SIZE, TOP + (row - 1) * SIZE
            sheet.box(left, top, 3 * SIZE, 3 * SIZE, YELLOW, line=3)
            products = padded[row : row + 3, column : column + 3] * weights
            shown = [Number(float(p), ("product", row, column, n)) for n, p in enumerate(products.flatten())]
            sheet.write((WEIGHTS, TOP + 200), "products", size=20)
            _table(sheet, TOP + 234, products, shown, strongest)
            total = Number(float(products.sum()), ("sum", row, column))
            cell = Number(float(values[row, column]), ("cell", row, column))
            form = f"sum {number}, bias {number}: {number}"
            sheet.write((MAP, TOP + 350), form, total, Number(bias, ("bias",)), cell, size=20)
        film.add(sheet, milliseconds)

    for row in range(28):
        if row not in slow:
            frame(row, None, 60)
            continue
        for column in across:
            frame(row, column, 1600 if (row, column) in (largest, smallest) else 80)
        frame(row, None, 60)
    film.durations[-1] = 2000
    return film


def _table(sheet: Sheet, top: int, values: torch.Tensor, shown: list[Number], limit: float) -> None:
    sheet.signed((WEIGHTS, top), values, CELL, limit)
    sheet.box(WEIGHTS, top, 3 * CELL, 3 * CELL, INK, line=1)
    for index, number in enumerate(shown):
        middle = WEIGHTS + (index % 3 + 0.5) * CELL, top + (index // 3 + 0.5) * CELL
        colour = PAPER if abs(number.value) > 0.6 * limit else INK
        sheet.write(middle, two_digits(limit), number, size=18, anchor="mm", colour=colour)
