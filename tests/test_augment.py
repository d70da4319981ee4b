import math

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistlab import Affine, augment
from mnistlab.data import centre_of_mass

STILL = {"degrees": 0, "scale": 0, "shear": 0, "shift": 0}


def drawn(affine: Affine, count: int, seed: int) -> torch.Tensor:
    """The draws in −1…1 that `augment` makes, row by row: angle, width, height, slant, right, down."""
    return torch.rand(6, count, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def run(images: torch.Tensor, affine: Affine, seed: int = 0) -> torch.Tensor:
    return augment(images, affine, torch.Generator().manual_seed(seed))


def test_no_movement_changes_nothing(train):
    images = train.images[:32]
    torch.testing.assert_close(run(images, Affine(**STILL)), images.float(), atol=0.05, rtol=0)


def test_rotation_agrees_with_torchvision(train):
    images = train.images[:16].float()
    affine = Affine(**STILL | {"degrees": 30})
    angles = drawn(affine, 16, 3)[0] * 30
    for image, result, angle in zip(images, run(images, affine, 3), angles, strict=True):
        expected = reference.rotate(image, float(angle), reference.InterpolationMode.BILINEAR)
        assert (result - expected).abs().mean() < 0.5


def test_shift_agrees_with_torchvision(train):
    images = train.images[:16].float()
    affine = Affine(**STILL | {"shift": 3})
    moves = drawn(affine, 16, 4)[4:].T * 3
    before = centre_of_mass(images[:, 0])
    after = centre_of_mass(run(images, affine, 4)[:, 0])
    torch.testing.assert_close((after - before).float(), -moves.flip(1), atol=0.1, rtol=0)


def test_scale(train):
    images = train.images[:16].float()
    affine = Affine(**STILL | {"scale": 0.2})
    wide, high = 1 + drawn(affine, 16, 5)[1:3] * 0.2
    ratio = run(images, affine, 5).sum((1, 2, 3)) / images.sum((1, 2, 3))
    torch.testing.assert_close(ratio, wide * high, atol=0.06, rtol=0)


def test_slant_moves_rows_apart(train):
    """A vertical bar leans by `shear` pixels a row."""
    bar = torch.zeros(8, 1, 28, 28)
    bar[:, :, 6:22, 13:15] = 255
    affine = Affine(**STILL | {"shear": 0.4})
    result = run(bar, affine, 6)[:, 0]
    columns = (result * torch.arange(28)).sum(-1) / result.sum(-1)
    lean = (columns[:, 20] - columns[:, 8]) / 12
    torch.testing.assert_close(lean, -drawn(affine, 8, 6)[3] * 0.4, atol=0.02, rtol=0)


@given(seed=st.integers(0, 1000), count=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_one_draw_an_image(seed, count):
    """The same picture comes out differently each time, the same seed gives the same, and grey levels stay."""
    picture = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    picture[..., 8:20, 12:16] = 200
    images = picture.expand(count, -1, -1, -1)
    result = run(images, Affine(), seed)
    assert torch.equal(result, run(images, Affine(), seed))
    assert len(result.flatten(1).unique(dim=0)) == count
    assert result.shape == images.shape and result.min() >= 0 and result.max() <= 200.01


def test_limits_are_kept():
    matrices = Affine(**STILL | {"degrees": 10}).matrices(2000, 28, torch.device("cpu"), None)
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0])
    assert angles.abs().max() <= math.radians(10) and angles.abs().max() > math.radians(9.8)
    assert float(angles.mean()) == pytest.approx(0, abs=0.01)
