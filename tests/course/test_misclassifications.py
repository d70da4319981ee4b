"""The figures of the notebook on misclassifications: what is drawn is what was given, and so is what is said of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from torch import Tensor, nn

import mnistlab as ml
from mnistlab import analysis
from mnistlab.course import misclassifications
from mnistlab.course.corruptions import corrupt
from mnistlab.course.disputed import DISPUTED
from mnistlab.figures.style import Figure

SOURCE = "somebody's digits"


def predictions(labels: list[int], answers: list[int], source: str = SOURCE, **columns: list[float]) -> ml.Predictions:
    return ml.Predictions(pd.DataFrame({"label": labels, "prediction": answers, **columns}), source)


SURE = predictions([1, 1, 1, 1], [1, 1, 7, 1], confidence=[0.9, 0.8, 0.6, 0.5], margin=[0.9, 0.7, 0.3, 0.1])
CUT = predictions([1, 1, 1, 1], [1, 7, 1, 1])
RATES = {"slant": analysis.slices(CUT, [-30, 1, 2, 3], parts=2), "halves": analysis.accuracies(CUT, list("aabb"))}


class Sees(nn.Module):
    """Answers 7 where the pixel at (3, 4) is inked, else 1."""

    def forward(self, pixels: Tensor) -> Tensor:
        inked = pixels[:, 0, 3, 4] > pixels.new_tensor(0)
        return torch.where(inked, 7, 1)[:, None].eq(torch.arange(10)).float()


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def results(*accuracies: float) -> list[ml.Evaluation]:
    return [ml.Evaluation(round(100 * (1 - accuracy)), 100, 0.5) for accuracy in accuracies]


def every_figure(digits: ml.Digits) -> dict[str, Figure]:
    """Each function that draws digits or what is made of them."""
    sure, cut = replace(SURE, source=digits.source), replace(CUT, source=digits.source)
    return {
        "gallery": misclassifications.gallery(digits, sure),
        "margins": misclassifications.margins(sure),
        "slices": misclassifications.slices(RATES, cut),
        "vote": misclassifications.vote(digits, pd.DataFrame({"test digit": [2, 0]}, ["A", "B"])),
        "seeds": misclassifications.seeds(digits, [sure, sure]),
        "corruptions": misclassifications.corruptions(
            digits[0], {kind: results(1, 1, 1, 0, 0) for kind in ("fog", "shear", "scale")}, results(1)[0]
        ),
        "changes": misclassifications.changes(Sees(), digits, {"a": (1, digits[2])}),
        "coverage": misclassifications.coverage(sure, 0.6),
    }


def test_a_stand_in_for_mnist_is_named_on_every_figure_and_mnist_on_none(offline):
    for digits, named in ((offline[:9], True), (replace(offline[:9], source="MNIST"), False)):
        for name, figure in every_figure(digits).items():
            figure.draw_without_rendering()
            assert (f"Digits: {digits.source}" in words(figure)) == named, name
            assert figure.title in figure.alt and len(figure.alt) > len(figure.title) + 30, name


def test_the_gallery_shows_the_mistakes_surest_first(offline):
    answers = predictions([1, 2, 3, 4, 5], [7, 2, 8, 9, 5], confidence=[0.5, 0.9, 0.97, 0.81, 0.9])
    figure = misclassifications.gallery(offline[:5], answers)
    assert [axes.get_title() for axes in figure.axes][:3] == ["3 → 8\n97%", "4 → 9\n81%", "1 → 7\n50%"]
    for axes, index in zip(figure.axes, (2, 3, 0), strict=False):
        assert (np.asarray(axes.images[0].get_array()) == offline.images[index, 0].numpy()).all()
    assert figure.title == "The network's 3 errors, surest first: 2 with a confidence above 80%"


def test_the_gallery_ends_after_forty_but_counts_all(offline):
    answers = predictions([1] * 50, [7] * 50, confidence=[0.9] * 50)
    figure = misclassifications.gallery(offline[:50], answers)
    assert sum(bool(axes.images) for axes in figure.axes) == 40 and "50 errors" in figure.title
    assert "50 with a confidence" in figure.title


def test_margins_are_counted_apart():
    answers = predictions([1] * 5, [7, 1, 1, 1, 1], margin=[0.01, 0.02, 0.97, 0.99, 0.99])
    figure = misclassifications.margins(answers)
    axes = figure.axes[0]
    blue, orange = ([bar.get_height() for bar in bars] for bars in axes.containers)
    assert (blue[0], blue[-1], sum(blue)) == (1, 3, 4) and (orange[0], sum(orange)) == (1, 1)
    assert axes.get_legend_handles_labels()[1] == ["read correctly: 4", "read wrong: 1"]
    assert "0.98 where it is right, 0.01 where it is wrong" in figure.title
    assert "of 4 digits read correctly and of 1 digits read wrong" in figure.alt


def test_slices_carry_their_intervals():
    figure = misclassifications.slices(RATES, CUT)
    axes, named = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [50, 0]
    whisker = axes.collections[0].get_segments()[0]
    low, high = analysis.wilson(1, 2)
    np.testing.assert_allclose(whisker[:, 1], [100 * (1 - high), 100 * (1 - low)])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["−30 to\n2", "2 to\n3"]
    assert [label.get_text() for label in named.get_xticklabels()] == ["a", "b"]
    assert axes.get_xlabel() == "slant (degrees)" and named.get_xlabel() == "halves"
    assert figure.title == "Cut by slant, the slices hold from 0 to 1 of the 1 errors" and "slant, halves" in figure.alt


def test_writers_shows_rows_means_and_standard_errors():
    table = pd.DataFrame({"at random": [1.0, 2, 3], "by writer": [2.0, 2, 5]})
    figure = misclassifications.writers(table)
    axes = figure.axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines[:3]] == table.to_numpy().tolist()
    assert axes.lines[3].get_ydata().tolist() == [2, 3]
    np.testing.assert_allclose(
        [s[:, 1] for s in axes.collections[0].get_segments()], [[2 - 1 / 3**0.5, 2 + 1 / 3**0.5], [2, 4]]
    )
    assert figure.title == "New hands: the result varies by ±1.73 points; known hands: by ±1.00"
    assert "3 pairs of networks" in figure.alt


def test_ballots_are_the_disputed_digits_of_mnist_and_elsewhere_the_least_sure(offline):
    digits = offline[:40]
    margin = np.random.default_rng(0).random(40)
    answers = predictions(digits.labels.tolist(), [0] * 40, margin=margin.tolist())
    votes = misclassifications.ballots(digits, answers)
    assert "".join(votes.index) == "ABCDEFGHIJKLMNO" and votes["test digit"].to_list() == margin.argsort()[:15].tolist()
    assert votes["label"].to_list() == digits.labels[votes["test digit"].to_list()].tolist()
    votes = misclassifications.ballots(replace(digits, source="MNIST"), answers)
    votes["network"] = 0
    pd.testing.assert_frame_equal(votes[DISPUTED.columns].reset_index(drop=True), DISPUTED)
    assert "network" not in DISPUTED


def test_a_ballot_does_not_give_its_label_away(offline):
    figure = misclassifications.vote(offline[:40], pd.DataFrame({"test digit": [7, 30]}, ["A", "B"]))
    assert [axes.get_title() for axes in figure.axes][:2] == ["A", "B"] and "captions: A, B" in figure.alt
    shown = np.asarray(figure.axes[1].images[0].get_array())
    assert (shown == offline.images[30, 0].numpy()).all()


def test_seeds_leave_out_the_digits_that_nobody_fails(offline):
    """Four digits trip one of three networks, none trips two, and seven trip all."""
    once, always, digits = range(4), range(4, 11), offline[:20]
    networks = [
        predictions([1] * 20, [7 if n in always or (n in once and n % 3 == seed) else 1 for n in range(20)])
        for seed in range(3)
    ]
    figure = misclassifications.seeds(digits, networks)
    assert [bar.get_height() for bar in figure.subfigs[0].axes[0].patches] == [4, 0, 7]
    pictures = figure.subfigs[1].axes
    assert [axes.get_title() for axes in pictures] == ["1 → 7"] * 7 + [""] * 5
    for axes, index in zip(pictures, always, strict=False):
        assert (np.asarray(axes.images[0].get_array()) == digits.images[index, 0].numpy()).all()
    assert figure.title == "7 digits defeat all 3 networks; 4 trip only one of them" and "4, 0, 7" in figure.alt


def test_corruptions_stand_over_their_accuracies(offline):
    kinds = {"fog": results(1, 0.5, 0.25, 0.1, 0), "shear": results(1, 1, 0.9, 0.8, 0.7), "scale": results(*[0.5] * 5)}
    figure = misclassifications.corruptions(offline[5], kinds, results(0.98)[0])
    axes = [axes for part in figure.subfigs for axes in part.axes]
    assert [a.get_xlabel() for a in axes] == ["100", "50", "25", "10", "0", "100", "100", "90", "80", "70", *["50"] * 5]
    pictures = [corrupt(offline[5].images, kind, strength)[0, 0] for kind in kinds for strength in range(1, 6)]
    for one, picture in zip(axes, pictures, strict=True):
        assert (np.asarray(one.images[0].get_array()) == picture.numpy()).all()
    assert figure.title == "Clean 98.0%; at strength 3 between 90% (shear) and 25% (fog)" and "3 ways" in figure.alt


def test_changes_outline_what_few_pixels_changed(offline):
    digits = replace(offline[:3], images=offline.images[:3].clone())
    digits.images[:, 0, 3, 4] = 0
    dotted = digits.images[1:2].clone()
    dotted[0, 0, 3, 4] = 200
    shown = {"a dot": (1, replace(digits[1], images=dotted)), "all else": (2, replace(digits[2], images=255 - dotted))}
    shown["all else"][1].images[0, 0, 3, 4] = 0
    figure = misclassifications.changes(Sees(), digits, shown)
    before, _, changed, everywhere = figure.axes
    assert [patch.get_xy() for patch in changed.patches] == [(3.5, 2.5)]
    assert not everywhere.patches and not before.patches
    assert [axes.get_xlabel() for axes in figure.axes] == ["read as 1", "read as 1", "read as 7", "read as 1"]
    assert (
        before.get_title() == "a dot\ndigit 1"
        and (np.asarray(changed.images[0].get_array()) == dotted[0, 0].numpy()).all()
    )
    assert figure.title == "Answers turn after a dot, and stay after all else"
    assert "a dot, 1 and then 7; all else, 1 and then 1" in figure.alt


def test_coverage_marks_the_threshold():
    figure = misclassifications.coverage(SURE, 0.6)
    curve, dot = figure.axes[0].lines
    np.testing.assert_allclose([float(value) for value in (*dot.get_xdata(), *dot.get_ydata())], [25, 100 / 3])
    assert curve.get_ydata()[-1] == 25 and curve.get_xdata()[-1] == 0
    assert figure.title == "Refuse the least sure 25.0%, and 1 of 1 errors are left"
    assert "from 25.00% where none is refused" in figure.alt
    assert len(misclassifications.coverage(SURE, float("inf")).axes[0].lines[1].get_xdata()) == 0


@pytest.mark.parametrize("name", ["gallery", "margins", "coverage"])
def test_figures_become_pictures(offline, name):
    assert every_figure(offline[:9])[name].png().startswith(b"\x89PNG")
