"""Attacks agree with brute force and with captum; each digit gets the worst of all changes."""

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


def one(image: torch.Tensor, label: int) -> ml.Digits:
    return ml.Digits(image[None], torch.tensor([label]), "one digit")


def lead(model: nn.Module, digits: ml.Digits) -> list[float]:
    """By how much each label's logit is ahead of the largest other one."""
    with torch.no_grad():
        logits = model(ml.normalise(digits.images))
    return [float(row[k] - row[torch.arange(10) != k].max()) for row, k in zip(logits, digits.labels, strict=True)]


def test_pixel_changes_are_brute_force(test_digits):
    model, digit = tiny(), test_digits.images[3].clone()
    digit[0, 5, 5] = 255
    table = attacks.pixel_changes(model, one(digit, 6))
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


def test_stroke_changes_only_add_ink_where_they_say(test_digits):
    model, digit = tiny(), test_digits.images[0]
    table = attacks.stroke_changes(model, one(digit, 7), length=9, width=2, apart=4)
    assert len(table) == 7 * 7 * 8 and set(table["degrees"]) == {22.5 * n for n in range(8)}
    drawn = attacks.with_strokes(digit, table, length=9, width=2)
    assert (drawn >= digit).all()
    blank = torch.zeros_like(digit)
    inside = table[table["row"].between(8, 20) & table["column"].between(8, 20)]
    only = attacks.with_strokes(blank, inside, length=9, width=2)
    middle = centre_of_mass(only[:, 0])
    np.testing.assert_allclose(middle, inside[["row", "column"]], atol=0.05)
    measured = measures(ml.Digits(only, None, "strokes"))
    np.testing.assert_allclose(measured["ink"], 2 * 7 + np.pi, rtol=0.03)
    rising = inside["degrees"].between(20, 80).to_numpy()  # 45 degrees rises to the right, as a plain slant of 45 does
    assert (measured["slant"][rising] > 0).all()
    row = table.iloc[200]
    with torch.no_grad():
        assert row["prediction"] == model(ml.normalise(drawn[200:201])).argmax()


def test_each_digit_gets_its_own_worst_pixel_and_stroke(test_digits):
    model, digits = tiny(), test_digits[:3]
    for attack, changes in ((attacks.one_pixel, attacks.pixel_changes), (attacks.one_stroke, attacks.stroke_changes)):
        attacked = attack(model, digits)
        assert attacked.source == digits.source and torch.equal(attacked.labels, digits.labels)
        worst = [changes(model, digits[index])["margin"].min() for index in range(3)]
        np.testing.assert_allclose(lead(model, attacked), worst, atol=1e-4)
        assert (np.array(worst) < lead(model, digits)).all()
    pixel, stroke = attacks.one_pixel(model, digits).images, attacks.one_stroke(model, digits).images
    assert (pixel != digits.images).flatten(1).sum(1).tolist() == [1, 1, 1] and (stroke >= digits.images).all()


def test_fgsm_goes_along_captums_gradient(test_digits):
    model, digits = tiny(), test_digits[:20]
    moved = attacks.fgsm(model, digits, 10).images
    pixels, labels = ml.normalise(digits.images), digits.labels
    loss = Saliency(lambda x: torch.nn.functional.cross_entropy(model(x), labels, reduction="none"))
    along = loss.attribute(pixels.requires_grad_(True), abs=False).sign()
    expected = (digits.images + 10 * along).clamp(0, 255)
    assert moved.dtype == torch.uint8 and torch.equal(moved.float(), expected)
    with torch.no_grad():
        before, after = (
            torch.nn.functional.cross_entropy(model(ml.normalise(x)), labels) for x in (digits.images, moved)
        )
    assert after > before and all(parameter.grad is None for parameter in model.parameters())


def test_noise_moves_every_pixel_as_far_as_fgsm_may_but_either_way():
    grey = ml.Digits(torch.full((4, 1, 28, 28), 100, dtype=torch.uint8), None, "grey")
    steps = attacks.noise(grey, 16).images.int() - 100
    assert steps.unique().tolist() == [-16, 16] and abs(float(steps.float().mean())) < 2
    assert torch.equal(attacks.noise(grey, 16).images, attacks.noise(grey, 16).images)
    assert not torch.equal(attacks.noise(grey, 16).images, attacks.noise(grey, 16, seed=1).images)
    blank = attacks.noise(ml.Digits(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), None, "paper"), 16)
    assert blank.images.unique().tolist() == [0, 16]  # there is no paper whiter than white


def test_digits_without_labels_are_not_attacked(test_digits):
    unlabelled = ml.Digits(test_digits.images[:1], None, "nobody said")
    for attack in (attacks.one_pixel, attacks.one_stroke, lambda model, digits: attacks.fgsm(model, digits, 8)):
        with pytest.raises(ml.DataError, match="be attacked"):
            attack(tiny(), unlabelled)
