"""The figures of the notebook on architectures: what is drawn is what was given, and so is what is said of it."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib.text import Text

import mnistlab as ml
from mnistlab.course import architectures


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def words(figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def test_sizes():
    table = pd.DataFrame({"parameters": [10, 2000], "multiply_adds": [300, 40]}, index=["CNN", "Simple"])
    figure = architectures.sizes(table)
    for axes, column in zip(figure.axes, table, strict=True):
        assert [bar.get_width() for bar in axes.patches] == table[column].tolist()
        assert texts(axes) == [f"{count:,}" for count in table[column]]
        assert axes.get_xlabel().startswith(column.replace("_", "-"))
    assert "200.0 times the parameters" in figure.title and "0.1 times the work" in figure.alt


def test_graph_names_every_operation_and_parameter():
    """Beside it: the operations by hand, and the parameters as the network names them."""
    model = ml.LeNet().eval()
    loss = F.cross_entropy(model(torch.zeros(1, 1, 28, 28)), torch.tensor([3]))
    figure = architectures.graph(loss, model)
    said = texts(figure.axes[0])
    block = ["convolution", "max pooling", "ReLU"]
    chain = [*block, *block, "flatten", "multiply, add", "ReLU", "multiply, add", "log softmax", "loss"]
    assert [text for text in said if "\n" not in text] == chain
    expected = {f"{name}\n{' × '.join(map(str, tensor.shape))}" for name, tensor in model.named_parameters()}
    assert {text for text in said if "\n" in text} == expected
    assert "LeNet" in figure.title and "12 boxes from convolution to loss; 8 tensors" in figure.alt


def test_race():
    table = pd.DataFrame({"multiply_adds": [1e5, 3e6], "errors": [0.05, 0.01]}, index=["A", "B"])
    figure = architectures.race(table, 3840)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[1e5, 5], [3e6, 1]])
    assert texts(axes) == ["A", "B"] and figure.title == "After 3,840 digits A misreads 5.0%, B 1.0%"


def test_seeds():
    rows = {"A": [98.0, 99.0, 98.8], "B": [97.0, 97.5]}
    figure = architectures.seeds(rows, "A title", "accuracy", bands={"B": (96.0, 97.2)})
    axes = figure.axes[0]
    for place, (values, dots) in enumerate(zip(rows.values(), axes.collections, strict=True)):
        np.testing.assert_allclose(dots.get_offsets(), [[value, place] for value in values])
    assert texts(axes) == ["98.60 ± 0.53", "97.25 ± 0.35"]
    band = axes.patches[0]
    assert (band.get_x(), band.get_width()) == pytest.approx((96.0, 1.2))
    assert "A 98.60 ± 0.53; B 97.25 ± 0.35" in figure.alt


def test_relatives_stand_before_what_is_claimed():
    figure = architectures.relatives({"MLP": [97.5, 98.5], "LeNet": [99.0, 99.1], "CNN": [99.5, 99.7]})
    assert "2 seeds: the CNN is 1.6 points ahead" in figure.title
    band = figure.axes[0].patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(architectures.CLAIMS["LeNet"])


def test_shuffling_costs_what_it_costs():
    rows = {"CNN, pixels in place": [99.0, 99.2], "CNN, pixels shuffled": [97.0, 97.2]}
    rows |= {"MLP, pixels in place": [98.0, 98.0], "MLP, pixels shuffled": [98.1, 98.0]}
    figure = architectures.shuffled(rows)
    assert figure.title == "Shuffling costs the CNN 2.00 points, and the MLP 0.05"
    assert [dots.get_offsets()[:, 0].tolist() for dots in figure.axes[0].collections] == list(rows.values())


def test_parts_name_the_worst_change():
    figure = architectures.parts({"as it is": [0.3, 0.5], "with dropout": [0.5, 0.5], "without a schedule": [1.0, 0.8]})
    assert figure.title == "Without a schedule, 2.2 times the errors"


def test_shuffled_digits_stand_beside_their_originals(offline):
    digits = offline[:3]
    figure = architectures.shuffled_digits(digits, replace(digits, images=digits.images.flip(3)))
    names = [(f"a {label}", f"the same {label}") for label in digits.labels.tolist()]
    assert [axes.get_title() for axes in figure.axes] == list(itertools.chain(*names))
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    for index, (before, after) in enumerate(zip(shown[::2], shown[1::2], strict=True)):
        assert (before == digits.images[index, 0].numpy()).all() and (after == before[:, ::-1]).all()


def test_best_rates_and_sweep_draw_the_mean_over_seeds():
    rows = [
        {"optimiser": name, "batch_size": size, "learning_rate": rate, "seed": seed, "val_accuracy": accuracy}
        for name in ("SGD", "Adam")
        for size in (32, 128)
        for rate in (0.1, 0.2)
        for seed in (0, 1)
        for accuracy in [(rate if name == "SGD" else 0.3 - rate) + seed / 10]
    ]
    runs = pd.DataFrame(rows)
    figure = architectures.sweep(runs)
    assert [axes.get_title() for axes in figure.axes] == ["SGD", "Adam"]
    for axes, drawn in zip(figure.axes, ([[0.1, 15], [0.2, 25]], [[0.1, 25], [0.2, 15]]), strict=True):
        assert len(axes.lines) == 2
        np.testing.assert_allclose(axes.lines[0].get_xydata(), drawn)
    best = architectures.best_rates(runs)
    assert best.loc["SGD"].to_dict() == {32: 0.2, 128: 0.2} and best.loc["Adam"].to_dict() == {32: 0.1, 128: 0.1}
    assert figure.title == "Best rates for batches of 128: Adam 0.1, SGD 0.2"
    assert "batches of 32, 128" in figure.alt


def test_a_stand_in_for_mnist_is_named_and_mnist_is_not(offline):
    table = pd.DataFrame({"multiply_adds": [1e5, 3e6], "errors": [0.05, 0.01]}, index=["A", "B"])
    for digits, named in ((offline[:2], True), (replace(offline[:2], source="MNIST"), False)):
        figures = architectures.race(table, 3840, digits), architectures.shuffled_digits(digits, digits)
        for figure in figures:
            figure.draw_without_rendering()
            assert (f"Digits: {digits.source}" in words(figure)) == named
            assert figure.title in figure.alt
