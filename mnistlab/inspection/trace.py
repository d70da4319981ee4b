"""One digit's whole way through a network: what every layer took in and gave out, and the sum behind each cell.

For a given digit, each layer makes a cell of its output as a weighted sum of cells of its input, plus a constant:
a convolution and a dense layer by their weights, a batch norm by its scale and shift, a pooling by 1 for the winner,
a ReLU by 1 or 0. The ledger of a cell lists that sum; what it lists has ledgers too, down to the pixels.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import torch
from torch import Tensor, nn

from mnistlab.data.digits import TEN, called, normalise
from mnistlab.networks.hooks import Step, evaluating, recording
from mnistlab.networks.layers import DROPOUTS, sides

if TYPE_CHECKING:
    import pandas as pd

PIXELS = "pixels"  # what stands in front of the first layer
INKED = 64  # grey level from which a pixel counts as ink, when a window worth watching is looked for


@dataclass(frozen=True, repr=False)
class Ledger:
    """The exact sum behind one cell of one layer's output: output = Σ weight × value + bias.

    cells: (K, d) where in the layer's input each term is read.  values, weights: (K,) float64.
    bias: the constant; of a batch norm, its shift.  output: PyTorch's own value of the cell.

    >>> terms = {"values": torch.tensor([2, 1, 3]).double(), "weights": torch.tensor([0.5, -1, 0]).double()}
    >>> cells = {"cell": (7,), "cells": torch.arange(3)[:, None]}
    >>> Ledger(name="dense", kind="Linear", **cells, **terms, bias=0.25, output=0.25).table(count=2)
               dense [7]
    channel 0       1.00
    channel 1      -1.00
    1 others        0.00
    bias            0.25
    total           0.25
    """

    name: str
    kind: str
    cell: tuple[int, ...]
    cells: Tensor
    values: Tensor
    weights: Tensor
    bias: float
    output: float

    def __repr__(self) -> str:
        return f"{self.name} {list(self.cell)}: {len(self.cells)} products + bias = {self.total:.4f}"

    @property
    def products(self) -> Tensor:
        return self.values * self.weights

    @property
    def total(self) -> float:
        return float(self.products.sum()) + self.bias

    @cached_property
    def channels(self) -> "pd.Series":
        """Each input channel's share of the sum: a convolution's nine products of a channel together."""
        import pandas as pd

        return pd.Series(self.products.numpy()).groupby(self.cells[:, 0].numpy()).sum().rename_axis("channel")

    def largest(self, count: int = 5) -> tuple["pd.Series", float]:
        """The `count` channels that weigh most, either way, in falling order of size, and the sum of all others."""
        order = self.channels.abs().sort_values(ascending=False, kind="stable").index
        return self.channels[order[:count]], float(self.channels[order[count:]].sum())

    def table(self, count: int = 5) -> "pd.DataFrame":
        """The sum as a reader would write it down: the largest channels, the others together, the bias, the total."""
        import pandas as pd

        top, others = self.largest(count)
        rows = {f"channel {channel}": share for channel, share in top.items()}
        if len(self.channels) > count:
            rows[f"{len(self.channels) - count} others"] = others
        return pd.DataFrame({f"{self.name} {list(self.cell)}": rows | {"bias": self.bias, "total": self.total}})


@dataclass(frozen=True, repr=False)
class Trace:
    """One digit's whole way through a network.

    digit: (1, 28, 28) uint8.  truth: its label, or None.  steps: by name, in order; their layers are copies, so
    that a trace stays true when the network learns on.  classes: the name of each logit.
    """

    digit: Tensor
    truth: int | None
    network: str
    steps: dict[str, Step]
    classes: tuple[str, ...] = TEN

    def __repr__(self) -> str:
        what = f"a {called(self.classes)[:-1]}" if self.truth is None else f"a {self.classes[self.truth]}"
        return f"{what} through {self.network}, {len(self.steps)} layers, read as {self.classes[self.prediction]}"

    def __getitem__(self, name: str) -> Step:
        if name not in self.steps:
            raise KeyError(f"There is no layer {name!r} in this trace; there are {', '.join(self.steps)}.")
        return self.steps[name]

    @property
    def pixels(self) -> Tensor:
        """(1, 28, 28): the digit as the first layer is given it, normalised."""
        return next(iter(self.steps.values())).input

    @property
    def logits(self) -> Tensor:
        return list(self.steps.values())[-1].output

    @property
    def probabilities(self) -> Tensor:
        return self.logits.softmax(0)

    @property
    def ranking(self) -> list[int]:
        """The digits, or the numbers of other classes, the likeliest first."""
        return self.logits.argsort(descending=True, stable=True).tolist()

    @property
    def prediction(self) -> int:
        return self.ranking[0]

    @property
    def margin(self) -> float:
        """First minus second probability."""
        first, second = self.probabilities[self.ranking[:2]]
        return float(first - second)

    def before(self, name: str) -> str:
        """The layer in front of `name`; "pixels" for the first."""
        names = [PIXELS, *self.steps]
        return names[names.index(self[name].name) - 1]

    def ledger(self, name: str, cell: SupportsIndex | Sequence[SupportsIndex]) -> Ledger:
        """The exact sum behind `cell` of the output of layer `name`: (channel, row, column), or a number for a vector.

        ValueError for a cell that is not there, and for a kind of layer whose sum is not known here.
        """
        step = self[name]
        place = tuple(index(n) for n in (cell if isinstance(cell, Iterable) else [cell]))
        shape = tuple(step.output.shape)
        if len(place) != len(shape) or not all(0 <= n < size for n, size in zip(place, shape, strict=True)):
            raise ValueError(f"{name} has no cell {place}; its output is {'×'.join(map(str, shape))}.")
        cells, weights, bias = _terms(step, place)
        values = step.input[tuple(cells.T)].double()
        ledger = Ledger(name, step.kind, place, cells, values, weights.double(), bias, float(step.output[place]))
        if abs(ledger.total - ledger.output) > 1e-4 * (float(ledger.products.abs().sum()) + abs(bias) + 1e-6):
            raise ValueError(f"{name} did not put out its own sum at {place}; was it silenced while it was traced?")
        return ledger

    def way(self, logit: int | None = None) -> list[Ledger]:
        """One cell's way from the pixels to a logit (default: the winner's): a ledger for every layer, in order.

        Seen from the logit, it goes back through the term that adds most, again and again. Among such ways (of the
        eight largest terms of each sum, up to 300) the first is taken whose window of pixels is worth watching: all
        inside of the picture, at least five of them inked, products of both signs; where there is none, the first
        whose window lies inside; where there is none either, simply the first.
        """
        names = [PIXELS, *self.steps]

        def back(name: str, cell: tuple[int, ...]) -> Iterator[list[Ledger]]:
            ledger = self.ledger(name, cell)
            if (previous := self.before(name)) == PIXELS:
                yield [ledger]
                return
            order = ledger.products.argsort(descending=True, stable=True)[:8]
            for rank, term in enumerate(order):
                if rank == 0 or ledger.products[term] > 0:
                    for way in back(previous, tuple(ledger.cells[term].tolist())):
                        yield [*way, ledger]

        goal = (self.prediction if logit is None else logit,)
        window = cast(Tensor, self[names[1]].layer.weight)[0].numel()
        first: list[Ledger] = []
        inside: list[Ledger] = []
        for way in islice(back(names[-1], goal), 300):
            first = first or way
            if len(way[0].cells) == window:
                inside = inside or way
                if self._telling(way[0]):
                    return way
        return inside or first

    def _telling(self, first: Ledger) -> bool:
        inked = int((self.digit[tuple(first.cells.T)] >= INKED).sum()) if first.cells.shape[1] == 3 else 0
        return inked >= 5 and bool((first.products > 0).any() and (first.products < 0).any())

    def pixel_shares(self, logit: int) -> tuple[Tensor, float]:
        """logit = Σ gradient × pixel + rest, exactly: (28, 28) gradient × normalised pixel in float64, and the rest.

        For one digit the network is a weighted sum, because each ReLU is open or shut and each pooling has its
        winner. The gradient holds the weights of that sum; the rest is what the layers' constants come to, each
        multiplied by the gradient at its place. ValueError where that does not come to the logit.
        """
        layers = [deepcopy(step.layer).double().requires_grad_(True) for step in self.steps.values()]
        pixels = self.pixels.double()[None].requires_grad_(True)
        value = pixels
        with torch.enable_grad():
            for layer in layers:
                value = layer(value)
            value = value[0, logit]
        biased = [layer for layer in layers if isinstance(getattr(layer, "bias", None), Tensor)]
        biases = [cast(Tensor, layer.bias) for layer in biased]
        sizes = [
            bias if getattr(layer, "running_mean", None) is None else _shift(layer)
            for layer, bias in zip(biased, biases, strict=True)
        ]
        gradients = torch.autograd.grad(value, [pixels, *biases])
        rest = math.fsum((gradient * size).sum().item() for gradient, size in zip(gradients[1:], sizes, strict=True))
        shares = (gradients[0] * pixels)[0, 0].detach()
        if not math.isclose(float(shares.sum()) + rest, value.item(), rel_tol=1e-6, abs_tol=1e-6):
            kinds = ", ".join(dict.fromkeys(step.kind for step in self.steps.values()))
            raise ValueError(f"{self.network} ({kinds}) is no weighted sum of its pixels with constants known here.")
        return shares, rest


def trace(model: nn.Module, digit: Tensor, truth: int | None = None, classes: Sequence[str] | None = None) -> Trace:
    """Follow `digit` (1, 28, 28), uint8, through `model`, which computes in eval mode and stays as it is.

    classes: the name of each logit, by default its number.
    Any network whose layers come one after the other. ValueError for another, and for anything but one digit.
    """
    with evaluating(model), torch.inference_mode(False), torch.no_grad(), recording(model) as steps:
        output = model(as_input(model, digit))
    if not steps or not torch.equal(steps[0].input.flatten(), as_input(model, digit).flatten()):
        raise ValueError(
            f"{type(model).__name__} changes the pixels before its first layer sees them, and a trace follows layers "
            f"that come one after the other. Make of each function a layer."
        )
    for one, two in pairwise(steps):
        if one.output.shape != two.input.shape or not torch.equal(one.output, two.input):
            raise ValueError(
                f"In {type(model).__name__}, {two.name} does not take what {one.name} gives. A trace follows layers "
                f"that come one after the other: no skip connection, and no function such as F.relu between them. "
                f"Make each function a layer, or trace such a part of the network, as an ensemble's members[0]."
            )
    if not torch.equal(steps[-1].output, output):
        raise ValueError(
            f"{type(model).__name__} does not put out what its last layer, {steps[-1].name}, gives, and a trace ends "
            f"with a layer. Trace such a part of it, as an ensemble's members[0]."
        )
    frozen = {
        s.name: Step(s.name, s.kind, deepcopy(s.layer).cpu().eval(), s.input[0].cpu(), s.output[0].cpu()) for s in steps
    }
    names = tuple(map(str, range(output[0].numel()))) if classes is None else tuple(classes)
    return Trace(digit.cpu().clone(), truth, type(model).__name__, frozen, names)


def as_input(model: nn.Module, digit: Tensor) -> Tensor:
    """(1, 1, 28, 28): one digit, (1, 28, 28) uint8, normalised, of the weights' type and on their device."""
    if digit.dtype != torch.uint8 or digit.shape != (1, 28, 28):
        given = f"{tuple(digit.shape)} {digit.dtype}"
        raise ValueError(f"One digit is asked for, (1, 28, 28) uint8, such as digits.images[0], not {given}.")
    parameter = next(model.parameters())
    return normalise(digit[None]).to(parameter.device, parameter.dtype)


