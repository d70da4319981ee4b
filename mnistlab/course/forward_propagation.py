"""The notebook on forward propagation: stills of its film, its figures, and the checkers of its exercises."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from mnistlab.course.check import NotYet, call, checker
from mnistlab.figures.plots import picture_row
from mnistlab.figures.style import Figure, Sourced, Still
from mnistlab.films import Film
from mnistlab.inspection.trace import Ledger, Trace


def one_cell(film: Film, cell: Ledger) -> Still:
    """The sum behind the tracked cell of conv1."""
    alt = f"Nine normalised pixels times nine weights, their products, and the cell they make: {cell.output:+.3f}"
    return Still(film.still(film.end(2)), alt)


def relu(film: Film, trace: Trace) -> Still:
    """All maps of the first layer, before ReLU and after."""
    maps = trace["relu1"].output
    zeros = float((maps == 0).double().mean())
    alt = f"All {len(maps)} maps of conv1 before and after ReLU: blue turns white, {zeros:.0%} of the cells become zero"
    return Still(film.contact_sheet([film.end(4), film.end(5)], columns=2, width=640), alt)


def deeper(film: Film, cell: Ledger) -> Still:
    """The sum behind the tracked cell of conv2, map by map."""
    others = len(cell.channels) - 5
    alt = f"Five maps' windows times their weights as bars, and the {others} others together: {cell.output:+.2f} in all"
    return Still(film.still(film.end(6) - 1), alt)


def pooling(film: Film, cell: Ledger) -> Still:
    """The tracked cell's map before the first pooling, and after."""
    alt = f"A map before and after pooling; of our {len(cell.cells)} cells the largest, {cell.output:.2f}, moves on"
    return Still(film.still(film.end(7)), alt)


def views(film: Film, fields: pd.DataFrame) -> Still:
    """The sums behind the tracked cell in the three last convolutions, and the maps after the last pooling."""
    start = film.scenes[8][0]
    sums = [start, start + 2, start + 5]  # conv3, conv4 and conv5
    sizes = " to ".join(f"{side}×{side}" for side in fields.loc[["conv3", "conv5"], "size"])
    alt = f"The sums behind our cell in conv3, conv4 and conv5; its view of the digit grows from {sizes} pixels"
    return Still(film.contact_sheet([*sums, film.end(8)], columns=2, width=640), alt)


def votes(film: Film, trace: Trace) -> Still:
    """What each unit adds to the winner's logit and to the rival's."""
    (winner, rival), logits = trace.ranking[:2], trace.logits
    sums = f"the {winner}, {logits[winner]:+.2f} in all, and for the {rival}, {logits[rival]:+.2f} in all"
    return Still(film.still(film.end(10)), f"The ten strongest votes, all others and the bias, for {sums}")


def softmax(film: Film, trace: Trace) -> Still:
    """From the ten logits to the ten probabilities."""
    winner = trace.prediction
    says = f"{float(trace.probabilities[winner]):.0%} for the {winner}"
    return Still(film.still(film.end(11)), f"Ten digits with logits, e to the logit, and probabilities: {says}")


def pixels(trace: Trace, shares: Tensor, of: Sourced) -> Figure:
    """The gradient of a logit, and gradient × pixel, its product with the normalised pixels.

    shares: (28, 28) of `trace.pixel_shares`.  of: the digits that the traced one is of.
    """
    pictures = {"gradient": shares / trace.pixels[0].double(), "gradient × pixel": shares}
    title = f"All pixels together: {float(shares.sum()):+.2f}".replace("-", "−")
    return picture_row(pictures, title, of, signed=True)


def verdicts(films: dict[str, Film]) -> Still:
    """The last frame of each named film."""
    ends = Film("verdicts", next(iter(films.values())).palette, [film.frames[-1] for film in films.values()])
    said = "; ".join(f"{name}: {film.label.split(':')[0]}" for name, film in films.items())
    return Still(ends.contact_sheet(columns=len(films), width=440), f"The last frames of {len(films)} films. {said}")


