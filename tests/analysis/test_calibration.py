"""Calibration and coverage agree with scikit-learn and with what was worked out by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

import mnistlab as ml
from mnistlab import analysis


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray, ml.Predictions]:
    """2,000 logits, labels drawn from their softmax at temperature 2.5, and what is predicted at temperature 1."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2000, 10)) * 4
    true = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(1, keepdims=True)
    labels = np.array([generator.choice(10, p=row) for row in true])
    return logits, labels, ml.Predictions.of(torch.tensor(logits), torch.tensor(labels))


def believed(confidence: list[float], right: list[bool]) -> ml.Predictions:
    """Predictions of exactly these confidences, of which these are right."""
    labels = [0 if yes else 1 for yes in right]
    return ml.Predictions(pd.DataFrame({"label": labels, "prediction": 0, "confidence": confidence}))


def test_coverage_counts_those_above_each_threshold():
    table = analysis.coverage(believed([0.9, 0.8, 0.8, 0.6, 0.5], [True, True, False, True, False]))
    assert table["threshold"].tolist() == [0.9, 0.8, 0.6, 0.5]
    assert table["answered"].tolist() == [1, 3, 4, 5] and table["errors"].tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(table["coverage"], [0.2, 0.6, 0.8, 1])
    np.testing.assert_allclose(table["accuracy"], [1, 2 / 3, 3 / 4, 3 / 5])


def test_threshold_is_the_lowest_that_keeps_its_promise():
    confidence = [0.9, 0.8, 0.7, 0.6, 0.5]
    predictions = believed(confidence, [True, False, True, True, False])
    assert analysis.threshold(predictions, 1.0) == 0.9
    assert analysis.threshold(predictions, 0.75) == 0.6  # though at 0.8 only half are right
    assert analysis.threshold(predictions, 0.5) == 0.5
    assert analysis.threshold(believed(confidence, [False] * 5), 0.5) == np.inf


def test_reliability_agrees_with_scikit_learn(answers):
    _, labels, predictions = answers
    table = analysis.reliability(predictions, bins=12)
    right, confidence = predictions.right, predictions.confidence
    true, predicted = calibration_curve(right, confidence, n_bins=12)
    np.testing.assert_allclose(table["accuracy"], true)
    np.testing.assert_allclose(table["confidence"], predicted)
    assert table["count"].sum() == len(labels)
    assert ((table["start"] < table["confidence"]) & (table["confidence"] <= table["end"])).all()
    by_hand = sum(len(labels[b]) * abs(right[b].mean() - confidence[b].mean()) for b in bins_of(confidence, 12))
    assert analysis.calibration_error(predictions, 12) == pytest.approx(by_hand / len(labels))


def bins_of(confidence: np.ndarray, bins: int) -> list[np.ndarray]:
    places = np.ceil(confidence * bins).astype(int)
    return [places == place for place in np.unique(places)]


def test_calibration_error_of_a_known_case():
    half = believed([0.8] * 10, [True] * 5 + [False] * 5)  # says 80%, keeps 50%
    assert analysis.calibration_error(half) == pytest.approx(0.3)
    table = analysis.reliability(half, bins=5)
    assert len(table) == 1 and table["end"][0] == pytest.approx(0.8)  # exactly on the edge: the bin below


def test_temperature_finds_the_one_the_labels_were_drawn_with(answers):
    logits, labels, predictions = answers
    found = analysis.temperature(torch.tensor(logits), torch.tensor(labels))
    assert found == pytest.approx(2.5, rel=0.05)

    def loss(temperature: float) -> float:
        scaled = np.exp(logits / temperature)
        return log_loss(labels, scaled / scaled.sum(1, keepdims=True), labels=range(10))

    assert loss(found) < min(loss(found * 1.02), loss(found / 1.02), loss(1))
    calm = ml.Predictions.of(torch.tensor(logits), torch.tensor(labels), temperature=found)
    assert analysis.calibration_error(calm) < 0.3 * analysis.calibration_error(predictions)


def test_temperature_of_a_perfect_reader_has_no_best():
    assert analysis.temperature(10 * np.eye(10), range(10)) < 0.2


@pytest.mark.parametrize("labels", [[1, 2], [[1]]])
def test_what_does_not_belong_together_is_refused(labels):
    with pytest.raises(ValueError, match=r"\(N, 10\) and \(N,\)"):
        analysis.temperature(np.zeros((1, 10)), labels)
    with pytest.raises(ValueError, match="At least one bin"):
        analysis.reliability(believed([0.1], [True]), bins=0)
