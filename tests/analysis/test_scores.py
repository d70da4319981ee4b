"""Analysis agrees with scikit-learn, with captum, with brute force, and with what was worked out by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import Saliency
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from torch import nn

import mnistlab as ml
from mnistlab import analysis
from mnistlab.analysis.scores import wilson
from mnistlab.course import attacks, disputed
from mnistlab.course.corruptions import corrupt, strokes
from mnistlab.data.form import centre_of_mass


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2,000 logits, labels drawn from their softmax at temperature 2.5, and what softmax makes of the logits."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2000, 10)) * 4
    true = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(1, keepdims=True)
    labels = np.array([generator.choice(10, p=row) for row in true])
    return logits, labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def tiny(seed: int = 0) -> nn.Module:
    """A reader that a pixel can sway."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(10))


def test_confusion_and_scores_agree_with_scikit_learn(answers):
    _, labels, probabilities = answers
    predictions = probabilities.argmax(1)
    counts = analysis.confusion(labels, predictions)
    assert (counts == confusion_matrix(labels, predictions)).all(axis=None)
    assert counts.index.name == "label" and counts.columns.name == "prediction"
    table = analysis.per_digit(pd.array(labels, dtype="Int64"), torch.tensor(predictions))
    precision, recall, f1, support = precision_recall_fscore_support(labels, predictions)
    np.testing.assert_allclose(table[["precision", "recall", "F1", "count"]].T, [precision, recall, f1, support])
    np.testing.assert_array_equal(table["errors"], [(predictions != labels)[labels == k].sum() for k in range(10)])
    right, count = int(counts.loc[4, 4]), int(counts.loc[4].sum())
    assert tuple(table.loc[4, ["low", "high"]]) == wilson(right, count)


def test_a_digit_that_never_occurs_has_no_scores():
    table = analysis.per_digit([1, 1, 2], [1, 2, 2])
    assert table.loc[0, ["precision", "recall", "F1", "low"]].isna().all() and table.loc[0, "count"] == 0
    assert table.loc[1, "recall"] == 0.5 and table.loc[2, "precision"] == 0.5 and table.loc[1, "precision"] == 1


def test_confused_pairs_are_the_commonest_first():
    table = analysis.confused_pairs([9, 9, 9, 9, 4, 1, 1], [4, 4, 9, 7, 9, 1, 1])
    assert table.to_numpy().tolist() == [[9, 4, 2, 0.5], [4, 9, 1, 1.0], [9, 7, 1, 0.25]]
    assert list(table.columns) == ["label", "prediction", "count", "share"]


def test_an_accuracy_is_told_with_its_interval():
    low, high = wilson(9972, 10_000)
    assert analysis.in_words(28, 10_000) == (f"28 wrong of 10,000: 99.72% right (95% interval {low:.2%} to {high:.2%})")


def test_groups_and_slices_count_every_digit_once(answers):
    _, labels, probabilities = answers
    right = probabilities.argmax(1) == labels
    table = analysis.accuracies(right, labels)
    for digit, row in table.iterrows():
        assert row["accuracy"] == accuracy_score(labels[labels == digit], probabilities[labels == digit].argmax(1))
        assert (row["low"], row["high"]) == wilson(int(row["count"] - row["errors"]), int(row["count"]))
    values = np.random.default_rng(1).normal(size=len(labels))
    cut = analysis.slices(right, values, parts=4)
    assert cut["count"].tolist() == [500] * 4 and cut["errors"].sum() == (~right).sum()
    assert cut["start"].iloc[0] == values.min() and cut["end"].iloc[-1] == values.max()
    inside = (values > cut["start"][2]) & (values <= cut["end"][2])
    assert cut["accuracy"][2] == right[inside].mean()


def test_slices_of_few_values_are_fewer():
    cut = analysis.slices([True, False, True, True], [1, 1, 1, 5], parts=5)
    assert cut["count"].tolist() == [3, 1] and cut["errors"].tolist() == [1, 0]
    whole = analysis.slices([True, False], [3, 3])
    assert whole["count"].tolist() == [2] and whole["start"][0] == whole["end"][0] == 3


