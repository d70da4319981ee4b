"""Notebook 01's figures show what they are given, and say so in their titles and alt texts."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from sklearn.neighbors import NearestNeighbors

import mnistlab as ml
from mnistlab.course import dataset
from mnistlab.data.form import centre_of_mass
from mnistlab.figures.style import Figure


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def every_figure(digits: ml.Digits) -> dict[str, Figure]:
    points = np.random.default_rng(0).normal(size=(50, 2))
    page = torch.zeros(60, 60)
    return {
        "pixels": dataset.pixels(digits[:1]),
        "balance": dataset.balance({"a": digits[:500], "b": digits[500:900]}),
        "means": dataset.means(digits[:500]),
        "making": dataset.making(page, page[:20, :15], digits.images[0, 0], digits[:1]),
        "centres": dataset.centres(torch.full((5, 2), 14.0), digits),
        "normalised": dataset.normalised({"a": torch.arange(9.0)}, digits),
        "flat_maps": dataset.flat_maps({"a": points, "b": points}, digits[:50]),
        "nearest_mean": dataset.nearest_mean(digits.labels, digits),
    }


def test_a_stand_in_for_mnist_is_named_on_every_figure(offline):
    for name, figure in every_figure(offline).items():
        figure.draw_without_rendering()
        assert f"Digits: {offline.source}" in words(figure), name


def test_mnist_needs_no_footnote(offline):
    digits = ml.Digits(offline.images, offline.labels, "MNIST")
    for name, figure in every_figure(digits).items():
        assert "Digits:" not in words(figure), name


def test_every_pixel_of_ink_has_its_number(offline):
    digit = offline[3]
    image, label = digit.images[0, 0].numpy(), int(digit.labels[0])
    figure = dataset.pixels(digit)
    written = {tuple(map(int, text.get_position()[::-1])): int(text.get_text()) for text in figure.axes[0].texts}
    assert written == {place: value for place, value in np.ndenumerate(image) if value}
    assert figure.title.startswith(f"This {label} is 784 numbers")
    assert f"A handwritten {label}" in figure.alt and f"{len(written)} pixels" in figure.alt


def test_balance_is_per_split(offline):
    parts = {"first": offline[:1000], "second": offline[1000:]}
    figure = dataset.balance(parts)
    heights = [patch.get_height() for patch in figure.axes[0].patches if patch.get_height() > 0][:20]
    expected = [100 * float((part.labels == d).double().mean()) for part in parts.values() for d in range(10)]
    assert heights == pytest.approx(expected)
    shares = offline.labels.bincount() / len(offline)
    assert f"from {shares.min():.1%} ({shares.argmin()}s) to {shares.max():.1%} ({shares.argmax()}s)" in figure.title
    assert "first and second" in figure.alt and figure.alt.endswith(figure.title)


def test_means_stand_over_their_spread(offline):
    axes = np.reshape(dataset.means(offline).axes, (2, 10))
    for digit in range(10):
        images = offline.images[offline.labels == digit, 0].numpy().astype(float)
        np.testing.assert_allclose(axes[0, digit].images[0].get_array(), images.mean(0), atol=1e-3)
        np.testing.assert_allclose(axes[1, digit].images[0].get_array(), images.std(0, ddof=1), atol=1e-3)
        assert axes[0, digit].get_title() == str(digit)


def test_making_says_how_far_apart_the_two_are(offline):
    back = (offline.images[0, 0].int() - 3).clamp(0).to(torch.uint8)
    apart = np.abs(back.numpy().astype(float) - offline.images[0, 0].numpy()).mean()
    figure = dataset.making(torch.zeros(60, 50), torch.zeros(20, 15), back, offline[0])
    assert [axes.get_title() for axes in figure.axes] == [
        "on a page, 60×50", "bounding box, 20×15", "MNIST's form, 28×28", "the original, 28×28"
    ]  # fmt: skip
    assert f"on average {apart:.1f} of 255" in figure.title and "on a page, 60×50; " in figure.alt


def test_centres_are_counted_inside_their_pixel(offline):
    points = torch.tensor([[14.0, 14.0], [13.5, 14.5], [14.6, 14.0], [14.0, 13.4]])
    figure = dataset.centres(points)
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), points.flip(1))
    assert (
        figure.title == "2 of 4 centres in one pixel" and "2 in the square" in figure.alt and "2 outside" in figure.alt
    )
    found = dataset.centres(centre_of_mass(offline.images[:, 0]), offline)
    assert f"of {len(offline):,} centres" in found.title


def test_histograms_name_their_ends_means_and_spreads():
    before = torch.tensor([0.0, 0.0, 0.0, 1.0])
    figure = dataset.normalised({"before": before, "after": 4 * before - 1})
    assert [axes.get_title() for axes in figure.axes] == [
        "mean 0.25, standard deviation 0.43", "mean 0.00, standard deviation 1.73"
    ]  # fmt: skip
    assert "before, from 0 to 1; after, from −1 to 3." in figure.alt
    for axes in figure.axes:
        assert sorted(patch.get_height() for patch in axes.patches)[-2:] == pytest.approx([25, 75])


def test_neighbours_that_agree_are_counted_as_scikit_learn_does():
    points, labels = np.random.default_rng(0).normal(size=(300, 5)), torch.arange(300) % 3
    points[:, 0] += 2 * labels.numpy()
    nearest = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[1][:, 1]
    expected = (labels[nearest] == labels).double().mean()
    assert dataset.neighbours_agree(points, labels) == pytest.approx(float(expected))


def test_flat_maps_say_how_often_neighbours_agree_and_keep_their_labels_apart(offline):
    digits = offline[:200]
    heap = np.random.default_rng(0).normal(size=(200, 2)) * 0.01 + 5
    heap[0] = 0, 0  # one far away, the rest in a heap
    islands = heap + 10 * digits.labels[:, None].numpy()
    figure = dataset.flat_maps({"heap": heap, "islands": islands}, digits)
    for axes, points in zip(figure.axes, (heap, islands), strict=True):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), points)
    spots = np.array([text.get_position() for text in figure.axes[0].texts])
    gaps = np.abs(spots[:, None] - spots).max(-1) + np.eye(10)
    assert len(spots) == 10 and gaps.min() > 0.02 * np.ptp(heap)
    left, right = (dataset.neighbours_agree(points, digits.labels) for points in (heap, islands))
    assert f"{left:.0%} of the time on the left, {right:.0%} on the right" in figure.title and left < 0.5 < right
    assert "200 digits" in figure.alt and "heap; islands" in figure.alt


def test_the_accuracies_of_the_nearest_mean_are_those_of_its_answers(offline):
    answers = offline.labels.clone()
    answers[(offline.labels == 4) & (torch.arange(len(offline)) % 2 == 0)] = 9
    right = (answers == offline.labels).double()
    shares = [100 * float(right[offline.labels == digit].mean()) for digit in range(10)] + [100 * float(right.mean())]
    figure = dataset.nearest_mean(answers, offline)
    axes = figure.axes[0]
    assert [patch.get_height() for patch in axes.patches] == pytest.approx(shares)
    assert [label.get_text() for label in axes.get_xticklabels()] == [*map(str, range(10)), "all"]
    assert figure.title == f"Ten averages read {shares[-1]:.1f}%; the 4 is the hardest"
    assert f"4 {shares[4]:.0f}%, 5 100%" in figure.alt and f"all {shares[-1]:.0f}%" in figure.alt
