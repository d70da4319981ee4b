"""The figures of the notebook on training show the numbers that they are given."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

import mnistlab as ml
from mnistlab.analysis.intervals import wilson
from mnistlab.course import training as lesson
from mnistlab.figures.style import Figure

AFTER = pd.Series([2.41, 1.7, 35.0], index=[1e-4, 0.18, 5.0])
COST = {
    "digits": [{"digits": count, "seconds": seconds} for count, seconds in ((10, 1.0), (20, 3.0), (40, 8.0))],
    "width": [{"multiply_adds": 2e6, "seconds": 4.0}, {"multiply_adds": 8e6, "seconds": 12.0}],
    "batch": [{"batch": 32, "megabytes": 30.0}, {"batch": 64, "megabytes": 55.0}],
}


def run(losses: list[float]) -> ml.Run:
    history = pd.DataFrame({"step": range(10, 10 * len(losses) + 10, 10), "train_loss": losses})
    return ml.Run(torch.nn.Flatten(), history=history)


def of_digits(digits: ml.Digits) -> dict[str, Figure]:
    """Each figure whose numbers come from digits."""
    return {
        "one_step": lesson.one_step(AFTER, 2.42, digits),
        "one_batch": lesson.one_batch([2.4, 0.1], run([2.3, 0.2]), digits),
        "sweep": lesson.sweep({0.001: 1.0, 0.01: 0.2, 1: 3.0}, digits),
        "augmented": lesson.augmented(digits[:2], [digits.images[:2].float()]),
        "training": lesson.training({0.1: run([2.0, 1.0]), 1: run([2.0, 0.5])}, digits),
        "lengths": lesson.lengths(pd.Series([2.0, 0.5], index=[0.1, 1]), digits),
    }


def lines(figure: Figure) -> list[list[float]]:
    return [list(line.get_ydata()) for line in figure.axes[0].lines]


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def test_a_stand_in_for_mnist_is_named(offline):
    for name, figure in of_digits(offline).items():
        figure.draw_without_rendering()
        assert f"Digits: {offline.source}" in words(figure), name


def test_mnist_needs_no_footnote(offline):
    digits = ml.Digits(offline.images, offline.labels, "MNIST")
    for name, figure in of_digits(digits).items():
        assert "Digits:" not in words(figure), name


def test_one_step_is_drawn_beside_the_loss_before_it_and_the_valley_is_told(offline):
    figure = lesson.one_step(AFTER, 2.42, offline)
    assert lines(figure) == [[2.41, 1.7, 35.0], [2.42] * 3]
    assert "from loss 2.42" in figure.title and "1.7 near 0.18" in figure.alt and "35 at the right end" in figure.alt


def test_one_batch_sets_the_loop_by_hand_beside_fit(offline):
    figure = lesson.one_batch([2.4, 1.0, 0.01], run([2.4, 1.1, 0.02]), offline)
    assert lines(figure) == [[2.4, 1.0, 0.01], [2.4, 1.1, 0.02]]
    assert "by hand from 2.4 to 0.01" in figure.alt and "ml.fit from 2.4 to 0.02" in figure.alt


def test_sweep_says_which_rates_are_close_to_the_best(offline):
    figure = lesson.sweep({0.001: 2.0, 0.01: 0.29, 0.03: 0.2, 0.1: 0.25, 1: 3.0}, offline)
    assert lines(figure) == [[2.0, 0.29, 0.2, 0.25, 3.0]]
    assert figure.title.startswith("From 0.01 to 0.1 ") and "0.2 near 0.03" in figure.alt


def test_schedule_says_where_its_peak_is():
    figure = lesson.schedule([0.004, 0.008, 0.006, 0.003, 0.0001])
    assert lines(figure) == [[0.004, 0.008, 0.006, 0.003, 0.0001]]
    assert figure.title == "5 steps: up to 0.008 in the first 2, then down to zero"


def test_augmented_digits_stand_behind_their_originals(offline):
    digits = offline[:3]
    moved = [torch.full((3, 1, 28, 28), 10.4), torch.full((3, 1, 28, 28), 20.6)]
    figure = lesson.augmented(digits, moved)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in figure.axes if axes.images] == ["original", "moved", "moved"] * 3
    for index, image in enumerate(digits.images):
        assert (np.asarray(shown[3 * index]) == image[0].numpy()).all()
        assert (shown[3 * index + 1] == 10).all() and (shown[3 * index + 2] == 21).all()
    named = ", ".join(str(label) for label in digits.labels.tolist())
    assert f"3 digits ({named}), each followed by 2" in figure.alt


def test_each_run_is_a_line_named_by_its_epochs(offline):
    figure = lesson.training({0.1: run([2.0, 1.0]), 1: run([2.5, 1.5, 0.5])}, offline)
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels == ["epochs: 0.1", "epochs: 1"]
    assert [[y for y in line if y == y] for line in lines(figure)] == [[2.0, 1.0], [2.5, 1.5, 0.5]]
    assert "epochs: 1 from 2.5 to 0.5" in figure.alt


def test_lengths_compare_the_longest_with_the_shortest(offline):
    figure = lesson.lengths(pd.Series([1.8, 0.6, 0.4], index=[0.1, 0.4, 1]), offline)
    assert lines(figure) == [[1.8, 0.6, 0.4]] and list(figure.axes[0].lines[0].get_xdata()) == [0.1, 0.4, 1]
    assert figure.title == "10 times the training, 4.5 times fewer errors" and "from 1.8 to 0.4" in figure.alt


def test_cost_shows_what_was_measured_beside_proportion():
    figure = lesson.cost(COST)
    first, second, third = figure.axes
    proportion, measured = first.lines
    assert list(measured.get_ydata()) == [1, 3, 8] and list(measured.get_xdata()) == [10, 20, 40]
    assert list(proportion.get_ydata()) == [2, 4, 8]
    assert list(second.lines[1].get_xdata()) == [2, 8] and list(second.lines[1].get_ydata()) == [4, 12]
    assert third.get_xlabel() == "digits in a batch" and third.get_ylabel() == "megabytes"
    assert list(third.lines[1].get_ydata()) == [30, 55]
    assert "seconds from 1 to 8 at 10 to 40 digits" in figure.alt and "megabytes from 30 to 55" in figure.alt


def test_seeds_agree_with_statistics():
    errors = [49, 57, 42]
    accuracies = [100 - wrong / 100 for wrong in errors]
    figure = lesson.seeds(errors, count=10_000)
    mean, std = np.mean(accuracies), np.std(accuracies, ddof=1)
    assert f"{mean:.2f} ± {std:.2f}" in words(figure) and f"3 seeds: {mean:.2f}% ± {std:.2f}%" in figure.title
    assert "from 99.43% to 99.58%" in figure.alt and "its own 10,000 digits" in words(figure)
    whiskers = figure.axes[0].containers[0].lines[2][0].get_segments()
    for whisker, wrong in zip(whiskers, errors, strict=True):
        assert whisker[:, 1] == pytest.approx([100 * end for end in wilson(10_000 - wrong, 10_000)])