def bar(degrees: float, width: float, length: float = 18) -> torch.Tensor:
    """(1, 1, 28, 28) uint8: a straight stroke through the middle that leans to the right by `degrees`."""
    lean = np.radians(degrees)
    half = torch.tensor([[-np.cos(lean), np.sin(lean)]], dtype=torch.float32) * (length - width) / 2
    return (strokes(13.5 - half, 13.5 + half, width) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("degrees", [-40, -15, 0, 10, 30])
def test_a_drawn_bar_is_measured_as_it_was_drawn(degrees, width):
    found = analysis.measures(bar(degrees, width)).iloc[0]
    sine, cosine, across = np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), (width / 18) ** 2
    slope = (1 - across) * sine * cosine / (cosine**2 + across * sine**2)  # a rectangle's moments, by hand
    assert found["slant"] == pytest.approx(np.degrees(np.arctan(slope)), abs=1)
    # Its round ends make a bar of 18 pixels a little thinner than an endless one; grey rims make it a little wider.
    assert found["stroke_width"] == pytest.approx(width * (1 - width / 18), rel=0.15)
    area = width * (18 - width) + np.pi * width**2 / 4
    assert found["ink"] == pytest.approx(area, rel=0.03)


def test_stroke_width_orders_digits_as_their_distance_transform_does(test_digits):
    images = test_digits.images[:300]
    deep = [distance_transform_edt(np.pad(image[0] > 127, 1))[1:-1, 1:-1][image[0] > 127].mean() for image in images]
    assert spearmanr(analysis.measures(images)["stroke_width"], deep)[0] > 0.9


def test_slant_follows_shear(test_digits):
    images = test_digits.images[:200]
    straight, leaning = (
        np.tan(np.radians(analysis.measures(moved)["slant"])) for moved in (images, corrupt(images, "shear", 2))
    )
    assert (leaning - straight).abs().mean() == pytest.approx(0.4, abs=0.03)


def test_empty_paper_has_no_measures():
    found = analysis.measures(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).iloc[0]
    assert found["ink"] == 0 and found[["slant", "stroke_width"]].isna().all()


def test_coverage_counts_those_above_each_threshold():
    table = analysis.coverage([0.9, 0.8, 0.8, 0.6, 0.5], [True, True, False, True, False])
    assert table["threshold"].tolist() == [0.9, 0.8, 0.6, 0.5]
    assert table["answered"].tolist() == [1, 3, 4, 5] and table["errors"].tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(table["coverage"], [0.2, 0.6, 0.8, 1])
    np.testing.assert_allclose(table["accuracy"], [1, 2 / 3, 3 / 4, 3 / 5])


def test_threshold_is_the_lowest_that_keeps_its_promise():
    confidence, right = [0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, True, False]
    assert analysis.threshold(confidence, right, 1.0) == 0.9
    assert analysis.threshold(confidence, right, 0.75) == 0.6  # though at 0.8 only half are right
    assert analysis.threshold(confidence, right, 0.5) == 0.5
    assert analysis.threshold(confidence, [False] * 5, 0.5) == np.inf


def test_one_pixel_is_brute_force(test_digits):
    model, digit = tiny(), test_digits.images[3].clone()
    digit[0, 5, 5] = 255
    table = attacks.one_pixel(model, digit, 6)
    assert len(table) == 784 * 2 - int(((digit == 0) | (digit == 255)).sum())
    for row in table.sample(40, random_state=0).itertuples():
        changed = digit.clone()
        changed[0, row.row, row.column] = row.value
        with torch.no_grad():
            logits = model(ml.normalise(changed[None]))[0]
        assert row.prediction == logits.argmax()
        assert row.margin == pytest.approx(float(logits[6] - logits[torch.arange(10) != 6].max()), abs=1e-4)
    best = attacks.with_pixels(digit, table.nsmallest(1, "margin"))
    assert best.shape == (1, 1, 28, 28) and int((best[0] != digit).sum()) == 1


def test_one_stroke_only_adds_ink_where_it_says(test_digits):
    model, digit = tiny(), test_digits.images[0]
    table = attacks.one_stroke(model, digit, 7, length=9, width=2, apart=4)
    assert len(table) == 7 * 7 * 8 and set(table["degrees"]) == {22.5 * n for n in range(8)}
    drawn = attacks.with_strokes(digit, table, length=9, width=2)
    assert (drawn >= digit).all()
    blank = torch.zeros_like(digit)
    inside = table[table["row"].between(8, 20) & table["column"].between(8, 20)]
    only = attacks.with_strokes(blank, inside, length=9, width=2)
    middle = centre_of_mass(only[:, 0])
    np.testing.assert_allclose(middle, inside[["row", "column"]], atol=0.05)
    np.testing.assert_allclose(analysis.measures(only)["ink"], 2 * 7 + np.pi, rtol=0.03)
    rising = inside["degrees"].between(20, 80)  # 45 degrees rises to the right, as a plain slant of 45 does
    assert (analysis.measures(only[torch.tensor(rising.to_list())])["slant"] > 0).all()
    row = table.iloc[200]
    with torch.no_grad():
        assert row["prediction"] == model(ml.normalise(drawn[200:201])).argmax()


