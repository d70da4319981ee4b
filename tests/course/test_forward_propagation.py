"""The stills and figures on forward propagation are of the film and the trace, and say their numbers."""

import numpy as np
import pytest

import mnistlab as ml
from mnistlab import films
from mnistlab.course import forward_propagation as lesson


@pytest.fixture(scope="module")
def trace(offline) -> ml.Trace:
    return ml.trace(ml.CNN(seed=3), offline.images[0], int(offline.labels[0]))


@pytest.fixture(scope="module")
def film(trace) -> films.Film:
    return films.forward(trace, show_progress=False)


def test_stills_are_frames_of_the_film_and_say_what_the_network_computed(trace, film):
    way = {ledger.name: ledger for ledger in trace.way()}
    winner, rival = trace.ranking[:2]
    cases = (
        (lesson.one_cell(film, way["conv1"]), film.end(2), [f"{way['conv1'].output:+.3f}"]),
        (lesson.deeper(film, way["conv2"]), film.end(6) - 1, ["27 others", f"{way['conv2'].output:+.2f}"]),
        (lesson.pooling(film, way["pool1"]), film.end(7), ["our 4 cells", f"{float(way['pool1'].values.max()):.2f}"]),
        (lesson.votes(film, trace), film.end(10), [f"{trace.logits[k]:+.2f} in all" for k in (winner, rival)]),
        (lesson.softmax(film, trace), film.end(11), [f"{float(trace.probabilities[winner]):.0%} for the {winner}"]),
    )
    for still, frame, said in cases:
        assert np.array_equal(still.picture, film.still(frame))
        assert len(still.alt) >= 40 and all(words in still.alt for words in said), still.alt


def test_contact_sheets_hold_the_frames_and_say_their_numbers(trace, film):
    zeros = float((trace["relu1"].input <= 0).double().mean())
    relu, views = lesson.relu(film, trace), lesson.views(film, ml.receptive_field(ml.CNN()))
    assert "All 32 maps" in relu.alt and f"{zeros:.0%}" in relu.alt
    assert np.array_equal(relu.picture, film.contact_sheet([film.end(4), film.end(5)], 2, 640))
    assert "from 10×10 to 24×24 pixels" in views.alt and views.picture.size == (1280, 720)
    ledgers = [film.scenes[8][0] + frame for frame in (0, 2, 5)]  # say themselves which layer's they are
    for frame, layer in zip(ledgers, ("conv3", "conv4", "conv5"), strict=True):
        assert any(words.form == f"of {layer} sees" for words in film.words[frame])
    assert np.array_equal(views.picture, film.contact_sheet([*ledgers, film.end(8)], 2, 640))


def test_pixels_are_gradient_and_gradient_times_pixel(trace, offline):
    shares, _ = trace.pixel_shares(trace.prediction)
    figure = lesson.pixels(trace, shares, offline)
    gradient, product = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    pixels = ml.normalise(trace.digit[None]).double().requires_grad_(True)
    ml.CNN(seed=3).double().eval()(pixels)[0, trace.prediction].backward()
    assert np.allclose(gradient, pixels.grad[0, 0], atol=1e-5) and np.allclose(product, shares)
    assert f"{float(shares.sum()):+.2f}".replace("-", "−") in figure.title and figure.title in figure.alt
    footnote = f"Digits: {offline.source}"
    assert footnote == figure.get_supxlabel()
    mnist = ml.Digits(offline.images, offline.labels, "MNIST")
    assert not lesson.pixels(trace, shares, mnist).get_supxlabel()


def test_verdicts_are_the_last_frames_under_their_names(trace, film):
    still = lesson.verdicts({"one": film, "two": film})
    assert still.picture.size == (880, 247)
    assert "2 films" in still.alt
    for name in ("one", "two"):
        assert f"{name}: A {trace.truth} is read as {trace.prediction}" in still.alt
    left, right = still.picture.crop((0, 0, 440, 247)), still.picture.crop((440, 0, 880, 247))
    assert np.array_equal(left, right) and np.array_equal(left, film.contact_sheet([len(film.frames) - 1], 1, 440))
