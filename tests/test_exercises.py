"""Every checker accepts the right answer, tells a stub from an attempt, and refuses wrong answers with a reason."""

import math

import pytest
import torch

from mnistlab.exercises import Verdict, architecture, dataset, forward, seeing, training
from mnistlab.exercises.training import F

MEAN, STD = 0.1306604763, 0.3081078039


def falls_short(step, steps, peak, warmup):
    return peak * min(1, (step + 1) / (warmup * steps))


def cosine(step, steps, peak, warmup):
    top = warmup * steps
    if step < top:
        return peak * (step + 1) / top
    return peak * (1 + math.cos(math.pi * (step - top) / (steps - top))) / 2


def view(cell, start, step, size):
    first = start + cell * step
    return max(first, 0), min(first + size - 1, 27)


def weighted(maps, gradients):
    return gradients.mean((1, 2))[:, None, None] * maps


RIGHT = [
    (dataset.ink_share, lambda images: (images > 0).float().mean()),
    (dataset.invert, lambda images: ~images),
    (dataset.denormalise, lambda x: ((x * STD + MEAN) * 255 + 0.5).to(torch.uint8)),
    (architecture.output_size, lambda n, k, s, p: (n + 2 * p - k) // s + 1),
    (architecture.conv_parameters, lambda i, o, k: o * (i * k * k + 1)),
    (architecture.horizontal_edges, [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
    (training.cross_entropy, lambda logits, label: -logits.log_softmax(0)[label]),
    (training.schedule, lambda s, n, p, w: p * min((s + 1) / (w * n), (n - s) / (n - w * n))),
    (
        training.summarise,
        lambda a: (sum(a) / len(a), (sum((x - sum(a) / len(a)) ** 2 for x in a) / (len(a) - 1)) ** 0.5),
    ),
    (seeing.view, view),
    (seeing.grad_cam, lambda maps, gradients: weighted(maps, gradients).sum(0).clamp(min=0)),
    (forward.fold, lambda weights, bias, scale, shift: (weights * scale, bias * scale + shift)),
    (forward.softmax, lambda logits: (logits - logits.logsumexp(0)).exp()),
    (forward.decisive_unit, lambda units, winner, rival: (units * (winner - rival)).argmax()),
    (seeing.dead_share, lambda outputs: 1 - (outputs > 0).any(3).any(2).any(0).double().mean()),
]

WRONG = [
    (dataset.ink_share, lambda images: (images == 0).float().mean(), "paper"),
    (dataset.ink_share, lambda images: images.float().mean() / 255, "brightness"),
    (dataset.ink_share, lambda images: 100 * (images != 0).double().mean(), "percentage"),
    (dataset.ink_share, lambda images: (images > 127).double().mean(), "counting gives"),
    (dataset.invert, lambda images: -images, "wraps round"),
    (dataset.invert, lambda images: 255.0 - images, "uint8"),
    (dataset.invert, lambda images: 254 - images, "became"),
    (dataset.invert, lambda images: images.mul_(0), "changed the images"),
    (dataset.denormalise, lambda x: ((x * STD + MEAN) * 255).to(torch.uint8), "off by one"),
    (
        dataset.denormalise,
        lambda x: ((x + MEAN) * STD * 255).clamp(0, 255).round().to(torch.uint8),
        "reverse order",
    ),
    (dataset.denormalise, lambda x: x * STD + MEAN, "end at 1"),
    (dataset.denormalise, lambda x: ((x * STD + MEAN) * 255).round().to(torch.uint8)[0, 0], "shape"),
    (architecture.output_size, lambda n, k, s, p: (n + 2 * p - k) // s, "first window"),
    (architecture.output_size, lambda n, k, s, p: (n + 2 * p - k) / s + 1, "whole windows"),
    (architecture.output_size, lambda n, k, s, p: (n + p - k) // s + 1, "PyTorch makes"),
    (architecture.conv_parameters, lambda i, o, k: i * o * k * k, "bias"),
    (architecture.conv_parameters, lambda i, o, k: o * (k * k + 1), "slice"),
    (architecture.conv_parameters, lambda i, o, k: o * i * k + o, "PyTorch's layer"),
    (architecture.horizontal_edges, torch.ones(3, 3), "sum to zero"),
    (architecture.horizontal_edges, [[1, 1, 1], [0, 0, 0], [-1, -1, -1]], "positive"),
    (architecture.horizontal_edges, [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], "vertical"),
    (architecture.horizontal_edges, [[1, 1, 1], [-2, -2, -2], [1, 1, 1]], "bottom edge"),
    (architecture.horizontal_edges, torch.zeros(5, 5), "3×3"),
    (training.cross_entropy, lambda logits, label: logits.log_softmax(0)[label], "sign"),
    (training.cross_entropy, lambda logits, label: logits.softmax(0)[label], "probability"),
    (
        training.cross_entropy,
        lambda logits, label: -(logits.exp()[label] / logits.exp().sum()).log(),
        "overflows",
    ),
    (
        training.cross_entropy,
        lambda logits, label: F.mse_loss(logits.softmax(0), torch.eye(10)[label]),
        "PyTorch says",
    ),
    (training.schedule, falls_short, "way down"),
    (training.schedule, lambda s, n, p, w: p * (n - s) / n, "way up"),
    (training.schedule, lambda s, n, p, w: p, "way up"),
    (training.schedule, cosine, "way down"),
    (training.summarise, lambda a: (max(a), 0.0), "best seed"),
    (
        training.summarise,
        lambda a: (torch.tensor(a, dtype=torch.float64).mean(), torch.tensor(a).double().std(correction=0)),
        "n − 1",
    ),
    (training.summarise, lambda a: sum(a) / len(a), "two numbers"),
    (seeing.view, lambda c, s, t, n: (s + c * t, s + c * t + n - 1), "cut off"),
    (seeing.view, lambda c, s, t, n: (max(s + c * t, 0), min(s + c * t + n, 28)), "one too far"),
    (seeing.view, lambda c, s, t, n: (max(s + c, 0), min(s + c + n - 1, 27)), "moves 2 pixels"),
    (seeing.view, lambda c, s, t, n: (0, 27), "it sees 3 to 5"),
    (seeing.view, lambda c, s, t, n: s + c * t, "two numbers"),
    (seeing.grad_cam, lambda maps, gradients: weighted(maps, gradients).sum(0), "negative"),
    (seeing.grad_cam, lambda maps, gradients: weighted(maps, gradients).relu().sum(0), "after the sum"),
    (seeing.grad_cam, lambda maps, gradients: weighted(maps, gradients).relu(), "Add them up"),
    (seeing.grad_cam, lambda maps, gradients: (maps * gradients).sum(0).relu(), "one weight"),
    (seeing.grad_cam, lambda maps, gradients: weighted(gradients, maps).sum(0).relu(), "changed places"),
    (seeing.grad_cam, lambda maps, gradients: maps.sum(0), "alike"),
    (seeing.grad_cam, lambda maps, gradients: 20 * weighted(maps, gradients).sum(0).relu(), "not their sum"),
    (seeing.grad_cam, lambda maps, gradients: weighted(maps, gradients).sum((1, 2)).relu(), "one map"),
    (seeing.grad_cam, lambda maps, gradients: weighted(maps, gradients).amax(0), "largest cell"),
    (seeing.dead_share, lambda outputs: (outputs == 0).double().mean(), "some zeros"),
    (seeing.dead_share, lambda outputs: (outputs.amax((2, 3)) == 0).double().mean(), "every digit"),
    (seeing.dead_share, lambda outputs: (outputs.amax((0, 2, 3)) == 0).sum(), "share"),
    (seeing.dead_share, lambda outputs: (outputs.amax((0, 2, 3)) > 0).double().mean(), "living"),
    (seeing.dead_share, lambda outputs: (outputs[0].amax((1, 2)) == 0).double().mean(), "alive"),
    (seeing.dead_share, lambda outputs: 0.0, "so 0.25"),
    (forward.fold, lambda weights, bias, scale, shift: (weights * scale, bias + shift), "scales the bias too"),
    (forward.fold, lambda weights, bias, scale, shift: (weights * scale, bias * scale), "Where has the shift gone"),
    (forward.fold, lambda weights, bias, scale, shift: weights * scale, "two things"),
    (forward.fold, lambda weights, bias, scale, shift: ((weights * scale).sum(), bias), "3×3 again"),
    (forward.softmax, lambda logits: logits.exp() / logits.exp().sum(), "Subtract the same number"),
    (forward.softmax, lambda logits: logits / logits.sum(), "PyTorch says"),
    (forward.softmax, lambda logits: (logits - logits.max()).exp(), "add up to"),
    (forward.softmax, lambda logits: logits.argmax(), "one probability each"),
    (forward.decisive_unit, lambda units, winner, rival: (units * winner).argmax(), "goes to both alike"),
    (forward.decisive_unit, lambda units, winner, rival: (winner - rival).argmax(), "casts no vote"),
    (
        forward.decisive_unit,
        lambda units, winner, rival: (units * (winner - rival)).abs().argmax(),
        "speaks for the rival",
    ),
    (forward.decisive_unit, lambda units, winner, rival: units, "a unit's number"),
]

CHECKERS = list(dict.fromkeys(check for check, _ in RIGHT))  # not a set: parallel workers must agree on the order


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
    if check is not architecture.horizontal_edges:
        assert check(lambda *_: ...).state == "not attempted"
        assert "returns nothing" in check(lambda *_: None).message
        assert "a function is asked for" in check(3).message
    failing = check(lambda *_: 1 / 0)
    assert failing.state == "not yet"
    assert sum(wrong is check for wrong, *_ in WRONG) >= 2


def test_verdict_can_be_read():
    verdict = Verdict("not yet", "a < b")
    assert repr(verdict) == "Not yet: a < b" and "a &lt; b" in verdict._repr_html_()