@checker
def check_fold(function: Callable[..., Any]) -> str:
    """fold(weights, bias, scale, shift) → weights and bias of one convolution that also does the batch norm."""
    generator = torch.Generator().manual_seed(0)
    window, weights = torch.randn(2, 3, 3, generator=generator)
    for bias, scale, shift in ((0.5, 2.0, -1.0), (-0.3, 0.25, 0.4), (0.0, -1.5, 0.0)):
        convolution = nn.Conv2d(1, 1, 3)
        convolution.weight.data[:], convolution.bias = weights, nn.Parameter(torch.tensor([bias]))
        norm = nn.BatchNorm2d(1, eps=1e-30).eval()
        norm.weight.data[:], norm.bias.data[:] = scale, shift
        right = norm(convolution(window[None, None])).item()
        answer = call(function, weights.clone(), bias, scale, shift)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise NotYet("two things are asked for: return weights, bias")
        new_weights, new_bias = answer
        if torch.as_tensor(new_weights).shape != (3, 3):
            raise NotYet(f"the new weights should be 3×3 again; yours are {tuple(torch.as_tensor(new_weights).shape)}.")
        got = float((window * new_weights).sum() + new_bias)
        if abs(got - right) > 1e-4:
            hint = ""
            if abs(got - (right - bias * scale + bias)) < 1e-4:
                hint = " The batch norm comes after the bias, so it scales the bias too."
            elif abs(got - (right - shift)) < 1e-4:
                hint = " Where has the shift gone?"
            raise NotYet(
                f"with bias {bias}, scale {scale}, shift {shift}: PyTorch says {right:.3f}, you {got:.3f}.{hint}"
            )
    return "one convolution does the work of two layers. That is how networks are made ready for use."


@checker
def check_softmax(function: Callable[..., Any]) -> str:
    """softmax(logits) → probabilities, for logits of any size."""
    for logits in ([0.0, 1.0, 2.0], [-3.0, -3.0], [1000.0, 1001.0, 999.0], [-1000.0, -1002.0]):
        given = torch.tensor(logits)
        right = torch.softmax(given, 0)
        got = torch.as_tensor(call(function, given.clone()))
        if got.shape != right.shape:
            raise NotYet(f"for {len(right)} logits you return {tuple(got.shape)}; one probability each is asked for.")
        if not got.isfinite().all():
            raise NotYet(f"for {logits} you return {got.tolist()}. Subtract the same number from all of them first.")
        if not torch.allclose(got.float(), right, atol=1e-3):
            total = (
                "" if abs(float(got.sum()) - 1) < 1e-4 else f" They should add up to 1; yours come to {got.sum():.3f}."
            )
            raise NotYet(f"for {logits} PyTorch says {[round(p, 3) for p in right.tolist()]}.{total}")
    return "also for logits of a thousand: only their differences count."


@checker
def check_decisive_unit(function: Callable[..., Any]) -> str:
    """decisive_unit(units, for_winner, for_rival) → the unit that does most to separate the two."""
    cases = (
        # unit 0 has the largest vote for the winner, but votes as much for the rival
        ([3.0, 1.0, 2.0], [2.0, 1.0, 0.5], [2.0, -1.0, 0.0], 1),
        # unit 2 has the largest difference of weights, but is silent
        ([2.0, 1.0, 0.0], [0.5, 0.5, 9.0], [-0.5, 0.0, -9.0], 0),
        # unit 0 separates most, but for the rival
        ([4.0, 1.0], [-2.0, 0.5], [2.0, 0.0], 1),
    )
    hints = (
        "a vote that goes to both alike separates nothing",
        "a unit whose value is 0 casts no vote, however large its weights",
        "a unit that speaks for the rival does not help the winner: do not take sizes without their sign",
    )
    for (units, for_winner, for_rival, right), hint in zip(cases, hints, strict=True):
        got = call(function, torch.tensor(units), torch.tensor(for_winner), torch.tensor(for_rival))
        try:
            same = int(got) == right
        except (TypeError, ValueError):
            raise NotYet(f"a unit's number is asked for, not {got!r}.") from None
        if not same:
            raise NotYet(f"units {units}, votes {for_winner} and {for_rival}: you say {int(got)}. Remember: {hint}.")
    return "value times the difference of the weights: the logits' difference, unit by unit."
