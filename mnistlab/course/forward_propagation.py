"""The notebook on forward propagation: its figures, and the checkers of its exercises."""

from collections.abc import Callable

import torch
from torch import nn

from mnistlab.course.check import NotYet, call, checker


@checker
def check_fold(function: Callable) -> str:
    """fold(weights, bias, scale, shift) → weights and bias of one convolution that also does the batch norm."""
    generator = torch.Generator().manual_seed(0)
    window, weights = torch.randn(2, 3, 3, generator=generator)
    for bias, scale, shift in ((0.5, 2.0, -1.0), (-0.3, 0.25, 0.4), (0.0, -1.5, 0.0)):
        convolution = nn.Conv2d(1, 1, 3)
        convolution.weight.data[:], convolution.bias.data[:] = weights, bias
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
def check_softmax(function: Callable) -> str:
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
def check_decisive_unit(function: Callable) -> str:
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
