"""The benchmarks' own parts: contestants take turns, and what is compared is what it says."""

import os

import pytest
import torch

import mnistlab as ml
from benchmarks import bench
from benchmarks.contest import contest

pytestmark = pytest.mark.slow


def counting():
    calls = []

    def act(word: str) -> tuple:
        if word == "fail":
            raise ValueError("on purpose")
        calls.append(word)
        return os.getpid(), len(calls)

    return act


def test_contestants_live_apart_and_answer_in_turn():
    with contest(one=counting, two=counting) as run:
        seconds, (first, count) = run["one"].call("a")
        assert seconds > 0 and count == 1 and first != os.getpid()
        assert run["two"].call("a")[1][0] != first
        assert run["one"].call("b")[1] == (first, 2)
        with pytest.raises(ValueError, match="on purpose"):
            run["one"].call("fail")
        process = run["one"].process
    assert not process.is_alive()


def test_widened_by_one_is_the_reference():
    pairs = zip(bench.widened(1).parameters(), ml.CNN().parameters(), strict=True)
    assert all(ours.shape == reference.shape for ours, reference in pairs)
    half = bench.widened(0.5)
    assert half(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(p.numel() for p in half.parameters()) < 0.3 * sum(p.numel() for p in ml.CNN().parameters())