def test_fgsm_goes_along_captums_gradient(test_digits):
    model, images, labels = tiny(), test_digits.images[:20], test_digits.labels[:20]
    moved = attacks.fgsm(model, images, labels, 10)
    pixels = ml.normalise(images)
    loss = Saliency(lambda x: torch.nn.functional.cross_entropy(model(x), labels, reduction="none"))
    along = loss.attribute(pixels.requires_grad_(True), abs=False).sign()
    expected = (images + 10 * along).clamp(0, 255)
    assert moved.dtype == torch.uint8 and torch.equal(moved.float(), expected)
    with torch.no_grad():
        before, after = (torch.nn.functional.cross_entropy(model(ml.normalise(x)), labels) for x in (images, moved))
    assert after > before and all(parameter.grad is None for parameter in model.parameters())


def test_reliability_agrees_with_scikit_learn(answers):
    _, labels, probabilities = answers
    table = analysis.reliability(probabilities, labels, bins=12)
    right, confidence = probabilities.argmax(1) == labels, probabilities.max(1)
    true, predicted = calibration_curve(right, confidence, n_bins=12)
    np.testing.assert_allclose(table["accuracy"], true)
    np.testing.assert_allclose(table["confidence"], predicted)
    assert table["count"].sum() == len(labels)
    assert ((table["start"] < table["confidence"]) & (table["confidence"] <= table["end"])).all()
    by_hand = sum(len(labels[b]) * abs(right[b].mean() - confidence[b].mean()) for b in bins_of(confidence, 12))
    assert analysis.calibration_error(probabilities, labels, 12) == pytest.approx(by_hand / len(labels))


def bins_of(confidence: np.ndarray, bins: int) -> list[np.ndarray]:
    places = np.ceil(confidence * bins).astype(int)
    return [places == place for place in np.unique(places)]


def test_calibration_error_of_a_known_case():
    half = np.full((10, 10), 0.2 / 9)
    half[:, 3] = 0.8
    labels = np.array([3] * 5 + [4] * 5)  # says 80%, keeps 50%
    assert analysis.calibration_error(half, labels) == pytest.approx(0.3)
    table = analysis.reliability(half, labels, bins=5)
    assert len(table) == 1 and table["end"][0] == pytest.approx(0.8)  # exactly on the edge: the bin below


def test_temperature_finds_the_one_the_labels_were_drawn_with(answers):
    logits, labels, probabilities = answers
    found = analysis.temperature(torch.tensor(logits), torch.tensor(labels))
    assert found == pytest.approx(2.5, rel=0.05)

    def loss(temperature: float) -> float:
        scaled = np.exp(logits / temperature)
        return log_loss(labels, scaled / scaled.sum(1, keepdims=True), labels=range(10))

    assert loss(found) < min(loss(found * 1.02), loss(found / 1.02), loss(1))
    calm = np.exp(logits / found) / np.exp(logits / found).sum(1, keepdims=True)
    assert analysis.calibration_error(calm, labels) < 0.3 * analysis.calibration_error(probabilities, labels)


def test_temperature_of_a_perfect_reader_has_no_best():
    assert analysis.temperature(10 * np.eye(10), range(10)) < 0.2


@pytest.mark.parametrize("labels", [[1, 2], [[1]]])
def test_what_does_not_belong_together_is_refused(labels):
    with pytest.raises(ValueError, match=r"\(N, 10\) and \(N,\)"):
        analysis.temperature(np.zeros((1, 10)), labels)
    with pytest.raises(ValueError, match="At least one bin"):
        analysis.reliability(np.full((1, 10), 0.1), [1], bins=0)


def test_disputed_labels_are_mnists(test_digits):
    table = disputed.DISPUTED
    people = table[["for the label", "for the guess", "for neither"]]
    assert len(table) == 15 and (people.sum(axis=1) == 5).all() and (people["for the label"] < 3).all()
    assert (table["label"] != table["guess"]).all()
    if test_digits.is_mnist:
        assert test_digits.labels[table["test digit"].to_list()].tolist() == table["label"].to_list()
