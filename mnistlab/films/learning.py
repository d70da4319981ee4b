"""A film of a network that learns: its filters, its view of a thousand digits, and its mistakes."""

import math
from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from mnistlab.data.digits import Digits
from mnistlab.films.canvas import GREY, GREYS, INK, PALE, SHADES, YELLOW, Colour, Film, Number, Sheet
from mnistlab.networks.inference import logits

CLASSES: list[Colour] = [
    (31, 119, 180), (255, 127, 14), (0, 90, 90), (120, 0, 80), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (90, 90, 90), (160, 160, 20), (23, 190, 207),
]  # fmt: skip
PALETTE = [*map(tuple, np.concatenate([SHADES, GREYS[1:]]).tolist()), *CLASSES, YELLOW, PALE]
PASSED = PALETTE[len(SHADES) + 7]  # the middle grey
FILTERS, MAP, TABLE, TOP, SIDE = 24, 316, 636, 128, 300


def training(snapshots: Mapping[int, nn.Module], digits: Digits) -> Film:
    """One frame a snapshot (step → network then), at best after 0, 1, 2, 4, 8, … steps and the last.

    Left, the filters of its first convolution. In the middle each of `digits` as a dot between ten corners, pulled
    to each by the probability that it is that digit. Right, labels against answers. ValueError without labels or
    snapshots, or where the network does not begin with a 3×3 convolution.
    """
    if not snapshots or digits.labels is None:
        raise ValueError("A film of training needs at least one snapshot, and digits with labels.")
    steps = sorted(snapshots)
    snapshots = {step: deepcopy(snapshots[step]).cpu() for step in steps}
    weights = {step: _filters(snapshots[step]) for step in steps}
    limit = float(weights[steps[-1]].abs().max())

    film = Film("A network learns: filters, a map of digits, and mistakes, after more and more steps", PALETTE)
    film.scenes = [(frame, f"Step {step:,}") for frame, step in enumerate(steps)]
    for frame, step in enumerate(steps):
        probabilities = _probabilities(snapshots[step], digits)
        answers = probabilities.argmax(1)
        sheet = Sheet()
        sheet.write((24, 12), "Learning: step {:,}", Number(step, ("step", step)), size=28, bold=True)
        for place in range(len(steps)):
            wide = 912 / len(steps)
            colour = PASSED if place < frame else YELLOW if place == frame else PALE
            sheet.box(24 + place * wide, 56, wide - 4, 6, colour)
        _draw_filters(sheet, weights[step], limit)
        _draw_map(sheet, probabilities, digits)
        _draw_table(sheet, answers, digits)
        right = float((answers == digits.labels).double().mean())
        count = Number(len(digits), ("digits",))
        sheet.write(
            (24, 478),
            f"{{:.1%}} of {{:,}} {digits.what} right",
            Number(right, ("accuracy", step)),
            count,
            size=28,
            bold=True,
        )
        film.add(sheet, 1100 if frame < len(steps) - 1 else 3000)
    return film


def _probabilities(model: nn.Module, digits: Digits) -> Tensor:
    return logits(model, digits.images.cpu()).softmax(1)


def _filters(model: nn.Module) -> Tensor:
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or first.weight.shape[1:] != (1, 3, 3):
        raise ValueError("A film of training needs a network that begins with a convolution of 3×3 filters.")
    return first.weight[:, 0].detach()


def _draw_filters(sheet: Sheet, weights: Tensor, limit: float) -> None:
    sheet.write((FILTERS, TOP - 40), "filters of its first layer", size=20)
    scale = Number(limit, ("limit",))
    sheet.write((FILTERS, TOP + SIDE + 8), "full colour: ±{:.2f}", scale, size=18, colour=GREY)
    for index, one in enumerate(weights[:64]):
        at = FILTERS + index % 8 * 34, TOP + index // 8 * 34
        sheet.signed(at, one, 10, limit)
        sheet.box(*at, 30, 30, PALE, line=1)


def _name(digits: Digits, label: int) -> Number:
    """A class as it is written, in four letters at most."""
    name = digits.classes[label]
    return Number(label, ("digit", label), "" if name == str(label) else name[:4])


def _draw_map(sheet: Sheet, probabilities: Tensor, digits: Digits) -> None:
    sheet.write((MAP, TOP - 40), "corner: sure · middle: unsure", size=18)
    count = len(digits.classes)
    turns = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    corners = torch.stack([turns.sin(), -turns.cos()], 1)
    middle, radius = torch.tensor([MAP + SIDE / 2, TOP + SIDE / 2]), SIDE / 2 - 20
    size = 20 if count <= 10 else 12
    for label, (x, y) in enumerate((middle + (radius + 14) * corners).tolist()):
        name, colour = _name(digits, label), CLASSES[label % len(CLASSES)]
        sheet.write((x, y), "{}", name, size=12 if name.name[1:] else size, anchor="mm", bold=True, colour=colour)
    places = middle + (radius - 6) * (probabilities.double() @ corners)
    for (x, y), label in zip(places.tolist(), digits.known_labels("be filmed").tolist(), strict=True):
        sheet.draw.ellipse((x - 2, y - 2, x + 2, y + 2), CLASSES[label % len(CLASSES)])


def _draw_table(sheet: Sheet, answers: Tensor, digits: Digits) -> None:
    sheet.write((TABLE, TOP - 46), "labels (down), answers (across)", size=18)
    labels, count = digits.known_labels("be filmed"), len(digits.classes)
    cell = SIDE // count
    side = cell * count
    counts = torch.zeros(count, count).index_put_((labels, answers), torch.ones(len(labels)), accumulate=True)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    sheet.grey((TABLE, TOP), (255 * shares.sqrt()).round().to(torch.uint8), cell)
    sheet.box(TABLE, TOP, side, side, INK, line=1)
    for label in range(count):
        name, along = _name(digits, label), (label + 0.5) * cell
        size = 18 if count <= 10 and not name.name[1:] else min(10, cell)
        sheet.write((TABLE - 11, TOP + along), "{}", name, size=size, anchor="mm", colour=GREY)
        sheet.write((TABLE + along, TOP - 11), "{}", name, size=size, anchor="mm", colour=GREY)
    sheet.write((TABLE, TOP + SIDE + 8), "all on the diagonal: no mistake", size=18, colour=GREY)
    sheet.write((TABLE, TOP + SIDE + 32), "shade: square root of the share", size=18, colour=GREY)
