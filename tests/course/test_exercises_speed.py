"""Notebook 10's checkers accept right answers and refuse plausible wrong ones with a reason."""

import numpy as np
import pytest
import torch

from mnistlab.course import speed


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
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, s, b) / rate),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: torch.tensor(3.0).double() * work(i, o, k, s, b) / rate),
    (speed.check_share, every),
    (speed.check_share, runs),
    (
        speed.check_share,
        lambda n, rank, count: (torch.arange(n)[rank::count], len(range(rank, n, count)) / (n / count)),
    ),
    (speed.check_speed_up, lambda share, factor: 1 / (1 - share + share / factor)),
]

WRONG = [
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: work(i, o, k, s, b) / rate, "forward pass alone"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 2 * work(i, o, k, s, b) / rate, "backward pass alone"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 6 * work(i, o, k, s, b) / rate, "counts as one"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, s, 1) / rate, "one digit"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, 1, s, b) / rate, "kernel_size² products"),
    (
        speed.check_floor_seconds,
        lambda i, o, k, s, b, rate: 3 * i * o * k * s * s * b / rate,
        "kernel_size is to be squared",
    ),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * i * o * k * k * s * b / rate, "side is to be squared"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * work(1, o, k, s, b) / rate, "one slice"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, 1, b) / rate, "every place"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, s, b), "at `rate` a second"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: rate / (3 * work(i, o, k, s, b)), "steps a second"),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 1.0, "it should be"),
    (speed.check_share, cut, "do not divide"),
    (speed.check_share, last_takes_the_rest, "keeps all others waiting"),
    (speed.check_share, lambda n, rank, count: (range(n), 1.0), "twice"),
    (speed.check_share, lambda n, rank, count: (range(rank + 1, n + 1, count), 1.0), "positions go from 0"),
    (speed.check_share, lambda n, rank, count: (every(n, rank, count)[0], 1.0), "same weight"),
    (speed.check_share, lambda n, rank, count: (every(n, rank, count)[0], len(range(rank, n, count)) / n), "averaged"),
    (speed.check_share, lambda n, rank, count: (every(n, rank, count)[0], n), "they should be"),
    (speed.check_share, lambda n, rank, count: len(range(rank, n, count)), "two things"),
    (speed.check_share, lambda n, rank, count: ([], 1.0), "only 0 digits"),
    (speed.check_speed_up, lambda share, factor: 1 - share + share / factor, "one over it"),
    (speed.check_speed_up, lambda share, factor: 1 / (share + (1 - share) / factor), "other part"),
    (speed.check_speed_up, lambda share, factor: factor, "the rest takes as long"),
    (speed.check_speed_up, lambda share, factor: 1 - share + share * factor, "Add up times"),
    (speed.check_speed_up, lambda share, factor: 1 / (1 - share), "still takes some time"),
    (speed.check_speed_up, lambda share, factor: 1.0, "the whole becomes"),
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
