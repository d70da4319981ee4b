"""Checkers for notebook 09."""

from collections.abc import Callable

import numpy as np
import torch

from mnistlab.exercises import NotYet, call, checker
from mnistlab.networks import MLP


@checker
def mlp_parameters(function: Callable) -> str:
    """mlp_parameters(sizes) → how many numbers dense layers of these sizes learn, from the input to the output."""
    for hidden in ((256, 128), (), (512,)):
        sizes = [784, *hidden, 10]
        right = sum(p.numel() for p in MLP(hidden=hidden).parameters())
        got = call(function, sizes)
        if got == right - sum(sizes[1:]):
            raise NotYet(f"{got:,} for {sizes}: those are the weights. Every cell after the input also has one bias.")
        if got == right + sizes[0]:
            raise NotYet(f"{got:,} for {sizes}: the input's cells are pixels, and learn no bias.")
        if got != right:
            raise NotYet(f"for {sizes} you say {got}; PyTorch's layers have {right:,}.")
    return "each layer has before × after weights and a bias for each cell after it."


@checker
def shuffle(function: Callable) -> str:
    """shuffle(images, order) → (N, 1, 28, 28): in every image, pixel k is what was pixel order[k]."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, 1, 28, 28), generator=generator, dtype=torch.uint8)
    order = torch.randperm(784, generator=generator)
    before = images.clone()
    got = call(function, images, order)
    right = torch.stack([image.flatten()[order].reshape(1, 28, 28) for image in before])
    if not torch.equal(images, before):
        raise NotYet("the images that went in have been changed; make new ones.")
    if getattr(got, "shape", None) != images.shape:
        raise NotYet(f"the answer should be (5, 1, 28, 28); it is {tuple(getattr(got, 'shape', ()))}.")
    back = torch.empty_like(right).flatten(1)
    back[:, order] = before.flatten(1)
    if torch.equal(got.flatten(1), back):
        raise NotYet("pixel k went to place order[k]; asked for is the other way: place k takes pixel order[k].")
    if not torch.equal(got, right):
        raise NotYet("some pixels are in other places. Every image must be shuffled in the same order.")
    return "every pixel of every digit has moved to its new place, and nothing is lost: only the neighbours are."


@checker
def gain(function: Callable) -> str:
    """gain(a, b) → the difference of the means of b and a, and its standard error."""
    for a, b in (([99.2, 99.3, 99.1], [99.5, 99.4, 99.6, 99.5]), ([98.0, 98.4], [98.1, 98.5])):
        right = float(np.mean(b) - np.mean(a))
        errors = [np.var(values, ddof=1) / len(values) for values in (a, b)]
        spreads = [np.var(values, ddof=1) for values in (a, b)]
        answer = call(function, a, b)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise NotYet("two numbers are asked for: the difference and its standard error.")
        difference, error = map(float, answer)
        if abs(difference + right) < 1e-9 < abs(right):
            raise NotYet("the sign is turned round: b's mean minus a's.")
        if abs(difference - right) > 1e-9:
            raise NotYet(f"the difference of the means is {right:.4f}; you say {difference:.4f}.")
        if abs(error - sum(spreads) ** 0.5) < 1e-9:
            raise NotYet("that is how far single runs lie apart. A mean of n runs is surer: divide each variance by n.")
        if abs(error - sum(variance**0.5 for variance in errors)) < 1e-9:
            raise NotYet("variances add up, not standard errors: take the root of the sum, not the sum of the roots.")
        if abs(error - sum(np.var(values) / len(values) for values in (a, b)) ** 0.5) < 1e-9:
            raise NotYet("with few runs, divide by n − 1 for the variance (ddof=1).")
        if abs(error - sum(errors) ** 0.5) > 1e-9:
            raise NotYet(f"the standard error is {sum(errors) ** 0.5:.4f}; you say {error:.4f}.")
    return "a difference of less than two standard errors may be luck."