def _terms(step: Step, cell: tuple[int, ...]) -> tuple[Tensor, Tensor, float]:
    """Which input cells (K, d) make this output cell, by which weights (K,), and the constant."""
    layer = step.layer
    here = torch.tensor([cell])
    zeros = getattr(layer, "padding_mode", "") == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and zeros:
        window = _window(layer, cell[1:])
        channels = torch.arange(layer.in_channels).repeat_interleave(len(window))
        cells = torch.cat([channels[:, None], window.repeat(layer.in_channels, 1)], dim=1)
        weights = layer.weight[cell[0]].detach().flatten()
        inside = _inside(cells, step.input.shape)  # what lies in the padding is zero and makes no term
        return cells[inside], weights[inside], _bias(layer, cell[0])
    if isinstance(layer, nn.MaxPool2d):
        window = _window(layer, cell[1:])
        cells = torch.cat([torch.full((len(window), 1), cell[0]), window], dim=1)
        cells = cells[_inside(cells, step.input.shape)]
        won = step.input[tuple(cells.T)].argmax()
        return cells, torch.zeros(len(cells)).index_fill(0, won, 1), 0.0
    if isinstance(layer, nn.Linear) and len(cell) == 1:
        return torch.arange(layer.in_features)[:, None], layer.weight[cell[0]].detach(), _bias(layer, cell[0])
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_var is not None and layer.bias is not None:
        scale, shift = layer.weight / (layer.running_var + layer.eps).sqrt(), _shift(layer)
        return here, scale[cell[0]].detach()[None], shift[cell[0]].item()
    if isinstance(layer, nn.ReLU):
        return here, (step.input[cell] > 0).to(torch.float64)[None], 0.0
    if isinstance(layer, DROPOUTS):
        return here, torch.ones(1), 0.0
    if isinstance(layer, nn.Flatten) and len(cell) == 1:
        place = torch.unravel_index(torch.tensor(cell[0]), step.input.shape)
        return torch.stack(place)[None], torch.ones(1), 0.0
    raise ValueError(f"How {step.name}, a {step.kind}, makes a cell is not known here.")


def _window(layer: nn.Conv2d | nn.MaxPool2d, place: tuple[int, ...]) -> Tensor:
    """(k·k, 2) rows and columns, in the order of the weights, that may lie outside of the map."""
    axes = [
        at * step - pad + spread * torch.arange(size)
        for at, size, step, pad, spread in zip(place, *sides(layer), strict=True)
    ]
    return torch.cartesian_prod(*axes)


def _inside(cells: Tensor, shape: torch.Size) -> Tensor:
    return ((cells >= 0) & (cells < torch.tensor(shape))).all(1)


def _bias(layer: nn.Conv2d | nn.Linear, channel: int) -> float:
    return 0.0 if layer.bias is None else layer.bias[channel].item()


def _shift(norm: Any) -> Tensor:
    """What a batch norm in eval mode adds after its scale."""
    shift: Tensor = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    return shift
