"""Any picture of a digit comes to MNIST's form; MNIST's own come back as they were; nothing else is let through."""

import io
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

import mnistlab as ml
from mnistlab.reading.picture import PictureError, _pen_width, prepare, to_mnist
from tools.pictures import on_canvas


def written(digit: str = "4", size: int = 200, pen: int = 14, ink: object = 0, paper: object = 255, mode: str = "L"):
    """A picture with straight strokes."""
    strokes = {
        "1": [[(0.5, 0.15), (0.5, 0.85)]],
        "4": [[(0.35, 0.15), (0.3, 0.55), (0.7, 0.55)], [(0.65, 0.3), (0.65, 0.85)]],
        "5": [[(0.4, 0.3), (0.35, 0.5), (0.6, 0.55), (0.6, 0.75), (0.35, 0.85)], [(0.42, 0.2), (0.68, 0.2)]],
    }
    image = Image.new(mode, (size, size), paper)
    draw = ImageDraw.Draw(image)
    for stroke in strokes[digit]:
        draw.line([(x * size, y * size) for x, y in stroke], fill=ink, width=pen, joint="curve")
    return image


def as_bytes(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean difference in grey levels a pixel."""
    return float((one.float() - other.float()).abs().mean())


def moved_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """As `apart`, wherever a centre of mass between two pixels was rounded to."""
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return min(apart(one.roll(shift, (-2, -1)), other) for shift in shifts)


def test_mnists_own_digits_come_back(test_digits):
    images = test_digits.images[::37][:200]
    there = torch.stack([to_mnist(image) for image in images])
    inverted = torch.stack([to_mnist(255 - image) for image in images])
    limit = 1.0 if test_digits.is_mnist else 3.0  # those of 8×8 pixels are softer than any ink
    assert apart(there, images) <= limit and apart(inverted, images) <= limit


def test_enlarged_digits_come_back(test_digits):
    rng = np.random.default_rng(0)
    images = test_digits.images[:: max(1, len(test_digits) // 60)][:60]
    back = [to_mnist(on_canvas(image, rng)) for image in images[:, 0].numpy()]
    if test_digits.is_mnist:
        assert apart(torch.stack(back), images) <= 4.5


def test_box_and_centre_of_mass_are_mnists():
    for digit in "145":
        image = to_mnist(written(digit))[0].float()
        ink = image > 30
        rows, columns = ink.any(1).nonzero().flatten(), ink.any(0).nonzero().flatten()
        longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        assert 19 <= longest <= 21
        assert np.allclose(ndimage.center_of_mass(image.numpy()), 14, atol=0.6)
        assert image.max() > 240 and image[0].max() < 5


@pytest.mark.parametrize(
    ("mode", "ink", "paper"),
    [
        ("L", 255, 0),
        ("L", 90, 140),
        ("RGB", (20, 40, 160), (250, 245, 235)),
        ("RGB", (180, 160, 220), (255, 255, 255)),
        ("RGB", (200, 60, 60), (60, 120, 60)),  # of equal lightness
        ("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
        ("LA", (0, 255), (255, 255)),
        ("1", 0, 1),
    ],
)
def test_ink_of_any_colour_on_any_paper(mode, ink, paper):
    plain = to_mnist(written())
    assert apart(to_mnist(written(ink=ink, paper=paper, mode=mode)), plain) < 1


def test_files_of_every_kind(tmp_path):
    image = written(mode="RGB", ink=(0, 0, 0), paper=(255, 255, 255))
    plain = to_mnist(image)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        assert apart(to_mnist(as_bytes(image, kind)), plain) < 3, kind
    for kind, options in (("GIF", {"save_all": True, "append_images": [written("1", mode="RGB")]}), ("PNG", {})):
        assert apart(to_mnist(as_bytes(image.convert("P"), kind, **options)), plain) < 1
    assert apart(to_mnist(as_bytes(image.convert("CMYK"), "JPEG")), plain) < 3
    misnamed = tmp_path / "photo.png"
    misnamed.write_bytes(as_bytes(image, "JPEG", quality=60))
    assert apart(to_mnist(misnamed), plain) < 4 and torch.equal(to_mnist(str(misnamed)), to_mnist(misnamed))


def test_a_camera_turned_on_its_side():
    exif = Image.Exif()
    exif[0x0112] = 6  # the picture is stored turned a quarter to the left
    lying = written().transpose(Image.Transpose.ROTATE_90)
    assert apart(to_mnist(as_bytes(lying, "PNG", exif=exif)), to_mnist(written())) < 0.5


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "PNG"), ("L", "PNG"), ("P", "GIF"), ("RGB", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("I;16", "PNG"),
     ("F", "TIFF"), ("CMYK", "TIFF"), ("RGB", "WEBP"), ("CMYK", "JPEG")],
)  # fmt: skip
def test_large_pictures_are_made_small_first(mode, kind):
    """A picture of 13 million pixels beside the same one of 200 thousand; each lies on its side, where it can say so."""
    small, large = written(size=450, pen=30), written(size=3600, pen=240)
    if mode == "I;16":
        large = Image.fromarray(np.asarray(large).astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):
        ink = large.point(lambda level: 255 - level)
        large = large.convert(mode)
        large.putalpha(ink)  # ink alone, on nothing
    else:
        large = large.convert(mode)
    if kind in ("TIFF", "JPEG", "WEBP") or mode == "RGB":
        exif = Image.Exif()
        exif[0x0112] = 6
        file = as_bytes(large.transpose(Image.Transpose.ROTATE_90), kind, exif=exif)
    else:
        file = as_bytes(large, kind)
    tracemalloc.start()
    try:
        assert moved_apart(to_mnist(file), to_mnist(small)) < 1.5
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20  # of NumPy; Pillow's own is not counted
    finally:
        tracemalloc.stop()


def test_large_pictures_keep_the_colour_that_means_nothing():
    """A GIF whose paper is transparent, and black where it is not shown as such."""
    large = written(size=3600, pen=240, ink=2, paper=1, mode="P")
    large.putpalette([0, 0, 0, 0, 0, 0, 20, 20, 20])
    assert apart(to_mnist(as_bytes(large, "GIF", transparency=1)), to_mnist(written(size=450, pen=30))) < 1.5


def test_arrays_of_every_shape_and_type():
    grey = np.asarray(written())
    plain = to_mnist(grey)
    colours = np.repeat(grey[..., None], 3, 2)
    same = [
        torch.from_numpy(grey.copy()),
        grey[None],
        colours,
        colours.transpose(2, 0, 1),
        np.dstack([colours, np.full_like(grey, 255)]),
        grey / 255,
        grey.astype(np.float32),
        grey.astype(np.int64),
        grey > 127,
        grey.astype(np.uint16) * 257,
        Image.fromarray(grey.astype(np.uint16) * 257),
        Image.fromarray(grey.astype(np.float32)),
    ]
    for other in same:
        assert apart(to_mnist(other), plain) < 0.5, getattr(other, "shape", other)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"", "no picture"),
        (b"seven", "no picture"),
        (as_bytes(written(), "PNG")[:200], "no picture"),
        (as_bytes(written(), "JPEG")[:300], "no picture"),
        (None, "NoneType"),
        (7, "int"),
        (np.zeros((0, 5)), "shape"),
        (np.zeros(784), "shape"),
        (np.zeros((2, 3, 28, 28)), "shape"),
        (np.zeros((28, 28, 2)), "shape"),
        (np.full((28, 28), np.nan), "not a number"),
        (np.full((28, 28), np.inf), "infinite"),
        (np.full((28, 28), -3.0), "run"),
        (np.full((28, 28), 300), "run"),
        (np.full((28, 28), 1j), "complex"),
        (np.full((28, 28), "7"), "<U1"),
        (np.zeros((28, 28), object), "object"),
        (torch.zeros(28, 28, device="meta"), "tensor of torch.float32 on meta holds no picture"),
        (torch.zeros(28, 28, dtype=torch.complex64), "complex"),
    ],
)
def test_what_is_no_picture_is_refused(bad, said):
    with pytest.raises(PictureError, match=said):
        to_mnist(bad)


@pytest.mark.parametrize(
    "kept",
    [
        lambda grey: grey.requires_grad_(),
        lambda grey: grey.bfloat16(),
        lambda grey: grey.to_sparse(),
        lambda grey: grey.t().contiguous().t(),
        lambda grey: np.ma.masked_array(grey.numpy(), grey.numpy() > 100),
    ],
    ids=["being learned", "bfloat16", "sparse", "transposed", "masked"],
)
def test_a_tensor_is_read_however_it_is_kept(kept):
    grey = torch.from_numpy(np.asarray(written(), np.float32).copy())
    assert torch.equal(to_mnist(kept(grey.clone())), to_mnist(grey))


def test_a_few_pixels_of_noise_are_answered():
    """Where every one of them stands out from the rest, none is left for paper."""
    draw = np.random.default_rng(0)
    for _ in range(60):
        assert to_mnist(draw.integers(0, 256, (1, 3), dtype=np.uint8)).shape == (1, 28, 28)


def test_files_that_are_none(tmp_path):
    with pytest.raises(PictureError, match="There is no file"):
        to_mnist(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(PictureError, match=r"text\.png is no picture"):
        to_mnist(tmp_path / "text.png")
    with pytest.raises(PictureError, match="There is no file xxxx"):
        to_mnist("x" * 5000)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size"), [("PNG", (6001, 6000)), ("JPEG", (8001, 6250)), ("WEBP", (4001, 4000))])
def test_the_largest_that_are_read(kind, size):
    with pytest.raises(PictureError, match=rf"has {size[0]:,} × {size[1]:,} pixels, more than .*: make it smaller"):
        to_mnist(as_bytes(Image.new("L", size, 255), kind))
    assert to_mnist(as_bytes(Image.new("L", (size[0] - 1, size[1]), 255), kind)).shape == (1, 28, 28)


@pytest.mark.slow
def test_bombs_are_refused_before_they_are_opened():
    bomb = as_bytes(Image.new("1", (30_000, 30_000)), "PNG")
    assert len(bomb) < 1_000_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError, match="make it smaller"):
            to_mnist(bomb)
    with pytest.raises(PictureError, match="make it smaller"):
        to_mnist(np.broadcast_to(np.uint8(0), (6_001, 6_000)))


@pytest.mark.parametrize("size", [(1, 1), (20_000, 10), (3, 400), (2, 2)])
def test_odd_sizes_are_answered(size):
    assert to_mnist(Image.new("L", size, 255)).shape == (1, 28, 28)
    noise = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    assert to_mnist(noise).dtype == torch.uint8


def test_blank_paper_has_no_digit():
    rng = np.random.default_rng(0)
    light = np.linspace(150, 220, 200)[:, None] + rng.normal(0, 4, (200, 260))
    for blank in (Image.new("L", (200, 200), 255), Image.new("RGBA", (50, 50)), light.clip(0, 255)):
        prepared = prepare(blank)
        assert len(prepared.digits) == 0 and list(prepared.steps) == ["picture", "ink"]
        assert not to_mnist(blank).any()


def test_uneven_light_and_shadow_change_little():
    grey = np.asarray(written(ink=40, paper=220), float)
    rng = np.random.default_rng(0)
    across = np.linspace(0.55, 1, 200)
    shadow = np.where(np.add.outer(np.arange(200), 0.3 * np.arange(200)) < 130, 0.6, 1)
    for light in (across[None], across[:, None] * across, shadow):
        picture = (grey * light + rng.normal(0, 3, grey.shape)).clip(0, 255).astype(np.uint8)
        assert moved_apart(to_mnist(picture), to_mnist(written())) < 3


def test_lines_and_specks_are_left_out():
    plain = to_mnist(written())
    ruled = written(mode="RGB", ink=(20, 20, 30), paper=(250, 250, 250))
    draw = ImageDraw.Draw(ruled)
    for row in range(10, 200, 36):
        draw.line([(0, row), (199, row + 5)], fill=(150, 170, 220), width=2)
    for x, y in ((20, 40), (170, 150), (180, 20)):
        draw.ellipse([x, y, x + 4, y + 4], fill=(30, 30, 30))
    assert moved_apart(to_mnist(ruled), plain) < 4


def test_strokes_that_do_not_touch_stay_together():
    prepared = prepare(written("5"))
    assert len(prepared.digits) == 1
    body = np.asarray(written("5")).copy()
    body[:60] = 255  # without its hat
    assert apart(prepared.digits[0], to_mnist(body)) > 10


def test_digits_in_a_row_are_parted_left_to_right():
    row = Image.new("L", (500, 200), 255)
    for place, digit in enumerate("145"):
        row.paste(written(digit), (20 + 150 * place, 0))
    prepared = prepare(row)
    assert len(prepared.digits) == 3
    for digit, there in zip("145", prepared.digits, strict=True):
        assert moved_apart(there, to_mnist(written(digit))) < 4


def test_a_thin_pen_is_widened_and_a_usual_one_is_not():
    widths = {}
    for pen in (2, 8, 20):
        ink = 1 - np.asarray(written("1", 280, pen), np.float32) / 255
        widths[pen] = _pen_width(ink)
        assert widths[pen] == pytest.approx(pen, abs=1.2)
    thin, usual = (to_mnist(written("4", 280, pen)).float() for pen in (3, 20))
    assert (thin > 127).sum() > 0.6 * (usual > 127).sum()


def test_every_step_is_kept():
    steps = prepare(written()).steps
    assert [*steps] == ["picture", "ink", "one digit", "pen", "28×28"]
    assert steps["picture"].shape == (200, 200, 3) and steps["28×28"].shape == (28, 28)
    assert all(step.min() >= 0 and step.max() <= 1 for name, step in steps.items() if name != "picture")


@pytest.mark.slow
def test_the_projects_own_pictures_are_read():
    """data/samples, drawn with strokes and put on paper in 35 ways: nearly all are read."""
    rows = [row.split(",") for row in (ml.home() / "data/samples/labels.csv").read_text().splitlines()[1:]]
    images = torch.stack([to_mnist(ml.home() / "data/samples" / file) for file, *_ in rows])
    predictor = ml.Predictor.load()
    said = predictor.logits(images).argmax(1)
    wrong = [file for (file, label, *_), digit in zip(rows, said.tolist(), strict=True) if digit != int(label)]
    assert len(wrong) <= 0.04 * len(rows), wrong


def test_formats_that_start_other_programs_are_refused():
    """PostScript is a language, and Pillow would hand it to Ghostscript."""
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"
    assert Image.open(io.BytesIO(page)).format == "EPS"
    with pytest.raises(PictureError, match="Save it again as PNG or JPEG"):
        to_mnist(page)
