"""What is measured on a digit agrees with how it was drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr

import mnistlab as ml
from mnistlab.course.corruptions import corrupt, strokes
from mnistlab.course.measures import measures


def bar(degrees: float, width: float, length: float = 18) -> ml.Digits:
    """A straight stroke through the middle that leans to the right by `degrees`."""
    lean = np.radians(degrees)
    half = torch.tensor([[-np.cos(lean), np.sin(lean)]], dtype=torch.float32) * (length - width) / 2
    return ml.Digits((strokes(13.5 - half, 13.5 + half, width) * 255).round().to(torch.uint8), None, "a bar")


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("degrees", [-40, -15, 0, 10, 30])
def test_a_drawn_bar_is_measured_as_it_was_drawn(degrees, width):
    found = measures(bar(degrees, width)).iloc[0]
    sine, cosine, across = np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), (width / 18) ** 2
    slope = (1 - across) * sine * cosine / (cosine**2 + across * sine**2)  # a rectangle's moments, by hand
    assert found["slant"] == pytest.approx(np.degrees(np.arctan(slope)), abs=1)
    # Its round ends make a bar of 18 pixels a little thinner than an endless one; grey rims make it a little wider.
    assert found["stroke width"] == pytest.approx(width * (1 - width / 18), rel=0.15)
    area = width * (18 - width) + np.pi * width**2 / 4
    assert found["ink"] == pytest.approx(area, rel=0.03)


def test_stroke_width_orders_digits_as_their_distance_transform_does(test_digits):
    digits = test_digits[:300]
    inked = [image[0] > 127 for image in digits.images]
    deep = [distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1][ink].mean() for ink in inked]
    assert spearmanr(measures(digits)["stroke width"], deep)[0] > 0.9


def test_slant_follows_shear(test_digits):
    digits = test_digits[:200]
    sheared = replace(digits, images=corrupt(digits.images, "shear", 2))
    straight, leaning = (np.tan(np.radians(measures(moved)["slant"])) for moved in (digits, sheared))
    assert (leaning - straight).abs().mean() == pytest.approx(0.4, abs=0.03)


def test_empty_paper_has_no_measures():
    found = measures(ml.Digits(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), None, "paper")).iloc[0]
    assert found["ink"] == 0 and found[["slant", "stroke width"]].isna().all()
