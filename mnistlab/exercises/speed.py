"""Checkers for notebook 10."""

from collections.abc import Callable
from itertools import chain
from math import isclose

from mnistlab.exercises import NotYet, call, checker


@checker
def floor_seconds(function: Callable) -> str:
    """floor_seconds(in_channels, out_channels, kernel_size, side, batch_size, rate) → seconds of one training step.

    The multiply-adds of a convolution that keeps the side, forward and backward, at `rate` multiply-adds a second.
    """
    for inputs, outputs, kernel, side, batch, rate in (
        (16, 8, 5, 28, 32, 4e10),  # no two of the mistakes below come to the same here
        (32, 64, 3, 14, 128, 1e11),
        (64, 64, 1, 7, 256, 2e9),
    ):
        got = float(call(function, inputs, outputs, kernel, side, batch, rate))
        work = inputs * outputs * kernel**2 * side**2 * batch  # of the forward pass
        wrong = {
            work / rate: "that is the forward pass alone. The backward pass takes two more like it: one for the "
            "gradients of the weights, one for those of the inputs.",
            2
            * work
            / rate: "that is the backward pass alone, or the forward pass with each multiply-add counted as two.",
            6 * work / rate: "a multiply-add counts as one here, not as two.",
            3 * work / batch / rate: "that is one digit. A step takes a whole batch.",
            3 * work / kernel**2 / rate: "a cell needs kernel_size² products for each input channel.",
            3 * work / kernel / rate: "the window is as high as it is wide: kernel_size is to be squared.",
            3 * work / side / rate: "the map is as high as it is wide: side is to be squared.",
            3 * work / inputs / rate: "a filter has one slice for each input channel.",
            3 * work / side**2 / rate: "the filter is used at every place of the map, of which there are side².",
            3 * work: "those are the multiply-adds. How long do they take at `rate` a second?",
            rate / (3 * work): "that is steps a second; seconds a step are asked for.",
        }
        if not isclose(got, 3 * work / rate, rel_tol=1e-6):
            for value, reason in wrong.items():
                if isclose(got, value, rel_tol=1e-6):
                    raise NotYet(reason)
            raise NotYet(
                f"from {inputs} to {outputs} channels, {kernel}×{kernel} on {side}×{side}, {batch} digits, {rate:.0e} "
                f"a second: you say {got:.4g} s; it should be {3 * work / rate:.4g} s."
            )
    return "forward, and twice as much backward: no loop can be faster, unless it does other sums."


@checker
def share(function: Callable) -> str:
    """share(batch_size, rank, count) → (the positions that worker `rank` takes, the weight of its mean loss).

    The workers' gradients are averaged; with these weights that average is the gradient of the batch's mean loss.
    """
    for size, count in ((8, 2), (7, 2), (10, 4), (256, 3), (5, 1)):
        shares, weights = [], []
        for rank in range(count):
            result = call(function, size, rank, count)
            try:
                positions, weight = result
                shares.append([int(position) for position in positions])
                weights.append(float(weight))
            except (TypeError, ValueError) as error:
                raise NotYet("return two things: the positions, and the weight.") from error
        said = f"of a batch of {size}, {count} workers take"
        taken = sorted(chain(*shares))
        if len(taken) > len(set(taken)):
            raise NotYet(f"{said} some digits twice: no position may be in two shares.")
        if taken and (taken[0] < 0 or taken[-1] >= size):
            raise NotYet(f"positions go from 0 to {size - 1}; {said} {taken[0]} to {taken[-1]}.")
        if len(taken) < size:
            raise NotYet(f"{said} only {len(taken)} digits. What if the workers do not divide the batch?")
        lengths = [len(positions) for positions in shares]
        if max(lengths) > min(lengths) + 1:
            raise NotYet(f"{said} {lengths} digits: the one with the most keeps all others waiting. Share more evenly.")
        even = [length * count / size for length in lengths]
        if not all(isclose(a, b, abs_tol=1e-9) for a, b in zip(weights, even, strict=True)):
            if all(isclose(a * count, b, abs_tol=1e-9) for a, b in zip(weights, even, strict=True)):
                raise NotYet(
                    "with these weights the workers' *sum* would be right, but their gradients are averaged, "
                    "which divides by their number once more."
                )
            if all(isclose(weight, 1, abs_tol=1e-9) for weight in weights):
                raise NotYet(
                    f"shares of {lengths} digits with the same weight: each digit of the smaller share would count "
                    f"more than one of the larger."
                )
            raise NotYet(f"with shares of {lengths} digits your weights are {weights}; they should be {even}.")
    return "every digit once, and each counts as much as any other, whoever takes it."


@checker
def speed_up(function: Callable) -> str:
    """speed_up(share, factor) → how many times as fast the whole is when `share` of its time becomes `factor` times."""
    for part, factor in ((0.25, 4.0), (0.5, 2.0), (0.9, 10.0), (0.1, 1e6), (1.0, 3.0), (0.0, 7.0)):
        got = float(call(function, part, factor))
        right = 1 / (1 - part + part / factor)
        if isclose(got, right, rel_tol=1e-6):
            continue
        said = f"when {part:.0%} of the time becomes {factor:g} times as fast"
        if isclose(got, 1 / right, rel_tol=1e-6):
            raise NotYet("that is the time that is left, as a share of the old; the speed-up is one over it.")
        if isclose(got, 1 / (part + (1 - part) / factor), rel_tol=1e-6):
            raise NotYet("you made the other part faster: `share` is the one that gains.")
        if isclose(got, factor, rel_tol=1e-6):
            raise NotYet(f"{said}, the rest takes as long as before, and so the whole gains less than that.")
        if isclose(got, 1 - part + part * factor, rel_tol=1e-6):
            raise NotYet(f"{said}, its *time* is divided by {factor:g}. Add up times first, then compare.")
        if part < 1 and isclose(got, 1 / (1 - part), rel_tol=1e-6):
            raise NotYet(f"{said}, it still takes some time; you say it takes none.")
        raise NotYet(f"{said}, the whole becomes {right:.4g} times as fast; you say {got:.4g}.")
    return "what is left as it was sets the limit: at best one over its share."
