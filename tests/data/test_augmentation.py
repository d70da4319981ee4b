import math

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import grey_dilation, grey_erosion

from mnistlab import Augmentation
from mnistlab.data.augmentation import KNOTS, augment
from mnistlab.data.form import centre_of_mass

STILL = {"degrees": 0, "scale": 0, "shear": 0, "shift": 0}


def drawn(limits: Augmentation, count: int, seed: int) -> torch.Tensor:
    """The draws in −1…1 that `augment` makes, row by row: angle, width, height, slant, right, down."""
    return torch.rand(6, count, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def run(images: torch.Tensor, limits: Augmentation, seed: int = 0) -> torch.Tensor:
    return augment(images, limits, torch.Generator().manual_seed(seed))


def test_no_movement_changes_nothing(train):
    images = train.images[:32]
    torch.testing.assert_close(run(images, Augmentation(**STILL)), images.float(), atol=0.05, rtol=0)


def test_rotation_agrees_with_torchvision(train):
    images = train.images[:16].float()
    limits = Augmentation(**STILL | {"degrees": 30})
    angles = drawn(limits, 16, 3)[0] * 30
    for image, result, angle in zip(images, run(images, limits, 3), angles, strict=True):
        expected = reference.rotate(image, float(angle), reference.InterpolationMode.BILINEAR)
        assert (result - expected).abs().mean() < 0.5


def test_shift_agrees_with_torchvision(train):
    images = train.images[:16].float()
    limits = Augmentation(**STILL | {"shift": 3})
    moves = drawn(limits, 16, 4)[4:].T * 3
    before = centre_of_mass(images[:, 0])
    after = centre_of_mass(run(images, limits, 4)[:, 0])
    torch.testing.assert_close((after - before).float(), -moves.flip(1), atol=0.1, rtol=0)


def test_scale(train):
    images = train.images[:16].float()
    limits = Augmentation(**STILL | {"scale": 0.2})
    wide, high = 1 + drawn(limits, 16, 5)[1:3] * 0.2
    ratio = run(images, limits, 5).sum((1, 2, 3)) / images.sum((1, 2, 3))
    torch.testing.assert_close(ratio, wide * high, atol=0.06, rtol=0)


def test_slant_moves_rows_apart(train):
    """A vertical bar leans by `shear` pixels a row."""
    bar = torch.zeros(8, 1, 28, 28)
    bar[:, :, 6:22, 13:15] = 255
    limits = Augmentation(**STILL | {"shear": 0.4})
    result = run(bar, limits, 6)[:, 0]
    columns = (result * torch.arange(28)).sum(-1) / result.sum(-1)
    lean = (columns[:, 20] - columns[:, 8]) / 12
    torch.testing.assert_close(lean, -drawn(limits, 8, 6)[3] * 0.4, atol=0.02, rtol=0)


@given(seed=st.integers(0, 1000), count=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_one_draw_an_image(seed, count):
    """The same picture comes out differently each time, the same seed gives the same, and grey levels stay."""
    picture = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    picture[..., 8:20, 12:16] = 200
    images = picture.expand(count, -1, -1, -1)
    result = run(images, Augmentation(), seed)
    assert torch.equal(result, run(images, Augmentation(), seed))
    assert len(result.flatten(1).unique(dim=0)) == count
    assert result.shape == images.shape and result.min() >= 0 and result.max() <= 200.01


def test_limits_are_kept():
    matrices = Augmentation(**STILL | {"degrees": 10}).matrices(2000, 28, torch.device("cpu"), None)
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0])
    assert angles.abs().max() <= math.radians(10) and angles.abs().max() > math.radians(9.8)
    assert float(angles.mean()) == pytest.approx(0, abs=0.01)


def test_elastic_agrees_with_torchvision(train):
    """The same field, drawn again and given to torchvision, moves the same pixels; corners move as drawn."""
    images = train.images[:8].float()
    generator = torch.Generator().manual_seed(7)
    torch.rand(6, 8, generator=generator)
    pull = torch.rand(8, 2, KNOTS, KNOTS, generator=generator) * 2 - 1
    field = torch.nn.functional.interpolate(pull, (28, 28), mode="bicubic", align_corners=True) * (2 / 28 * 2.0)
    result = run(images, Augmentation(**STILL, elastic=2.0), 7)
    for image, moved, displacement in zip(images, result, field, strict=True):
        expected = reference.elastic(image, displacement.permute(1, 2, 0)[None])
        torch.testing.assert_close(moved, expected, atol=0.01, rtol=0)
        assert (moved - image).abs().mean() > 1
    at_knots = field[..., [0, -1], :][..., [0, -1]] * 28 / 2 / 2.0
    torch.testing.assert_close(at_knots, pull[..., [0, -1], :][..., [0, -1]], atol=1e-5, rtol=0)


def test_stroke_agrees_with_scipy(train):
    images = train.images[:16].float()
    generator = torch.Generator().manual_seed(8)
    torch.rand(6, 16, generator=generator)
    amounts = (torch.rand(16, 1, 1, 1, generator=generator) * 2 - 1).flatten() * 0.7
    result = run(images, Augmentation(**STILL, stroke=0.7), 8)
    for image, changed, amount in zip(images, result, amounts.tolist(), strict=True):
        size = (1, 3, 3)
        extreme = grey_dilation(image.numpy(), size) if amount > 0 else grey_erosion(image.numpy(), size)
        expected = image + abs(amount) * (torch.from_numpy(extreme) - image)
        torch.testing.assert_close(changed, expected, atol=0.1, rtol=0)
    assert amounts.min() < -0.2 and amounts.max() > 0.2


def test_ink_only_fades(train):
    images = train.images[:64].float()
    share = run(images, Augmentation(**STILL, ink=0.4), 9).sum((1, 2, 3)) / images.sum((1, 2, 3))
    assert 0.6 <= share.min() < 0.65 and 0.95 < share.max() <= 1.001


@pytest.mark.parametrize("wrong", [{"degrees": -1}, {"scale": 1}, {"stroke": 1.5}, {"ink": 1.1}, {"elastic": -0.1}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="makes no sense"):
        Augmentation(**wrong)
