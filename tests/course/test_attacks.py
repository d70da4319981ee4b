"""Attacks agree with brute force and with captum."""

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

import mnistlab as ml
from mnistlab.course import attacks
from mnistlab.course.measures import measures
from mnistlab.data.form import centre_of_mass


def tiny(seed: int = 0) -> nn.Module:
    """A reader that a pixel can sway."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(10))


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
    np.testing.assert_allclose(measures(only)["ink"], 2 * 7 + np.pi, rtol=0.03)
    rising = inside["degrees"].between(20, 80)  # 45 degrees rises to the right, as a plain slant of 45 does
    assert (measures(only[torch.tensor(rising.to_list())])["slant"] > 0).all()
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
