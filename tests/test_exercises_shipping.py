"""Notebook 11's checkers accept right answers, tell a stub from an attempt, and refuse wrong answers with a reason."""

import json

import numpy as np
import pytest
import torch

from mnistlab.exercises import shipping


def quantise(weights, largest=127, rounded=torch.round, size=torch.abs):
    step = float(size(weights).max()) / largest
    return rounded(weights / step).to(torch.int8), step


def header(content, order="little", start=8):
    return json.loads(content[start : start + int.from_bytes(content[:8], order)])


def tensors(content):
    return {name: entry for name, entry in header(content).items() if name != "__metadata__"}


RIGHT = [
    (shipping.quantise, quantise),
    (shipping.quantise, lambda w: [(w / (w.abs().max() / 127)).round().to(torch.int8), w.abs().max() / 127]),
    (shipping.p99, lambda times: np.percentile(times, 99)),
    (shipping.p99, lambda times: sorted(times)[int(0.99 * len(times))]),
    (shipping.p99, lambda times: sorted(times)[int(0.99 * len(times)) - 1]),
    (shipping.shapes, lambda content: {name: entry["shape"] for name, entry in tensors(content).items()}),
    (shipping.shapes, lambda content: {name: tuple(entry["shape"]) for name, entry in tensors(content).items()}),
]

WRONG = [
    (shipping.quantise, lambda w: quantise(w, 128), "no int8"),
    (shipping.quantise, lambda w: quantise(w, 63.5), "127 on each side"),
    (shipping.quantise, lambda w: quantise(w, 100), "a step should be"),
    (shipping.quantise, lambda w: quantise(w, rounded=torch.trunc), "cuts off"),
    (shipping.quantise, lambda w: quantise(w, rounded=lambda codes: codes / 2), "at most half a step"),
    (shipping.quantise, lambda w: quantise(w, size=lambda w: w), "abs() first"),
    (shipping.quantise, lambda w: (quantise(w)[0], 1 / quantise(w)[1]), "turned round"),
    (shipping.quantise, lambda w: (quantise(w)[0], (w.max() - w.min()) / 255), "both sides of 0"),
    (shipping.quantise, lambda w: (quantise(w)[0].float(), quantise(w)[1]), "torch.int8"),
    (shipping.quantise, lambda w: quantise(w)[0], "two things"),
    (shipping.quantise, lambda w: (quantise(w)[0][0], quantise(w)[1]), "one code for each weight"),
    (shipping.quantise, lambda w: (quantise(w)[0], w.abs().amax((1, 2)) / 127), "one step for all"),
    (shipping.p99, max, "slowest call"),
    (shipping.p99, np.mean, "the mean"),
    (shipping.p99, np.median, "half of the calls"),
    (shipping.p99, lambda times: sorted(times, reverse=True)[int(0.99 * len(times))], "fast end"),
    (shipping.p99, lambda times: np.percentile(times, 90), "one call in ten"),
    (shipping.p99, lambda times: 0.99 * max(times), "Count calls"),
    (shipping.p99, lambda times: times[int(0.99 * len(times))], "Sort them first"),
    (shipping.p99, lambda times: np.percentile(times, 99) / 1000, "should take no longer"),
    (shipping.p99, lambda times: np.percentile(times, 99.9) * 2, "took 1000"),
    (shipping.shapes, lambda content: header(content, "big"), "lowest byte first"),
    (shipping.shapes, lambda content: header(content, start=0), "begins at byte 8"),
    (shipping.shapes, lambda content: {n: e["shape"] for n, e in header(content).items()}, "leave it out"),
    (shipping.shapes, lambda content: {n: e.get("shape") for n, e in header(content).items()}, "no tensor"),
    (shipping.shapes, lambda content: tensors(content), "only its shape"),
    (shipping.shapes, lambda content: {n: e["data_offsets"] for n, e in tensors(content).items()}, "begin and end"),
    (shipping.shapes, lambda content: {n: len(e["shape"]) for n, e in tensors(content).items()}, "you say"),
    (shipping.shapes, lambda content: {n: e["shape"][::-1] for n, e in tensors(content).items()}, "you say"),
    (shipping.shapes, lambda content: list(tensors(content)), "a dict is asked for"),
    (shipping.shapes, lambda content: {}, "not in your answer"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=lambda x: getattr(x, "__name__", ""))
def test_right(check, answer):
    verdict = check(answer)
    assert verdict.state == "right", verdict


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_wrong(check, answer, reason):
    verdict = check(answer)
    assert verdict.state == "not yet" and reason in verdict.message, verdict


@pytest.mark.parametrize("check", [shipping.quantise, shipping.p99, shipping.shapes], ids=lambda check: check.__name__)
def test_stubs_and_accidents(check):
    assert check(...).state == check(lambda *_: ...).state == "not attempted"
    assert "returns nothing" in check(lambda *_: None).message
    assert "a function is asked for" in check(3).message
    assert check(lambda *_: 1 / 0).state == "not yet"
