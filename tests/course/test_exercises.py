"""Every checker accepts the right answer, tells a stub from an attempt, and refuses wrong answers with a reason."""

import itertools
import json
import math
import statistics

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mnistlab.course import (
    architecture,
    architectures,
    dataset,
    filters_and_feature_maps,
    forward_propagation,
    misclassifications,
    prediction,
    shipping,
    speed,
    training,
)
from mnistlab.course.check import Verdict

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


def scores(counts, digit):
    return counts[digit, digit] / counts[:, digit].sum(), counts[digit, digit] / counts[digit].sum()


def answered(confidences, right, accuracy):
    so_far = right[np.argsort(-confidences)].cumsum() / np.arange(1, len(right) + 1)
    return (np.flatnonzero(so_far >= accuracy)[-1] + 1) / len(right)


def light_on_dark(grey):
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 255 - grey if border.median() > 127 else grey


def gaps(confidences, right):
    """Of each of ten bins: its share of the digits, and by how much its confidence is too high."""
    found = []
    for number in range(10):
        inside = (confidences > number / 10) & (confidences <= (number + 1) / 10)
        if inside.any():
            found.append((inside.mean(), confidences[inside].mean() - right[inside].mean()))
    return np.array(found).T


def parameters(sizes):
    return sum((before + 1) * after for before, after in itertools.pairwise(sizes))


def gain(a, b):
    errors = [statistics.variance(values) / len(values) for values in (a, b)]
    return statistics.mean(b) - statistics.mean(a), sum(errors) ** 0.5


def shuffle(images, order):
    return images.flatten(1)[:, order].view(-1, 1, 28, 28)


def shuffled_in_place(images, order):
    images.copy_(shuffle(images, order))
    return images


def scattered(images, order):
    made = torch.empty_like(images).flatten(1)
    made[:, order] = images.flatten(1)
    return made.view(-1, 1, 28, 28)


def each_by_itself(images, order):
    return torch.stack([image.flatten()[torch.randperm(784)].view(1, 28, 28) for image in images])


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


def quantise(weights, largest=127, rounded=torch.round, size=torch.abs):
    step = float(size(weights).max()) / largest
    return rounded(weights / step).to(torch.int8), step


def header(content, order="little", start=8):
    return json.loads(content[start : start + int.from_bytes(content[:8], order)])


def tensors(content):
    return {name: entry for name, entry in header(content).items() if name != "__metadata__"}


