"""Notebook 11's checkers accept right answers, tell a stub from an attempt, and refuse wrong answers with a reason."""

import json

import numpy as np
import pytest
import torch

from mnistlab.course import shipping


def quantise(weights, largest=127, rounded=torch.round, size=torch.abs):
    step = float(size(weights).max()) / largest
    return rounded(weights / step).to(torch.int8), step


def header(content, order="little", start=8):
    return json.loads(content[start : start + int.from_bytes(content[:8], order)])


def tensors(content):
    return {name: entry for name, entry in header(content).items() if name != "__metadata__"}


RIGHT = [
    (shipping.check_quantise, quantise),
    (shipping.check_quantise, lambda w: [(w / (w.abs().max() / 127)).round().to(torch.int8), w.abs().max() / 127]),
    (shipping.check_p99, lambda times: np.percentile(times, 99)),
    (shipping.check_p99, lambda times: sorted(times)[int(0.99 * len(times))]),
    (shipping.check_p99, lambda times: sorted(times)[int(0.99 * len(times)) - 1]),
    (shipping.check_shapes, lambda content: {name: entry["shape"] for name, entry in tensors(content).items()}),
    (shipping.check_shapes, lambda content: {name: tuple(entry["shape"]) for name, entry in tensors(content).items()}),
]

WRONG = [
    (shipping.check_quantise, lambda w: quantise(w, 128), "no int8"),
    (shipping.check_quantise, lambda w: quantise(w, 63.5), "127 on each side"),
    (shipping.check_quantise, lambda w: quantise(w, 100), "a step should be"),
    (shipping.check_quantise, lambda w: quantise(w, rounded=torch.trunc), "cuts off"),
    (shipping.check_quantise, lambda w: quantise(w, rounded=lambda codes: codes / 2), "at most half a step"),
    (shipping.check_quantise, lambda w: quantise(w, size=lambda w: w), "abs() first"),
    (shipping.check_quantise, lambda w: (quantise(w)[0], 1 / quantise(w)[1]), "turned round"),
    (shipping.check_quantise, lambda w: (quantise(w)[0], (w.max() - w.min()) / 255), "both sides of 0"),
    (shipping.check_quantise, lambda w: (quantise(w)[0].float(), quantise(w)[1]), "torch.int8"),
    (shipping.check_quantise, lambda w: quantise(w)[0], "two things"),
    (shipping.check_quantise, lambda w: (quantise(w)[0][0], quantise(w)[1]), "one code for each weight"),
    (shipping.check_quantise, lambda w: (quantise(w)[0], w.abs().amax((1, 2)) / 127), "one step for all"),
    (shipping.check_p99, max, "slowest call"),
    (shipping.check_p99, np.mean, "the mean"),
    (shipping.check_p99, np.median, "half of the calls"),
    (shipping.check_p99, lambda times: sorted(times, reverse=True)[int(0.99 * len(times))], "fast end"),
    (shipping.check_p99, lambda times: np.percentile(times, 90), "one call in ten"),
    (shipping.check_p99, lambda times: 0.99 * max(times), "Count calls"),
    (shipping.check_p99, lambda times: times[int(0.99 * len(times))], "Sort them first"),
    (shipping.check_p99, lambda times: np.percentile(times, 99) / 1000, "should take no longer"),
    (shipping.check_p99, lambda times: np.percentile(times, 99.9) * 2, "took 1000"),
    (shipping.check_shapes, lambda content: header(content, "big"), "lowest byte first"),
    (shipping.check_shapes, lambda content: header(content, start=0), "begins at byte 8"),
    (shipping.check_shapes, lambda content: {n: e["shape"] for n, e in header(content).items()}, "leave it out"),
    (shipping.check_shapes, lambda content: {n: e.get("shape") for n, e in header(content).items()}, "no tensor"),
    (shipping.check_shapes, lambda content: tensors(content), "only its shape"),
    (
        shipping.check_shapes,
        lambda content: {n: e["data_offsets"] for n, e in tensors(content).items()},
        "begin and end",
    ),
    (shipping.check_shapes, lambda content: {n: len(e["shape"]) for n, e in tensors(content).items()}, "you say"),
    (shipping.check_shapes, lambda content: {n: e["shape"][::-1] for n, e in tensors(content).items()}, "you say"),
    (shipping.check_shapes, lambda content: list(tensors(content)), "a dict is asked for"),
    (shipping.check_shapes, lambda content: {}, "not in your answer"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=lambda x: getattr(x, "__name__", ""))
def test_right(check, answer):
    verdict = check(answer)
    assert verdict.state == "right", verdict


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_wrong(check, answer, reason):
    verdict = check(answer)
    assert verdict.state == "not yet" and reason in verdict.message, verdict


@pytest.mark.parametrize(
    "check", [shipping.check_quantise, shipping.check_p99, shipping.check_shapes], ids=lambda check: check.__name__
)
def test_stubs_and_accidents(check):
    assert check(...).state == check(lambda *_: ...).state == "not attempted"
    assert "returns nothing" in check(lambda *_: None).message
    assert "a function is asked for" in check(3).message
    assert check(lambda *_: 1 / 0).state == "not yet"
