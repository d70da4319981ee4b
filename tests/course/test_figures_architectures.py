"""The figures of notebook 09 and of a run's folder: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import mnistlab as ml
from mnistlab.course import architectures
from mnistlab.figures import plots


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_sizes():
    table = pd.DataFrame({"parameters": [10, 2000], "multiply_adds": [300, 40]}, index=["small", "large"])
    figure = architectures.sizes(table, "A title")
    for axes, column in zip(figure.axes, table, strict=True):
        assert [bar.get_width() for bar in axes.patches] == table[column].tolist()
        assert texts(axes) == [f"{count:,}" for count in table[column]]
        assert axes.get_xlabel().startswith(column.replace("_", "-"))


def test_computation_graph_names_every_operation_and_parameter():
    """Beside it: the operations by hand, and the parameters as the network names them."""
    model = ml.LeNet().eval()
    loss = F.cross_entropy(model(torch.zeros(1, 1, 28, 28)), torch.tensor([3]))
    said = texts(architectures.computation_graph(loss, model, "A title").axes[0])
    block = ["convolution", "max pooling", "ReLU"]
    chain = [*block, *block, "flatten", "multiply, add", "ReLU", "multiply, add", "log softmax", "loss"]
    assert [text for text in said if "\n" not in text] == chain
    expected = {f"{name}\n{' × '.join(map(str, tensor.shape))}" for name, tensor in model.named_parameters()}
    assert {text for text in said if "\n" in text} == expected


def test_costs_and_errors():
    table = pd.DataFrame({"multiply_adds": [1e5, 3e6], "errors": [0.05, 0.01]}, index=["A", "B"])
    axes = architectures.costs_and_errors(table, "A title", "somewhere").axes[0]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[1e5, 5], [3e6, 1]])
    assert texts(axes) == ["A", "B"]


def test_seeds():
    rows = {"A": [98.0, 99.0, 98.8], "B": [97.0, 97.5]}
    axes = architectures.seeds(rows, "A title", "accuracy", bands={"B": (96.0, 97.2)}).axes[0]
    for place, (values, dots) in enumerate(zip(rows.values(), axes.collections, strict=True)):
        np.testing.assert_allclose(dots.get_offsets(), [[value, place] for value in values])
    assert texts(axes) == ["98.60 ± 0.53", "97.25 ± 0.35"]
    band = axes.patches[0]
    assert (band.get_x(), band.get_width()) == pytest.approx((96.0, 1.2))


def test_sweeps_draw_the_mean_over_seeds():
    rows = [
        {"optimiser": name, "batch_size": size, "learning_rate": rate, "seed": seed, "val_accuracy": rate + seed / 10}
        for name in ("SGD", "Adam")
        for size in (32, 128)
        for rate in (0.1, 0.2)
        for seed in (0, 1)
    ]
    figure = architectures.sweeps(pd.DataFrame(rows), "A title")
    assert [axes.get_title() for axes in figure.axes] == ["SGD", "Adam"]
    for axes in figure.axes:
        assert len(axes.lines) == 2
        np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0.1, 15], [0.2, 25]])


def test_learning():
    history = pd.DataFrame(
        {
            "epoch": [0.5, 1, 2],
            "train_loss": [2.0, 1.0, 0.5],
            "val_loss": [None, 0.8, 0.4],
            "val_accuracy": [None, 0.7, 0.9],
        }
    )
    loss, accuracy = plots.learning(history, "A title").axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [2.0, 1.0, 0.5])
    np.testing.assert_allclose(loss.lines[1].get_xydata(), [[1, 0.8], [2, 0.4]])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [70, 90])
    assert len(plots.learning(history[["epoch", "train_loss"]], "A title").axes) == 1
