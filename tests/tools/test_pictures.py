"""The pictures that preparation is judged on are what they say, and the same on every run."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import ndimage

import mnistlab as ml
from benchmarks import handwriting
from mnistlab.data.form import centre_in_box
from tools import draw_samples, glyphs, pictures

SAMPLES = ml.home() / "data" / "samples"
LIGHT_ON_DARK = {"canvas_black", "chalkboard"}
EITHER = {"canvas_28", "canvas_transparent", "canvas_grey_alpha", "canvas_colour", "cut_by_border"}
SUFFIXES = {"png", "jpg", "jpeg", "gif", "bmp", "tif", "webp"}


def seven(seed: int = 0) -> glyphs.Glyph:
    return glyphs.written(glyphs.FORMS["7"][1], np.random.default_rng(seed))


def upright(image: Image.Image) -> np.ndarray:
    """(H, W) grey levels, on white where the picture is clear."""
    image = ImageOps.exif_transpose(image).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("L"), float)


def contents(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", pictures.MAKERS)
def test_a_kind_gives_what_it_promises(kind):
    for seed in range(2):
        made = pictures.make(kind, seven(seed), np.random.default_rng(seed))
        assert seed or made == pictures.make(kind, seven(seed), np.random.default_rng(seed))
        assert made.suffix in SUFFIXES
        assert 28 <= max(made.image.size) <= 1200 and min(made.image.size) >= 20
        grey = upright(made.image)
        border = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
        ink = {False: grey.min(), True: grey.max()}
        if kind not in EITHER:
            light = kind in LIGHT_ON_DARK
            assert (ink[light] > border + 40) if light else (ink[light] < border - 20), (seed, border, ink)


def test_kinds_that_are_about_the_file():
    def modes(kind: str) -> Counter:
        made = (pictures.make(kind, seven(seed), np.random.default_rng(seed)) for seed in range(12))
        return Counter((picture.image.mode, picture.image.format) for picture in made)

    assert {mode for mode, _ in modes("canvas_transparent")} == {"RGBA"}
    assert {mode for mode, _ in modes("canvas_grey_alpha")} == {"LA"}
    assert {mode for mode, _ in modes("palette")} <= {"P", "1", "L"}
    assert set(modes("scan_bilevel")) == {("1", "PNG"), ("1", "TIFF")}
    turned = pictures.make("rotated_exif", seven(), np.random.default_rng(0)).image
    assert turned.getexif()[0x0112] in (3, 6, 8)
    grey, rng = Image.new("L", (8, 8)), np.random.default_rng(0)
    suffixes = {(made.suffix, made.image.format) for made in (pictures.as_jpeg(grey, rng) for _ in range(30))}
    assert suffixes == {("jpg", "JPEG"), ("jpeg", "JPEG"), ("png", "JPEG")}


@pytest.mark.parametrize("digit", glyphs.FORMS)
def test_the_network_reads_every_form(digit):
    """In a usual hand; the names of forms that it does not read tell where a drawing went wrong."""
    model = ml.load(ml.home() / "models" / "cnn.safetensors").model
    forms = [form for form in glyphs.FORMS[digit] for _ in range(5)]
    drawn = [glyphs.written(form, np.random.default_rng(i)) for i, form in enumerate(forms)]
    images = [centre_in_box(torch.from_numpy(255 * glyph(100, 0.11))) for glyph in drawn]
    with torch.inference_mode():
        guesses = model(ml.normalise(torch.stack(images)[:, None])).argmax(1)
    wrong = Counter(form for form, guess in zip(forms, guesses, strict=True) if guess != int(digit))
    assert not [form for form, count in wrong.items() if count > 2], wrong


@pytest.mark.parametrize("pen", [0.03, 0.08, 0.16])
def test_an_enlarged_digit_is_of_the_size_and_pen_that_were_asked_for(pen, train):
    wanted = np.random.default_rng(0).permutation(len(train))[:20]
    for image in train.images[torch.from_numpy(wanted)]:
        ink = glyphs.enlarged(image[0].numpy())(200, pen)
        assert ink.dtype == np.float32 and ink.min() >= 0 and ink.max() <= 1
        assert 185 < len(ink) < 260
        half = pen * 200 / 2
        assert ndimage.distance_transform_edt(ink > 0.5).max() > 0.6 * half


def test_samples_are_there_and_labelled():
    lines = contents(SAMPLES)
    assert {line["file"] for line in lines} == {f.name for f in SAMPLES.iterdir() if f.suffix[1:] in SUFFIXES}
    assert set(Counter(line["label"] for line in lines).values()) == {12}
    assert {line["kind"] for line in lines} == set(pictures.MAKERS)
    for folder in (SAMPLES, SAMPLES / "others", SAMPLES / "rows"):
        for line in contents(folder):
            with Image.open(folder / line["file"]) as image:
                image.load()
            assert not line["label"] or f"_{line['label']}" in line["file"]
    assert sum(f.stat().st_size for f in SAMPLES.rglob("*") if f.is_file()) < 1.5e6


@pytest.mark.parametrize("number", range(0, draw_samples.COUNT, 11))
def test_samples_are_drawn_again_as_they_are(number):
    """To a grey level or two: another machine may round otherwise."""
    name, label, kind, picture = draw_samples.digit(number)
    assert {"file": name, "label": label, "kind": kind} in contents(SAMPLES)
    with Image.open(SAMPLES / name) as kept:
        assert kept.size == picture.image.size and kept.mode == picture.image.mode
        assert np.abs(upright(kept) - upright(picture.image)).mean() < 2


def test_others_and_rows_are_pictures():
    for name, draw in pictures.OTHERS.items():
        assert draw(np.random.default_rng(0)).image.size, name
    row = pictures.row("407", np.random.default_rng(0)).image
    assert row.width > 1.5 * row.height


def test_plain_methods_bring_a_clean_drawing_to_the_middle():
    data = pictures.make("canvas_white", seven(), np.random.default_rng(0)).data
    for method in (handwriting.resized, handwriting.boxed):
        image = method(data)
        assert image.shape == (28, 28) and image.dtype == np.uint8
        assert image.max() > 150 and np.median(image) < 30
    right = {
        kind: {s: dict.fromkeys([handwriting.IDEAL, *handwriting.METHODS], 0.5) for s in handwriting.SOURCES}
        for kind in pictures.MAKERS
    }
    assert handwriting.table(right).count("50.0%") == 8 * (len(pictures.MAKERS) + len(pictures.KINDS))
