"""Checkers for notebook 04."""

import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F

from mnistlab.config import TrainConfig
from mnistlab.exercises import NotYet, call, checker
from mnistlab.training import learning_rate_at


@checker
def cross_entropy(function: Callable) -> str:
    """cross_entropy(logits, label) → −log of the probability that softmax gives the right digit."""
    generator = torch.Generator().manual_seed(2)
    for label in range(10):
        logits = torch.randn(10, generator=generator) * 3
        got = float(call(function, logits, label))
        right = float(F.cross_entropy(logits[None], torch.tensor([label])))
        if abs(got + right) < 1e-4:
            raise NotYet("the sign is turned round: a loss is positive, and −log makes it so.")
        if abs(got - float(logits.softmax(0)[label])) < 1e-4:
            raise NotYet("that is the probability. The loss is minus its logarithm.")
        if abs(got - right / 2.302585) < 1e-4:
            raise NotYet("that is the logarithm to base 10; the natural one is asked for.")
        if not abs(got - right) < 1e-4:
            raise NotYet(f"for one set of logits you say {got:.4f}; PyTorch says {right:.4f}.")
    if not abs(float(call(function, torch.tensor([1000.0] + [0.0] * 9), 0))) < 1e-4:
        raise NotYet(
            "right for small logits, but with one logit at 1000 exp() overflows. Subtract the largest logit "
            "first, or use logsumexp."
        )
    return "it agrees with PyTorch, and large logits do not break it."


@checker
def schedule(function: Callable) -> str:
    """schedule(step, steps, peak, warmup) → learning rate: straight up over warmup·steps, straight down to 0."""
    steps, peak, warmup = 100, 0.008, 0.25
    config = TrainConfig(learning_rate=peak, warmup=warmup)
    for step in (0, 10, 24, 25, 40, 60, 85, 99):
        got, right = float(call(function, step, steps, peak, warmup)), learning_rate_at(step, steps, config)
        slope = peak / (warmup * steps) if step <= 25 else peak / (steps - warmup * steps)
        if abs(got - right) <= 1.01 * slope:  # one step more or less is a matter of taste
            continue
        where = "the way up" if step < 25 else "the way down"
        raise NotYet(f"on {where}, at step {step} of {steps}, you say {got:.5f}; the line passes through {right:.5f}.")
    return "up to the peak and down to zero: large steps while far from the goal, small ones near it."


@checker
def summarise(function: Callable) -> str:
    """summarise(accuracies) → (mean, sample standard deviation) over seeds."""
    accuracies = [0.9951, 0.9943, 0.9958, 0.9947, 0.9955]
    result = call(function, list(accuracies))
    try:
        mean, std = (float(value) for value in result)
    except (TypeError, ValueError) as error:
        raise NotYet("return two numbers: the mean, then the standard deviation.") from error
    if abs(mean - max(accuracies)) < 1e-6:
        raise NotYet("that is the best seed. It tells how lucky one run was, not how good the recipe is.")
    if abs(mean - statistics.mean(accuracies)) > 1e-6:
        raise NotYet(f"the mean of five runs should be {statistics.mean(accuracies):.5f}; you say {mean:.5f}.")
    if abs(std - statistics.pstdev(accuracies)) < 1e-6:
        raise NotYet("you divided by n. Five runs stand for all the runs that might have been: divide by n − 1.")
    if abs(std - statistics.stdev(accuracies)) > 1e-6:
        raise NotYet(f"the standard deviation should be {statistics.stdev(accuracies):.5f}; you say {std:.5f}.")
    return "mean and spread of all the runs, which is what a README should quote."
