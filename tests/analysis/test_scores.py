"""Scores agree with scikit-learn, with brute force, and with what was worked out by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

import mnistlab as ml
from mnistlab import analysis
from mnistlab.analysis.intervals import wilson


def answered(labels: list[int], predictions: list[int]) -> ml.Predictions:
    """Predictions of exactly these digits."""
    return ml.Predictions.of(torch.eye(10)[torch.tensor(predictions)], torch.tensor(labels))


@pytest.fixture(scope="module")
def answers() -> ml.Predictions:
    """2,000 predictions, about half of them right."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 10, generator=generator) * 4
    return ml.Predictions.of(logits, (logits / 2.5).softmax(1).multinomial(1, generator=generator)[:, 0])


def test_confusion_and_scores_agree_with_scikit_learn(answers):
    labels, predictions = answers.labels, answers.predicted
    counts = analysis.confusion(answers)
    assert (counts == confusion_matrix(labels, predictions)).all(axis=None)
    assert counts.index.name == "label" and counts.columns.name == "prediction"
    table = analysis.per_digit(answers)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predictions)
    np.testing.assert_allclose(table[["precision", "recall", "F1", "count"]].T, [precision, recall, f1, support])
    np.testing.assert_array_equal(table["errors"], [(predictions != labels)[labels == k].sum() for k in range(10)])
    right, count = int(counts.loc[4, 4]), int(counts.loc[4].sum())
    assert tuple(table.loc[4, ["low", "high"]]) == wilson(right, count)


def test_a_digit_that_never_occurs_has_no_scores():
    table = analysis.per_digit(answered([1, 1, 2], [1, 2, 2]))
    assert table.loc[0, ["precision", "recall", "F1", "low"]].isna().all() and table.loc[0, "count"] == 0
    assert table.loc[1, "recall"] == 0.5 and table.loc[2, "precision"] == 0.5 and table.loc[1, "precision"] == 1


def test_confused_pairs_are_the_commonest_first():
    table = analysis.confused_pairs(answered([9, 9, 9, 9, 4, 1, 1], [4, 4, 9, 7, 9, 1, 1]))
    assert table.to_numpy().tolist() == [[9, 4, 2, 0.5], [4, 9, 1, 1.0], [9, 7, 1, 0.25]]
    assert list(table.columns) == ["label", "prediction", "count", "share"]


def test_an_accuracy_is_told_with_its_interval():
    low, high = wilson(9972, 10_000)
    assert analysis.in_words(28, 10_000) == (f"28 wrong of 10,000: 99.72% right (95% interval {low:.2%} to {high:.2%})")


def test_groups_and_slices_count_every_digit_once(answers):
    labels, predictions, right = answers.labels, answers.predicted, answers.right
    table = analysis.accuracies(answers, labels)
    for digit, row in table.iterrows():
        assert row["accuracy"] == accuracy_score(labels[labels == digit], predictions[labels == digit])
        assert (row["low"], row["high"]) == wilson(int(row["count"] - row["errors"]), int(row["count"]))
    values = np.random.default_rng(1).normal(size=len(labels))
    cut = analysis.slices(answers, values, parts=4)
    assert cut["count"].tolist() == [500] * 4 and cut["errors"].sum() == (~right).sum()
    assert cut["start"].iloc[0] == values.min() and cut["end"].iloc[-1] == values.max()
    inside = (values > cut["start"][2]) & (values <= cut["end"][2])
    assert cut["accuracy"][2] == right[inside].mean()


def test_slices_of_few_values_are_fewer():
    cut = analysis.slices(answered([0, 1, 0, 0], [0, 0, 0, 0]), [1, 1, 1, 5], parts=5)
    assert cut["count"].tolist() == [3, 1] and cut["errors"].tolist() == [1, 0]
    whole = analysis.slices(answered([0, 1], [0, 0]), [3, 3])
    assert whole["count"].tolist() == [2] and whole["start"][0] == whole["end"][0] == 3
