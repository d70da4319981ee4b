"""Notebook 10's checkers accept right answers and refuse plausible wrong ones with a reason."""

import numpy as np
import pytest
import torch

from mnistlab.exercises import speed


def work(i, o, k, side, batch):
    return i * o * k * k * side * side * batch


def every(size, rank, count):
    return range(rank, size, count), len(range(rank, size, count)) * count / size


def runs(size, rank, count):
    """Neighbours together, the first workers one more where it does not divide."""
    mine = np.array_split(np.arange(size), count)[rank]
    return mine, len(mine) * count / size


def cut(size, rank, count):
    return range(rank * (size // count), (rank + 1) * (size // count)), 1.0


def last_takes_the_rest(size, rank, count):
    each = size // count
    mine = range(rank * each, size if rank == count - 1 else (rank + 1) * each)
    return mine, len(mine) * count / size


RIGHT = [
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, s, b) / rate),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: torch.tensor(3.0).double() * work(i, o, k, s, b) / rate),
    (speed.share, every),
    (speed.share, runs),
    (speed.share, lambda n, rank, count: (torch.arange(n)[rank::count], len(range(rank, n, count)) / (n / count))),
    (speed.speed_up, lambda share, factor: 1 / (1 - share + share / factor)),
]

WRONG = [
    (speed.floor_seconds, lambda i, o, k, s, b, rate: work(i, o, k, s, b) / rate, "forward pass alone"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 2 * work(i, o, k, s, b) / rate, "backward pass alone"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 6 * work(i, o, k, s, b) / rate, "counts as one"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, s, 1) / rate, "one digit"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, 1, s, b) / rate, "kernel_size² products"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * i * o * k * s * s * b / rate, "kernel_size is to be squared"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * i * o * k * k * s * b / rate, "side is to be squared"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * work(1, o, k, s, b) / rate, "one slice"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, 1, b) / rate, "every place"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, s, b), "at `rate` a second"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: rate / (3 * work(i, o, k, s, b)), "steps a second"),
    (speed.floor_seconds, lambda i, o, k, s, b, rate: 1.0, "it should be"),
    (speed.share, cut, "do not divide"),
    (speed.share, last_takes_the_rest, "keeps all others waiting"),
    (speed.share, lambda n, rank, count: (range(n), 1.0), "twice"),
    (speed.share, lambda n, rank, count: (range(rank + 1, n + 1, count), 1.0), "positions go from 0"),
    (speed.share, lambda n, rank, count: (every(n, rank, count)[0], 1.0), "same weight"),
    (speed.share, lambda n, rank, count: (every(n, rank, count)[0], len(range(rank, n, count)) / n), "averaged"),
    (speed.share, lambda n, rank, count: (every(n, rank, count)[0], n), "they should be"),
    (speed.share, lambda n, rank, count: len(range(rank, n, count)), "two things"),
    (speed.share, lambda n, rank, count: ([], 1.0), "only 0 digits"),
    (speed.speed_up, lambda share, factor: 1 - share + share / factor, "one over it"),
    (speed.speed_up, lambda share, factor: 1 / (share + (1 - share) / factor), "other part"),
    (speed.speed_up, lambda share, factor: factor, "the rest takes as long"),
    (speed.speed_up, lambda share, factor: 1 - share + share * factor, "Add up times"),
    (speed.speed_up, lambda share, factor: 1 / (1 - share), "still takes some time"),
    (speed.speed_up, lambda share, factor: 1.0, "the whole becomes"),
]

CHECKERS = list(dict.fromkeys(check for check, _ in RIGHT))


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=lambda x: getattr(x, "__name__", ""))
def test_right(check, answer):
    verdict = check(answer)
    assert verdict.state == "right", verdict


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_wrong(check, answer, reason):
    verdict = check(answer)
    assert verdict.state == "not yet" and reason in verdict.message, verdict


@pytest.mark.parametrize("check", CHECKERS, ids=lambda check: check.__name__)
def test_stubs_and_accidents(check):
    assert check(...).state == "not attempted"
    assert check(lambda *_: ...).state == "not attempted"
    assert "returns nothing" in check(lambda *_: None).message
    assert "a function is asked for" in check(3).message
    assert check(lambda *_: 1 / 0).state == "not yet"
