"""How the learning rate changes in a run, and what the validation digits decide: when to lower it, and when to stop."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol


class Settings(Protocol):
    """What a schedule asks of a TrainConfig, which explains them."""

    @property
    def warmup(self) -> float: ...
    @property
    def factor(self) -> float: ...
    @property
    def wait(self) -> int: ...


Schedule = Callable[[Settings, int, int, Sequence[float]], float]


def constant(config: Settings, step: int, steps: int, measured: Sequence[float]) -> float:
    """The peak, at every step."""
    return 1.0


def triangle(config: Settings, step: int, steps: int, measured: Sequence[float]) -> float:
    """In a straight line to the peak over the first `warmup` of all steps, then in a straight line to zero."""
    peak = config.warmup * steps
    return min(_climbing(config, step, steps), (steps - step) / max(steps - peak, 1), 1.0)


def cosine(config: Settings, step: int, steps: int, measured: Sequence[float]) -> float:
    """The same climb, then half a cosine wave down to zero.  Source: Loshchilov & Hutter, 2017."""
    peak = config.warmup * steps
    done = max(step - peak, 0) / max(steps - peak, 1)
    return min(_climbing(config, step, steps), (1 + math.cos(math.pi * done)) / 2)


def plateau(config: Settings, step: int, steps: int, measured: Sequence[float]) -> float:
    """The same climb, then the peak, times `factor` for each time that more than `wait` epochs brought no new best."""
    return min(_climbing(config, step, steps), 1.0) * config.factor ** drops(measured, config.wait)


def _climbing(config: Settings, step: int, steps: int) -> float:
    return (step + 1) / max(config.warmup * steps, 1)


# By its name in TrainConfig: (config, step, steps, measured) → the share of the peak that this step takes.
SCHEDULES: dict[str, Schedule] = {"triangle": triangle, "cosine": cosine, "constant": constant, "plateau": plateau}


def drops(measured: Sequence[float], wait: int) -> int:
    """How often more than `wait` epochs in a row brought no smaller value; after each time, the count begins anew.

    >>> drops([0.5, 0.4, 0.4, 0.45, 0.41, 0.42], wait=1)
    2
    """
    best, waited, count = math.inf, 0, 0
    for value in measured:
        waited = 0 if value < best else waited + 1
        best = min(best, value)
        if waited > wait:
            waited, count = 0, count + 1
    return count


def best(measured: Sequence[float]) -> int:
    """Which epoch, from 0 up, has the smallest value; of several, the first."""
    return min(range(len(measured)), key=lambda epoch: measured[epoch])


def exhausted(measured: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` epochs have brought no smaller value; with a patience of 0, never."""
    return 0 < patience < len(measured) - best(measured) if measured else False
