"""Checkers for notebook 11."""

import json
from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import save

from mnistlab.exercises import NotYet, call, checker


@checker
def quantise(function: Callable) -> str:
    """quantise(weights) → (codes, step): weights ≈ codes · step, codes int8 from −127 to 127, one step for all."""
    weights = torch.randn(16, 3, 3, generator=torch.Generator().manual_seed(9)) / 10
    weights[3, 1, 1], weights[5, 0, 2] = -0.9, 0.0  # the largest in size is negative
    result = call(function, weights.clone())
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise NotYet("return two things: the codes and the step.")
    codes, step = torch.as_tensor(result[0]), torch.as_tensor(result[1], dtype=torch.float64)
    if codes.shape != weights.shape or step.numel() != 1:
        raise NotYet("one code for each weight is asked for, and one step for all of them.")
    right, step = 0.9 / 127, float(step)
    for message, mistake in {
        "your step is turned round. It is how much weight one code stands for: the largest weight ÷ 127.": 1 / right,
        "with that step the largest weight becomes −128, and its opposite, 128, is no int8. Divide by 127.": 0.9 / 128,
        "your step leaves the largest code at about 64. Codes from −127 to 127 are 254 steps, 127 on each side.": 0.9
        / 63.5,
        "your step comes from the largest weight, but the largest in size is negative. Take abs() first.": float(
            weights.max() / 127
        ),
        "that step spreads 255 codes from the smallest weight to the largest, so that 0 is no code of its own. "
        "Spread them evenly to both sides of 0.": float((weights.max() - weights.min()) / 255),
    }.items():
        if abs(step - mistake) < 1e-4 * mistake:
            raise NotYet(message)
    if abs(step - right) > 1e-4 * right:
        raise NotYet(f"the largest weight, in size, is 0.9, so a step should be {right:.5f}; yours is {step:.5f}.")
    if codes.dtype != torch.int8:
        raise NotYet(f"the step is right; the codes should be torch.int8, and yours are {codes.dtype}.")
    far = float((codes.double() * right - weights.double()).abs().max()) / right
    if far > 0.51:
        hint = " Without rounding, .to(torch.int8) cuts off what is behind the point." if far < 1 else ""
        raise NotYet(f"one weight is {far:.2f} steps away from its code; rounding leaves at most half a step.{hint}")
    return "a quarter of the bytes, and no weight has moved by more than half a step."


@checker
def p99(function: Callable) -> str:
    """p99(milliseconds) → the time within which 99 of 100 calls were done."""
    times = np.random.default_rng(9).lognormal(1, 0.8, 1000)
    ranked = np.sort(times)
    got = float(call(function, times.tolist()))
    if ranked[988] <= got <= ranked[991]:  # there are several ways to cut between two calls
        return "one call in a hundred is slower; of those who make a hundred calls, nearly two in three meet one."
    if ranked[8] <= got <= ranked[11]:
        raise NotYet("that is the fast end: only one call in a hundred is faster. Sort upwards.")
    for message, mistake in {
        "that is the slowest call of all, one in a thousand here. A single accident decides it.": ranked[-1],
        "that is the mean. It hides the slow calls among the many fast ones.": times.mean(),
        "that is the median, p50: half of the calls are slower.": np.median(times),
        "that is p90: one call in ten is slower, not one in a hundred.": np.quantile(times, 0.9),
        "that is 99% of the slowest time. Count calls, not milliseconds.": 0.99 * ranked[-1],
        "that is whichever call came at that place. Sort them first.": times[990],
    }.items():
        if abs(got - mistake) < 0.01 * mistake:
            raise NotYet(message)
    raise NotYet(
        f"of 1,000 calls, 990 should take no longer; no longer than your {got:.2f} took {(times <= got).sum()}."
    )


@checker
def shapes(function: Callable) -> str:
    """shapes(content) → {name: shape} of every tensor in a safetensors file, read from its header by hand."""
    tensors = {"first.weight": torch.zeros(4, 2, 3, 3), "first.bias": torch.zeros(4), "steps": torch.tensor(7)}
    content = save(tensors, metadata={"format": "pt"})
    try:
        got = call(function, content)
    except (ValueError, MemoryError, OverflowError) as error:
        raise NotYet(
            "what you took for the header is no JSON. It begins at byte 8, and is as long as the first eight bytes "
            f"say, the lowest byte first. ({type(error).__name__}: {error})"
        ) from error
    except KeyError as error:
        raise NotYet(f"an entry has no {error}. One of them, __metadata__, is no tensor: leave it out.") from error
    if not isinstance(got, dict):
        raise NotYet(f"a dict is asked for, name → shape; you return {type(got).__name__}.")
    if "__metadata__" in got:
        raise NotYet("__metadata__ is a note about the file, and no tensor: leave it out.")
    if missing := [name for name in tensors if name not in got]:
        raise NotYet(f"{missing[0]} is in the file and not in your answer.")
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for name, tensor in tensors.items():
        shape = got[name]
        if isinstance(shape, dict):
            raise NotYet(f"of {name} you give the whole entry; only its shape is asked for.")
        if list(np.ravel(shape)) == header[name]["data_offsets"]:
            raise NotYet(f"that is where the bytes of {name} begin and end. Its shape stands beside that.")
        if np.ndim(shape) != 1 or [int(side) for side in shape] != list(tensor.shape):
            raise NotYet(f"{name} has the shape {list(tensor.shape)}; you say {shape}.")
    return f"{len(content):,} bytes, and not one of them was run as code."
