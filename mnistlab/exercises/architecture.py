"""Checkers for notebook 02."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from mnistlab.exercises import NotYet, call, checker


@checker
def output_size(function: Callable) -> str:
    """output_size(size, kernel_size, stride, padding) → cells along one side after a convolution."""
    for size, kernel_size, stride, padding in (
        (28, 3, 1, 1),
        (28, 5, 1, 0),
        (7, 2, 2, 0),
        (28, 3, 2, 1),
        (5, 5, 3, 2),
    ):
        layer = nn.Conv2d(1, 1, kernel_size, stride, padding)
        right = layer(torch.zeros(1, 1, size, size)).shape[-1]
        got = call(function, size, kernel_size, stride, padding)
        if got != right:
            hint = ""
            if right == int(got):
                hint = " Count whole windows only: use // ."
            elif got == right - 1:
                hint = " The first window counts too."
            raise NotYet(
                f"for size {size}, kernel {kernel_size}, stride {stride}, padding {padding} you say {got}; "
                f"PyTorch makes {right}.{hint}"
            )
    return "the five cases agree with PyTorch, also the ones where the last window does not fit."


@checker
def conv_parameters(function: Callable) -> str:
    """conv_parameters(in_channels, out_channels, kernel_size) → how many numbers the layer learns."""
    for channels in ((1, 32, 3), (32, 64, 3), (3, 8, 5)):
        right = sum(p.numel() for p in nn.Conv2d(*channels).parameters())
        got = call(function, *channels)
        if got == right - channels[1]:
            raise NotYet(f"{got:,} for {channels}: those are the weights. Every output channel also has one bias.")
        if got == channels[1] * (channels[2] ** 2 + 1) != right:
            raise NotYet(f"{got:,} for {channels}: a filter has a slice for every input channel, not only one.")
        if got != right:
            raise NotYet(f"for in, out, kernel = {channels} you say {got}; PyTorch's layer has {right:,}.")
    return "weights: out × in × k × k, and a bias for each output channel. The picture's size plays no part."


@checker
def horizontal_edges(filter_: torch.Tensor) -> str:
    """A (3, 3) filter: positive on a top edge (paper above, ink below), zero on flat areas and vertical edges."""
    weights = torch.as_tensor(filter_, dtype=torch.float32)
    if weights.shape != (3, 3):
        raise NotYet(f"a 3×3 filter is asked for; this is {tuple(weights.shape)}.")
    top = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 1, 1]])

    def answer(window: torch.Tensor) -> float:
        return float(F.conv2d(window[None, None], weights[None, None]))

    if abs(answer(torch.ones(3, 3))) > 1e-5:
        raise NotYet(
            f"on plain ink it answers {answer(torch.ones(3, 3)):.2f} instead of 0: the nine weights should sum to zero."
        )
    if abs(answer(top.T)) > 1e-5 or abs(answer(top.T.flip(1))) > 1e-5:
        raise NotYet(
            "it answers to vertical edges as well. Each row of weights should be the same number throughout, "
            "or at least left and right should cancel."
        )
    bottom, thick = top.flip(0), 1 - top.flip(0)  # thick: the lower two rows are ink
    if answer(bottom) > 1e-5:
        raise NotYet(
            f"on a bottom edge (ink in the highest row) it answers {answer(bottom):.2f}; it should not be "
            f"positive, or it cannot tell where a stroke begins from where it ends."
        )
    if answer(top) <= 0 or answer(thick) <= 0:
        raise NotYet(
            f"on a top edge it answers {answer(top):.2f} with ink in the lowest row and {answer(thick):.2f} with ink "
            f"in the lower two; both should be positive."
        )
    return "it answers to ink that begins below paper, and to nothing else. Training finds such filters by itself."