RIGHT = [
    (dataset.check_ink_share, lambda images: (images > 0).float().mean()),
    (dataset.check_invert, lambda images: ~images),
    (dataset.check_denormalise, lambda x: ((x * STD + MEAN) * 255 + 0.5).to(torch.uint8)),
    (architecture.check_output_size, lambda n, k, s, p: (n + 2 * p - k) // s + 1),
    (architecture.check_conv_parameters, lambda i, o, k: o * (i * k * k + 1)),
    (architecture.check_horizontal_edges, [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
    (training.check_cross_entropy, lambda logits, label: -logits.log_softmax(0)[label]),
    (training.check_schedule, lambda s, n, p, w: p * min((s + 1) / (w * n), (n - s) / (n - w * n))),
    (
        training.check_summarise,
        lambda a: (sum(a) / len(a), (sum((x - sum(a) / len(a)) ** 2 for x in a) / (len(a) - 1)) ** 0.5),
    ),
    (filters_and_feature_maps.check_view, view),
    (filters_and_feature_maps.check_grad_cam, lambda maps, gradients: weighted(maps, gradients).sum(0).clamp(min=0)),
    (forward_propagation.check_fold, lambda weights, bias, scale, shift: (weights * scale, bias * scale + shift)),
    (forward_propagation.check_softmax, lambda logits: (logits - logits.logsumexp(0)).exp()),
    (forward_propagation.check_decisive_unit, lambda units, winner, rival: (units * (winner - rival)).argmax()),
    (misclassifications.check_scores, scores),
    (misclassifications.check_one_step, lambda pixels, gradient, step: (pixels + step * gradient.sign()).clamp(0, 255)),
    (misclassifications.check_answered, answered),
    (prediction.check_light_on_dark, light_on_dark),
    (prediction.check_tempered, lambda logits, temperature: (logits / temperature).softmax(0)),
    (prediction.check_gap, lambda confidences, right: np.prod(np.abs(gaps(confidences, right)), 0).sum()),
    (filters_and_feature_maps.check_dead_share, lambda outputs: 1 - (outputs > 0).any(3).any(2).any(0).double().mean()),
    (architectures.check_mlp_parameters, parameters),
    (architectures.check_shuffle, shuffle),
    (architectures.check_gain, gain),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: 3 * work(i, o, k, s, b) / rate),
    (speed.check_floor_seconds, lambda i, o, k, s, b, rate: torch.tensor(3.0).double() * work(i, o, k, s, b) / rate),
    (speed.check_share, every),
    (speed.check_share, runs),
    (
        speed.check_share,
        lambda n, rank, count: (torch.arange(n)[rank::count], len(range(rank, n, count)) / (n / count)),
    ),
    (speed.check_speed_up, lambda share, factor: 1 / (1 - share + share / factor)),
    (shipping.check_quantise, quantise),
    (shipping.check_quantise, lambda w: [(w / (w.abs().max() / 127)).round().to(torch.int8), w.abs().max() / 127]),
    (shipping.check_p99, lambda times: np.percentile(times, 99)),
    (shipping.check_p99, lambda times: sorted(times)[int(0.99 * len(times))]),
    (shipping.check_p99, lambda times: sorted(times)[int(0.99 * len(times)) - 1]),
    (shipping.check_shapes, lambda content: {name: entry["shape"] for name, entry in tensors(content).items()}),
    (shipping.check_shapes, lambda content: {name: tuple(entry["shape"]) for name, entry in tensors(content).items()}),
]

WRONG = [
    (dataset.check_ink_share, lambda images: (images == 0).float().mean(), "paper"),
    (dataset.check_ink_share, lambda images: images.float().mean() / 255, "brightness"),
    (dataset.check_ink_share, lambda images: 100 * (images != 0).double().mean(), "percentage"),
    (dataset.check_ink_share, lambda images: (images > 127).double().mean(), "counting gives"),
    (dataset.check_invert, lambda images: -images, "wraps round"),
    (dataset.check_invert, lambda images: 255.0 - images, "uint8"),
    (dataset.check_invert, lambda images: 254 - images, "became"),
    (dataset.check_invert, lambda images: images.mul_(0), "changed the images"),
    (dataset.check_denormalise, lambda x: ((x * STD + MEAN) * 255).to(torch.uint8), "off by one"),
    (
        dataset.check_denormalise,
        lambda x: ((x + MEAN) * STD * 255).clamp(0, 255).round().to(torch.uint8),
        "reverse order",
    ),
    (dataset.check_denormalise, lambda x: x * STD + MEAN, "end at 1"),
    (dataset.check_denormalise, lambda x: ((x * STD + MEAN) * 255).round().to(torch.uint8)[0, 0], "shape"),
    (architecture.check_output_size, lambda n, k, s, p: (n + 2 * p - k) // s, "first window"),
    (architecture.check_output_size, lambda n, k, s, p: (n + 2 * p - k) / s + 1, "whole windows"),
    (architecture.check_output_size, lambda n, k, s, p: (n + p - k) // s + 1, "PyTorch makes"),
    (architecture.check_conv_parameters, lambda i, o, k: i * o * k * k, "bias"),
    (architecture.check_conv_parameters, lambda i, o, k: o * (k * k + 1), "slice"),
    (architecture.check_conv_parameters, lambda i, o, k: o * i * k + o, "PyTorch's layer"),
    (architecture.check_horizontal_edges, torch.ones(3, 3), "sum to zero"),
    (architecture.check_horizontal_edges, [[1, 1, 1], [0, 0, 0], [-1, -1, -1]], "positive"),
    (architecture.check_horizontal_edges, [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], "vertical"),
    (architecture.check_horizontal_edges, [[1, 1, 1], [-2, -2, -2], [1, 1, 1]], "bottom edge"),
    (architecture.check_horizontal_edges, torch.zeros(5, 5), "3×3"),
    (training.check_cross_entropy, lambda logits, label: logits.log_softmax(0)[label], "sign"),
    (training.check_cross_entropy, lambda logits, label: logits.softmax(0)[label], "probability"),
    (
        training.check_cross_entropy,
        lambda logits, label: -(logits.exp()[label] / logits.exp().sum()).log(),
        "overflows",
    ),
    (
        training.check_cross_entropy,
        lambda logits, label: F.mse_loss(logits.softmax(0), torch.eye(10)[label]),
        "PyTorch says",
    ),
    (training.check_schedule, falls_short, "way down"),
    (training.check_schedule, lambda s, n, p, w: p * (n - s) / n, "way up"),
    (training.check_schedule, lambda s, n, p, w: p, "way up"),
    (training.check_schedule, cosine, "way down"),
    (training.check_summarise, lambda a: (max(a), 0.0), "best seed"),
    (
        training.check_summarise,
        lambda a: (torch.tensor(a, dtype=torch.float64).mean(), torch.tensor(a).double().std(correction=0)),
        "n − 1",
    ),
    (training.check_summarise, lambda a: sum(a) / len(a), "two numbers"),
    (filters_and_feature_maps.check_view, lambda c, s, t, n: (s + c * t, s + c * t + n - 1), "cut off"),
    (
        filters_and_feature_maps.check_view,
        lambda c, s, t, n: (max(s + c * t, 0), min(s + c * t + n, 28)),
        "one too far",
    ),
    (filters_and_feature_maps.check_view, lambda c, s, t, n: (max(s + c, 0), min(s + c + n - 1, 27)), "moves 2 pixels"),
    (filters_and_feature_maps.check_view, lambda c, s, t, n: (0, 27), "it sees 3 to 5"),
    (filters_and_feature_maps.check_view, lambda c, s, t, n: s + c * t, "two numbers"),
    (filters_and_feature_maps.check_grad_cam, lambda maps, gradients: weighted(maps, gradients).sum(0), "negative"),
    (
        filters_and_feature_maps.check_grad_cam,
        lambda maps, gradients: weighted(maps, gradients).relu().sum(0),
        "after the sum",
    ),
    (filters_and_feature_maps.check_grad_cam, lambda maps, gradients: weighted(maps, gradients).relu(), "Add them up"),
    (filters_and_feature_maps.check_grad_cam, lambda maps, gradients: (maps * gradients).sum(0).relu(), "one weight"),
    (
        filters_and_feature_maps.check_grad_cam,
        lambda maps, gradients: weighted(gradients, maps).sum(0).relu(),
        "changed places",
    ),
    (filters_and_feature_maps.check_grad_cam, lambda maps, gradients: maps.sum(0), "alike"),
    (
        filters_and_feature_maps.check_grad_cam,
        lambda maps, gradients: 20 * weighted(maps, gradients).sum(0).relu(),
        "not their sum",
    ),
    (
        filters_and_feature_maps.check_grad_cam,
        lambda maps, gradients: weighted(maps, gradients).sum((1, 2)).relu(),
        "one map",
    ),
    (
        filters_and_feature_maps.check_grad_cam,
        lambda maps, gradients: weighted(maps, gradients).amax(0),
        "largest cell",
    ),
    (filters_and_feature_maps.check_dead_share, lambda outputs: (outputs == 0).double().mean(), "some zeros"),
    (
        filters_and_feature_maps.check_dead_share,
        lambda outputs: (outputs.amax((2, 3)) == 0).double().mean(),
        "every digit",
    ),
    (filters_and_feature_maps.check_dead_share, lambda outputs: (outputs.amax((0, 2, 3)) == 0).sum(), "share"),
    (
        filters_and_feature_maps.check_dead_share,
        lambda outputs: (outputs.amax((0, 2, 3)) > 0).double().mean(),
        "living",
    ),
    (
        filters_and_feature_maps.check_dead_share,
        lambda outputs: (outputs[0].amax((1, 2)) == 0).double().mean(),
        "alive",
    ),
    (filters_and_feature_maps.check_dead_share, lambda outputs: 0.0, "so 0.25"),
    (
        forward_propagation.check_fold,
        lambda weights, bias, scale, shift: (weights * scale, bias + shift),
        "scales the bias too",
    ),
    (
        forward_propagation.check_fold,
        lambda weights, bias, scale, shift: (weights * scale, bias * scale),
        "Where has the shift gone",
    ),
    (forward_propagation.check_fold, lambda weights, bias, scale, shift: weights * scale, "two things"),
    (forward_propagation.check_fold, lambda weights, bias, scale, shift: ((weights * scale).sum(), bias), "3×3 again"),
    (forward_propagation.check_softmax, lambda logits: logits.exp() / logits.exp().sum(), "Subtract the same number"),
    (forward_propagation.check_softmax, lambda logits: logits / logits.sum(), "PyTorch says"),
    (forward_propagation.check_softmax, lambda logits: (logits - logits.max()).exp(), "add up to"),
    (forward_propagation.check_softmax, lambda logits: logits.argmax(), "one probability each"),
    (
        forward_propagation.check_decisive_unit,
        lambda units, winner, rival: (units * winner).argmax(),
        "goes to both alike",
    ),
    (forward_propagation.check_decisive_unit, lambda units, winner, rival: (winner - rival).argmax(), "casts no vote"),
    (
        forward_propagation.check_decisive_unit,
        lambda units, winner, rival: (units * (winner - rival)).abs().argmax(),
        "speaks for the rival",
    ),
    (forward_propagation.check_decisive_unit, lambda units, winner, rival: units, "a unit's number"),
    (misclassifications.check_scores, lambda counts, digit: scores(counts, digit)[::-1], "changed places"),
    (
        misclassifications.check_scores,
        lambda counts, digit: (scores(counts, digit)[0], counts[digit, digit] / counts.sum()),
        "all digits",
    ),
    (
        misclassifications.check_scores,
        lambda counts, digit: (counts[digit, digit], counts[digit].sum()),
        "both are shares",
    ),
    (misclassifications.check_scores, lambda counts, digit: (0.5, scores(counts, digit)[1]), "the precision should be"),
    (misclassifications.check_scores, lambda counts, digit: (scores(counts, digit)[0], 0.5), "the recall should be"),
    (misclassifications.check_scores, lambda counts, digit: scores(counts, digit)[0], "two numbers"),
    (misclassifications.check_one_step, lambda pixels, gradient, step: pixels + step * gradient.sign(), "clamp"),
    (
        misclassifications.check_one_step,
        lambda pixels, gradient, step: (pixels - step * gradient.sign()).clamp(0, 255),
        "downhill",
    ),
    (
        misclassifications.check_one_step,
        lambda pixels, gradient, step: (pixels + step * gradient).clamp(0, 255),
        "sign only",
    ),
    (
        misclassifications.check_one_step,
        lambda pixels, gradient, step: (pixels + gradient.sign()).clamp(0, 255),
        "with a step of 8",
    ),
    (misclassifications.check_one_step, lambda pixels, gradient, step: pixels[None], "a picture of"),
    (misclassifications.check_answered, lambda c, right, accuracy: answered(c, right, accuracy) * len(c), "how many"),
    (misclassifications.check_answered, lambda c, right, accuracy: 1 - answered(c, right, accuracy), "refused"),
    (
        misclassifications.check_answered,
        lambda c, right, accuracy: np.sort(c)[-round(answered(c, right, accuracy) * len(c))],
        "that is the threshold",
    ),
    (misclassifications.check_answered, lambda c, right, accuracy: (c >= accuracy).mean(), "a promise"),
    (
        misclassifications.check_answered,
        lambda c, right, accuracy: right[np.argsort(-c)].argmin() / len(c),
        "first error",
    ),
    (misclassifications.check_answered, lambda c, right, accuracy: 1.0, "is wanted"),
    (misclassifications.check_answered, lambda c, right, accuracy: 0.01, "further down"),
    (prediction.check_light_on_dark, lambda grey: 255 - grey, "your ink is dark"),
    (prediction.check_light_on_dark, lambda grey: grey, "your ink is dark"),
    (
        prediction.check_light_on_dark,
        lambda grey: 255 - grey if grey.float().mean() > 127 else grey,
        "look at the border",
    ),
    (prediction.check_light_on_dark, lambda grey: 254 - grey if grey[0, 0] > 127 else grey, "differ"),
    (prediction.check_light_on_dark, lambda grey: -grey if grey[0, 0] > 127 else grey, "255 − grey"),
    (prediction.check_light_on_dark, lambda grey: grey[None], "a picture of"),
    (prediction.check_tempered, lambda z, t: (z / t).exp() / (z / t).exp().sum(), "Subtract the largest"),
    (prediction.check_tempered, lambda z, t: (z * t).softmax(0), "you multiply"),
    (prediction.check_tempered, lambda z, t: z.softmax(0), "plays no part"),
    (prediction.check_tempered, lambda z, t: z.softmax(0) / t, "before exp"),
    (prediction.check_tempered, lambda z, t: (z / t - z.max() / t).exp(), "add up to 1"),
    (prediction.check_tempered, lambda z, t: (z / t**2).softmax(0), "the largest should be"),
    (prediction.check_tempered, lambda z, t: (z / t).softmax(0).max(), "ten probabilities"),
    (prediction.check_gap, lambda c, right: np.abs(gaps(c, right)[1]).mean(), "every bin counts alike"),
    (prediction.check_gap, lambda c, right: np.prod(gaps(c, right), 0).sum(), "cancel"),
    (prediction.check_gap, lambda c, right: np.abs(gaps(c, right)[1]).max(), "largest gap"),
    (prediction.check_gap, lambda c, right: np.abs(c - right).mean(), "single digits"),
    (prediction.check_gap, lambda c, right: 100 * np.prod(np.abs(gaps(c, right)), 0).sum(), "percent"),
    (prediction.check_gap, lambda c, right: 0.5, "it should be"),
    (architectures.check_mlp_parameters, lambda s: sum(a * b for a, b in itertools.pairwise(s)), "one bias"),
    (architectures.check_mlp_parameters, lambda s: parameters(s) + s[0], "pixels"),
    (architectures.check_mlp_parameters, lambda s: (s[0] + 1) * s[1], "PyTorch's layers have"),
    (architectures.check_shuffle, scattered, "other way"),
    (architectures.check_shuffle, lambda images, order: images.flatten(1)[:, order], "(5, 1, 28, 28)"),
    (architectures.check_shuffle, shuffled_in_place, "have been changed"),
    (architectures.check_shuffle, each_by_itself, "same order"),
    (architectures.check_gain, lambda a, b: (-gain(a, b)[0], gain(a, b)[1]), "turned round"),
    (
        architectures.check_gain,
        lambda a, b: (gain(a, b)[0], (np.var(a, ddof=1) + np.var(b, ddof=1)) ** 0.5),
        "surer",
    ),
    (architectures.check_gain, lambda a, b: (gain(a, b)[0], (np.var(a) / len(a) + np.var(b) / len(b)) ** 0.5), "n − 1"),
    (
        architectures.check_gain,
        lambda a, b: (gain(a, b)[0], sum((np.var(v, ddof=1) / len(v)) ** 0.5 for v in (a, b))),
        "root of the sum",
    ),
    (architectures.check_gain, lambda a, b: gain(a, b)[0], "two numbers"),
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
    if check is not architecture.check_horizontal_edges:
        assert check(lambda *_: ...).state == "not attempted"
        assert "returns nothing" in check(lambda *_: None).message
        assert "a function is asked for" in check(3).message
    failing = check(lambda *_: 1 / 0)
    assert failing.state == "not yet"
    assert sum(wrong is check for wrong, *_ in WRONG) >= 2


def test_verdict_can_be_read():
    verdict = Verdict("not yet", "a < b")
    assert repr(verdict) == "Not yet: a < b" and "a &lt; b" in verdict._repr_html_()
