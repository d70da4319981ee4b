"""The checkers of notebook 09, against right answers and likely wrong ones."""

import itertools
import statistics

import numpy as np
import pytest
import torch

from mnistlab.course import architectures as check


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


@pytest.mark.parametrize(
    ("checker", "answer"),
    [(check.check_mlp_parameters, parameters), (check.check_shuffle, shuffle), (check.check_gain, gain)],
    ids=["mlp_parameters", "shuffle", "gain"],
)
def test_right_answers_and_stubs(checker, answer):
    assert checker(answer).state == "right"
    assert checker(lambda *given: ...).state == checker(...).state == "not attempted"


WRONG = {
    "no biases": (check.check_mlp_parameters, lambda s: sum(a * b for a, b in itertools.pairwise(s)), "one bias"),
    "a bias a pixel": (check.check_mlp_parameters, lambda s: parameters(s) + s[0], "pixels"),
    "only the first": (check.check_mlp_parameters, lambda s: (s[0] + 1) * s[1], "PyTorch's layers have"),
    "the other way": (check.check_shuffle, scattered, "other way"),
    "flat": (check.check_shuffle, lambda images, order: images.flatten(1)[:, order], "(5, 1, 28, 28)"),
    "in place": (check.check_shuffle, shuffled_in_place, "have been changed"),
    "each by itself": (check.check_shuffle, each_by_itself, "same order"),
    "a minus b": (check.check_gain, lambda a, b: (-gain(a, b)[0], gain(a, b)[1]), "turned round"),
    "single runs": (
        check.check_gain,
        lambda a, b: (gain(a, b)[0], (np.var(a, ddof=1) + np.var(b, ddof=1)) ** 0.5),
        "surer",
    ),
    "by n": (check.check_gain, lambda a, b: (gain(a, b)[0], (np.var(a) / len(a) + np.var(b) / len(b)) ** 0.5), "n − 1"),
    "sum of roots": (
        check.check_gain,
        lambda a, b: (gain(a, b)[0], sum((np.var(v, ddof=1) / len(v)) ** 0.5 for v in (a, b))),
        "root of the sum",
    ),
    "one number": (check.check_gain, lambda a, b: gain(a, b)[0], "two numbers"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_answers_are_told_why(name):
    checker, answer, said = WRONG[name]
    verdict = checker(answer)
    assert verdict.state == "not yet" and said in verdict.message, verdict
