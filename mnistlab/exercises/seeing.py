"""Checkers for notebook 06."""

from collections.abc import Callable

import torch

from mnistlab.exercises import NotYet, call, checker


@checker
def view(function: Callable) -> str:
    """view(cell, start, step, size) → (first, last) pixel that the cell sees along one side of 28 pixels."""
    for cell, start, step, size in ((3, 0, 1, 3), (7, -4, 2, 10), (0, -4, 2, 10), (13, -4, 2, 10), (3, -10, 4, 24)):
        first, last = start + cell * step, start + cell * step + size - 1
        right = (max(first, 0), min(last, 27))
        try:
            got = tuple(int(pixel) for pixel in call(function, cell, start, step, size))
        except TypeError as error:
            raise NotYet("return two numbers: the first pixel, then the last.") from error
        where = f"cell {cell} with start {start}, step {step}, size {size}"
        if got == right:
            continue
        if got == (first, last):
            raise NotYet(f"{where}: {got} leaves the picture. Pixels go from 0 to 27; cut off what lies beyond.")
        if got in ((first, last + 1), (right[0], min(last + 1, 27)), (right[0], min(last + 1, 28))):
            raise NotYet(f"{where}: you end at {got[1]}, one too far: {size} pixels end at first + size − 1.")
        if got in ((start + cell, start + cell + size - 1), (max(start + cell, 0), min(start + cell + size - 1, 27))):
            raise NotYet(f"{where}: you say {got}. From one cell to the next the view moves {step} pixels.")
        raise NotYet(f"{where}: you say {got}; it sees {right[0]} to {right[1]}.")
    return "all five cells, also those whose view reaches beyond the picture, where there is only padding."


@checker
def grad_cam(function: Callable) -> str:
    """grad_cam(maps, gradients): (C, H, W) each → (H, W), ReLU of the maps' sum, weighted by their mean gradients."""
    generator = torch.Generator().manual_seed(5)
    maps = torch.randn(6, 5, 4, generator=generator).relu()
    gradients = torch.randn(6, 5, 4, generator=generator)
    got = torch.as_tensor(call(function, maps.clone(), gradients.clone()), dtype=torch.float32)
    weighted = gradients.mean((1, 2))[:, None, None] * maps
    total = weighted.sum(0)
    if got.shape == maps.shape:
        raise NotYet("that is still one map for each channel. Add them up into one.")
    if got.shape != total.shape:
        raise NotYet(f"one map of {tuple(total.shape)} is asked for; yours is {tuple(got.shape)}.")
    wrong = {
        "that has negative cells. Grad-CAM ends with a ReLU: only what speaks for the answer is kept.": total,
        "the ReLU comes last, after the sum; you cut each channel first.": weighted.relu().sum(0),
        "each cell got its own gradient. A channel gets one weight: the mean of its gradients.": (maps * gradients)
        .sum(0)
        .relu(),
        "all channels count alike in yours; weigh each by the mean of its gradients.": maps.sum(0),
        "the maps and the gradients have changed places.": (maps.mean((1, 2))[:, None, None] * gradients).sum(0).relu(),
    }
    for message, mistake in wrong.items():
        if torch.allclose(got, mistake, atol=1e-4) and not torch.allclose(mistake, total.relu(), atol=1e-4):
            raise NotYet(message)
    right = total.relu()
    if torch.allclose(got, right * maps[0].numel(), atol=1e-3):
        raise NotYet("the places are right, the size is not: the weight is the mean of the gradients, not their sum.")
    if not torch.allclose(got, right, atol=1e-4):
        raise NotYet(f"the largest cell should be {float(right.max()):.3f}; yours is {float(got.max()):.3f}.")
    return "a weighted sum of maps and a ReLU. The hook that fetches the maps is all that ml.grad_cam adds."


@checker
def dead_share(function: Callable) -> str:
    """dead_share(outputs): (N, C, H, W) after a ReLU → share of the channels that are zero everywhere, for all N."""
    outputs = torch.rand(7, 8, 3, 3, generator=torch.Generator().manual_seed(6)) + 0.1
    outputs[:, [1, 6]] = 0  # dead
    outputs[:5, 3] = 0  # blank for five of the seven digits
    outputs[:, 4, 0] = 0  # zero in places
    got = float(call(function, outputs.clone()))
    cells, blank = float((outputs == 0).double().mean()), float((outputs.amax((2, 3)) == 0).double().mean())
    if abs(got - 2 / 8) < 1e-6:
        return "a channel is dead only if no cell of it ever opens, for no digit. Zeros alone are no illness."
    if abs(got - 2) < 1e-6:
        raise NotYet("that is how many are dead. Their share is asked for.")
    if abs(got - 6 / 8) < 1e-6:
        raise NotYet("that is the share of the living.")
    if abs(got - cells) < 1e-6:
        raise NotYet("that is the share of cells that are zero. A channel with some zeros is not dead.")
    if abs(got - blank) < 1e-6:
        raise NotYet("you count a channel for every digit that leaves it blank. Dead is dead for all digits together.")
    if abs(got - 3 / 8) < 1e-6:
        raise NotYet("a channel that opens for a few digits only is alive: look at all of them.")
    raise NotYet(f"two of the eight channels are dead here, so 0.25; you say {got:.3f}.")
