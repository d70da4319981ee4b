"""Each way to spoil a digit does what its name says, by its own measure, and the same again for the same seed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import mnistlab as ml
from mnistlab.course.corruptions import KINDS, _canny, _motion_blur, corrupt, strokes
from mnistlab.data.form import centre_of_mass


@pytest.fixture(scope="module")
def images(test_digits) -> torch.Tensor:
    return test_digits.images[:60]


def grey(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 255


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_pictures_other_seed_others(images, kind):
    kept = images.clone()
    spoiled = corrupt(images, kind, 3)
    assert spoiled.shape == images.shape and spoiled.dtype == torch.uint8
    assert torch.equal(images, kept) and torch.equal(spoiled, corrupt(images, kind, 3))
    drawn = not torch.equal(spoiled, corrupt(images, kind, 3, seed=1))
    assert drawn == (kind not in ("scale", "brightness", "canny edges"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_strength_is_further_from_the_digit(images, kind):
    far = [float((grey(corrupt(images, kind, s)) - grey(images)).abs().mean()) for s in range(1, 6)]
    shrunk = kind == "scale"  # a tiny digit is no further from the old one than a small one
    assert far[0] > 0.002 and all(b > (0.98 if shrunk else 1.02) * a for a, b in pairwise(far))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_image_does_not_see_its_neighbours(images, kind):
    others = torch.cat([images[:1], images[10:30].flip(0)])
    assert torch.equal(corrupt(images[:21], kind, 3)[0], corrupt(others, kind, 3)[0])


def test_what_there_is_not_is_refused(images):
    with pytest.raises(ValueError, match="There is no kind 'rain'; there are: shot noise"):
        corrupt(images, "rain", 1)
    for strength in (0, 6, 1.5):
        with pytest.raises(ValueError, match="The strength is 1, 2, 3, 4 or 5"):
            corrupt(images, "fog", strength)


def test_there_are_fifteen_in_five_strengths():
    assert len(KINDS) == 15 and all(len(amounts) == 5 for _, amounts in KINDS.values())


def test_shot_noise_is_poisson():
    flat = torch.full((50, 1, 28, 28), 102, dtype=torch.uint8)  # 0.4 of full ink
    photons = KINDS["shot noise"][1][1]
    noisy = grey(corrupt(flat, "shot noise", 2))
    assert noisy.mean() == pytest.approx(0.4, abs=0.005)
    counts = (noisy * photons).round()
    assert torch.isin((noisy * 255).round(), (torch.arange(photons + 1) / photons * 255).round()).all()
    assert counts.var() == pytest.approx(0.4 * photons, rel=0.05)


def test_impulse_noise_touches_its_share_and_nothing_else():
    flat = torch.full((50, 1, 28, 28), 100, dtype=torch.uint8)
    noisy = corrupt(flat, "impulse noise", 3)
    paper, ink = ((noisy == value).double().mean() for value in (0, 255))
    assert paper == pytest.approx(0.045, abs=0.005) and ink == pytest.approx(0.045, abs=0.005)
    assert ((noisy == 100) | (noisy == 0) | (noisy == 255)).all()


def test_rotation_is_scipys_either_way(images):
    spoiled, ways = grey(corrupt(images, "rotate", 3)), []
    for before, after in zip(grey(images)[:, 0], spoiled[:, 0], strict=True):
        turned = [ndimage.rotate(before.numpy(), degrees, reshape=False, order=1) for degrees in (-30, 30)]
        # What comes from beyond the edge is interpolated otherwise there.
        ways.append([(np.abs(after.numpy() - way) > 0.01).sum() <= 6 for way in turned])
    assert (np.sum(ways, 1) == 1).all() and 10 < np.sum(ways, 0)[0] < 50


def test_shear_is_pillows(images):
    spoiled = grey(corrupt(images[:20], "shear", 2))
    for before, after in zip(images[:20, 0], spoiled[:, 0], strict=True):
        picture = Image.fromarray(before.numpy())
        fits = [
            np.abs(
                np.asarray(
                    picture.transform(
                        (28, 28), Image.Transform.AFFINE, (1, s, -14 * s, 0, 1, 0), Image.Resampling.BILINEAR
                    )
                )
                / 255
                - after.numpy()
            ).max()
            for s in (-0.4, 0.4)
        ]
        assert min(fits) < 0.02


def test_scale_shrinks_by_its_factor(images):
    small = corrupt(images, "scale", 2)  # to 0.7
    reach = [
        ((grey(x)[:, 0] * (torch.arange(28) - 13.5) ** 2).sum((1, 2)) / grey(x).sum((1, 2, 3))).sqrt()
        for x in (images, small)
    ]
    assert (reach[1] / reach[0]).mean() == pytest.approx(0.7, abs=0.02)
    assert (grey(small).sum() / grey(images).sum()) == pytest.approx(0.49, abs=0.02)


def test_translation_is_its_length_in_all_directions(images):
    moved = centre_of_mass(corrupt(images, "translate", 3)[:, 0]) - centre_of_mass(images[:, 0])
    assert moved.norm(dim=1).median() == pytest.approx(3.5, abs=0.05)
    assert {tuple(signs) for signs in moved.sign().tolist()} >= {(1, 1), (1, -1), (-1, 1), (-1, -1)}


def test_motion_blur_is_a_mean_along_a_line():
    ink = torch.zeros(200, 1, 29, 29)
    ink[:, 0, 14, 14] = 1
    smear = _motion_blur(ink, 8, torch.Generator().manual_seed(0))
    assert smear.sum((1, 2, 3)).numpy() == pytest.approx(1, abs=1e-3)
    away = torch.stack(torch.meshgrid(torch.arange(29) - 14.0, torch.arange(29) - 14.0, indexing="ij"))
    second = torch.einsum("nhw,ahw,bhw->nab", smear[:, 0], away, away)
    across, along = torch.linalg.eigvalsh(second).T
    evenly_spread = 8**2 / 12
    assert along.mean() == pytest.approx(evenly_spread, rel=0.2) and across.max() < 0.5


def test_glass_blur_moves_ink_no_further_than_it_says(images):
    dot = torch.zeros(300, 1, 28, 28, dtype=torch.uint8)
    dot[:, :, 12:16, 12:16] = 255
    seen = grey(corrupt(dot, "glass blur", 4)).mean(0)[0]
    assert (seen[8:20, 8:20].sum() / seen.sum()) > 0.99 and seen[10, 13] > 0.05
    assert seen.sum() == pytest.approx(16, rel=0.05)


def test_brightness_adds_the_same_everywhere(images):
    added = 0.12 * 255
    expected = (images.double() + added).clamp(max=255)
    assert (corrupt(images, "brightness", 3).double() - expected).abs().max() <= 1


def narrow_side(ink: torch.Tensor) -> float:
    """The width of a long bar, from the variance of its ink across it."""
    places = ink.nonzero().double()
    return float((12 * torch.linalg.eigvalsh(places.T.cov())[0]).sqrt())


def test_stripe_exchanges_ink_and_paper_in_one_band(images):
    striped = corrupt(images, "stripe", 3)
    changed = striped != images
    assert torch.equal(striped[changed], 255 - images[changed])
    blank = corrupt(torch.zeros_like(images), "stripe", 3)
    assert torch.isin(blank, torch.tensor([0, 255])).all()
    assert np.median([narrow_side(band) for band in grey(blank)[:, 0]]) == pytest.approx(3, abs=0.2)
    for band in blank[:, 0].numpy():
        assert ndimage.label(band, np.ones((3, 3)))[1] == 1


def test_fog_hides_ink_and_greys_paper(images):
    misty = grey(corrupt(images, "fog", 4))
    density = KINDS["fog"][1][3]
    paper, ink = images == 0, images == 255
    assert misty[paper].mean() == pytest.approx(density / 2, abs=0.05) and misty[paper].min() > 0
    assert (misty[ink].mean() - misty[paper].mean()) == pytest.approx(1 - density, abs=0.05)
    clouds = grey(corrupt(torch.zeros_like(images), "fog", 4))[:, 0]
    assert clouds.diff(dim=1).abs().mean() < 0.2 * clouds.std()  # clouds, not noise


def test_spatter_only_adds_ink(images):
    wet = corrupt(images, "spatter", 4)
    assert (wet >= images).all()
    drops = grey(corrupt(torch.zeros_like(images), "spatter", 4))
    assert drops.mean() == pytest.approx(0.12, abs=0.02)
    pieces = [ndimage.label(drop > 0.5)[1] for drop in drops[:, 0].numpy()]
    assert 3 < np.mean(pieces) < 20


def test_dotted_lines_and_zigzags_cross_the_picture(images):
    blank = torch.zeros_like(images)
    for kind, pieces in (("dotted line", (4, 16)), ("zigzag", (1, 2))):
        assert (corrupt(images, kind, 3) >= images).all()
        drawn = corrupt(blank, kind, 1 if kind == "dotted line" else 3)[:, 0].numpy()
        found = [ndimage.label(line > 127, np.ones((3, 3)))[1] for line in drawn]
        assert pieces[0] <= np.median(found) <= pieces[1]
        reach = [max(np.ptp(np.nonzero(line)[axis]) for axis in (0, 1)) for line in drawn]
        assert np.median(reach) >= 22


def test_canny_edges_are_thin_and_go_round(images):
    square = torch.zeros(1, 1, 28, 28)
    square[:, :, 8:20, 8:20] = 1
    edges = _canny(square)[0, 0].numpy()
    outer, inner = np.zeros((28, 28), bool), np.zeros((28, 28), bool)
    outer[7:21, 7:21], inner[9:19, 9:19] = True, True
    assert not edges[~outer].any() and not edges[inner].any()
    assert ndimage.label(edges, np.ones((3, 3)))[1] == 1
    filled = ndimage.binary_fill_holes(edges)
    assert 100 < filled.sum() < 200 and 36 <= edges.sum() <= 52  # a ring one pixel wide round 12×12
    lines = _canny(grey(images)).bool()
    thick = lines[:, :, 1:, 1:] & lines[:, :, :-1, 1:] & lines[:, :, 1:, :-1] & lines[:, :, :-1, :-1]
    assert thick.double().mean() < 0.01
    assert torch.equal(corrupt(images, "canny edges", 5), lines.byte() * 255)
    assert not _canny(torch.full((1, 1, 28, 28), 0.5)).any()


def test_faint_edges_stay_only_where_they_hang_on_clear_ones():
    ink = torch.zeros(1, 1, 28, 28)
    ink[..., :14, 6:] = torch.linspace(1, 0.3, 14)[:, None]  # one edge, fading downwards
    ink[..., 20:26, 6:] = 0.3  # as faint, alone
    kept = _canny(ink)[0, 0, :, 4:8].amax(1)
    assert kept[2:12].all() and not kept[21:25].any()


def test_strokes_are_as_wide_as_they_say():
    flat = strokes(torch.tensor([[13.5, 4.0]]), torch.tensor([[13.5, 24.0]]), 4)[0, 0]
    assert flat[:, 14].sum() == pytest.approx(4) and flat[11:16, 14].tolist() == [0, 1, 1, 1, 1]
    assert flat[13, 1].item() == 0 and flat[13, 3] > 0 and flat[13, 27] == 0
    dot = strokes(torch.tensor([[10.0, 10.0]]), torch.tensor([[10.0, 10.0]]), 6)
    assert float(dot.sum()) == pytest.approx(np.pi * 9, rel=0.03)


def test_a_network_may_be_read_with_them(images):
    with torch.no_grad():
        assert ml.CNN().eval()(ml.normalise(corrupt(images[:2], "fog", 1))).isfinite().all()
