"""What a network says of many digits, one row each: counted, chosen from and compared with a plain computation."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import mnistlab as ml

LOGITS = torch.randn(40, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
LABELS = torch.arange(40) % 10


def test_a_row_says_what_softmax_says():
    predictions = ml.Predictions.of(LOGITS, LABELS, temperature=2.0, source="ours")
    probabilities = F.softmax(LOGITS / 2, 1)
    ordered, _ = probabilities.sort(1, descending=True)
    np.testing.assert_allclose(predictions.probabilities, probabilities)
    np.testing.assert_allclose(predictions.confidence, ordered[:, 0])
    np.testing.assert_allclose(predictions.table["margin"], ordered[:, 0] - ordered[:, 1])
    np.testing.assert_allclose(predictions.table["loss"], F.cross_entropy(LOGITS / 2, LABELS, reduction="none"))
    assert (
        predictions.predicted.tolist() == LOGITS.argmax(1).tolist() and predictions.labels.tolist() == LABELS.tolist()
    )
    assert predictions.predicted.dtype == predictions.labels.dtype == np.int64


def test_what_is_right_is_counted():
    predictions = ml.Predictions.of(LOGITS, LABELS, source="ours")
    right = LOGITS.argmax(1) == LABELS
    assert predictions.right.tolist() == right.tolist() and predictions.errors == int((~right).sum())
    assert len(predictions) == 40 and repr(predictions) == f"40 predictions, {predictions.errors} wrong · ours"
    found = predictions.evaluation
    assert (found.errors, found.count) == (predictions.errors, 40)
    assert found.loss == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))
    assert str(found).startswith(f"{found.errors} wrong of 40: ")


@pytest.mark.parametrize(
    "rows", [slice(3, 9), [5, 2, 2], np.arange(40) % 3 == 0, torch.arange(40) > 30, torch.tensor([7]), []]
)
def test_some_rows_are_predictions_again(rows):
    predictions = ml.Predictions.of(LOGITS, LABELS, source="ours")
    some = predictions[rows]
    places = np.arange(40)[rows if isinstance(rows, slice) else np.asarray(rows, None if len(rows) else int)]
    assert some.labels.tolist() == LABELS[places].tolist() and some.source == "ours"
    np.testing.assert_array_equal(some.probabilities, predictions.probabilities[places])
    assert some.table.index.tolist() == list(range(len(places)))


def test_without_labels_there_is_nothing_to_score():
    predictions = ml.Predictions.of(LOGITS, source="nobody's")
    assert repr(predictions) == "40 predictions · nobody's"
    for ask in ("labels", "right", "errors", "evaluation"):
        with pytest.raises(ml.DataError, match="digits without labels; predict a split that has them"):
            getattr(predictions, ask)


def test_a_file_that_could_not_be_read_has_no_probabilities():
    table = pd.concat([ml.Predictions.of(LOGITS[:2]).table, pd.DataFrame({"error": ["broken"]})], ignore_index=True)
    assert np.isnan(ml.Predictions(table).probabilities).all(1).tolist() == [False, False, True]


def test_predict_agrees_with_evaluate_and_names_the_digits(test_digits):
    model, digits = ml.CNN(seed=0), test_digits[:300]
    predictions = ml.predict(model, digits, batch_size=128)
    assert predictions.source == f"{digits.source}, test"
    assert predictions.labels.tolist() == digits.labels.tolist()
    found, expected = predictions.evaluation, ml.evaluate(model, digits)
    assert found.errors == expected.errors and found.loss == pytest.approx(expected.loss, abs=1e-5)
    np.testing.assert_allclose(predictions.probabilities, ml.logits(model, digits.images).softmax(1), atol=1e-6)


def test_predict_takes_a_temperature_and_digits_without_labels(test_digits):
    model, digits = ml.CNN(seed=0), ml.Digits(test_digits.images[:20], None, "nobody's")
    predictions = ml.predict(model, digits, temperature=0.1)
    expected = (ml.logits(model, digits.images).double() / 0.1).softmax(1)
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-5)
    assert predictions.source == "nobody's" and not {"label", "loss"} & set(predictions.table.columns)
