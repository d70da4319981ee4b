"""How well are other people's pictures of digits read? Digits put through every kind of picture that we can make.

    python -m benchmarks.handwriting [count] [--kinds KIND …] [--contact sheet.png]

It also puts MNIST's own test digits through `to_mnist`, as they are and enlarged, and times a folder of 10,000 pictures
beside a plain loop over its files.

For each kind of pictures.py, `count` MNIST test digits and as many of our own strokes become pictures; each is brought
to 28×28 by `to_mnist` and by two plain methods, and read by the network behind `Predictor`. "The ink
itself" reads the glyph before it became a picture: nothing can be expected to do better. Results go to
benchmarks/results/handwriting.json, where all kinds were asked for. With --contact, a sheet of pictures is saved
instead, for looking. A count of 200 takes a quarter of an hour on two cores.
"""

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

import mnistlab as ml
from benchmarks.contest import contest
from benchmarks.measuring import machine, mnist, write
from mnistlab.data.form import centre_in_box
from mnistlab.reading.picture import PictureError, to_mnist
from tools.glyphs import FORMS, Array, Glyph, Rng, enlarged, written
from tools.pictures import KINDS, MAKERS, Picture, make, on_canvas

SOURCES = ("MNIST", "strokes")


# Methods: a file's bytes → (28, 28) uint8


def ours(data: bytes) -> Array:
    return to_mnist(data)[0].numpy()


def resized(data: bytes) -> Array:
    """Grey, shrunk to 28×28, inverted where the border is light: what most demos do."""
    return _light_on_dark(np.asarray(_grey(data).resize((28, 28), Image.Resampling.BILINEAR)))


def boxed(data: bytes) -> Array:
    """The same at full size, then Otsu's threshold, the box of the ink at 20×20, its centre of mass in the middle."""
    grey = _light_on_dark(np.asarray(_grey(data)))
    return centre_in_box(torch.from_numpy(np.where(grey > _otsu(grey), grey, 0).astype(np.float32))).numpy()


METHODS: dict[str, Callable[[bytes], Array]] = {"to_mnist": ours, "resized": resized, "boxed": boxed}
IDEAL = "the ink itself"


def _grey(data: bytes) -> Image.Image:
    image = ImageOps.exif_transpose(Picture(data, "").image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L")


def _light_on_dark(grey: Array) -> Array:
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 255 - grey if np.median(border) > 127 else grey


def _otsu(grey: Array) -> int:
    """The threshold that parts the grey levels into two groups with the means furthest apart (Otsu, 1979)."""
    counts = np.bincount(grey.ravel(), minlength=256).astype(float)
    below, levels = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    apart = levels / np.maximum(below, 1) - (levels[-1] - levels) / np.maximum(above, 1)
    return int(np.argmax(below * above * apart**2))


# MNIST's own digits, and a folder of them


def round_trip() -> dict:
    """How near MNIST's test digits come back, in grey levels a pixel, and how many are then read wrongly."""
    test = mnist("test")
    rng = np.random.default_rng(0)

    def apart(back: torch.Tensor, images: torch.Tensor) -> float:
        return float((back.float() - images.float()).abs().mean())

    black_on_white = torch.stack([to_mnist(255 - image) for image in test.images])
    as_they_are = torch.stack([to_mnist(image) for image in test.images])
    some = test[::5]
    enlarged_back = torch.stack([to_mnist(on_canvas(image, rng)) for image in some.images[:, 0].numpy()])
    ways = {
        "not prepared": (test.images, test),
        "as they are": (as_they_are, test),
        "black on white": (black_on_white, test),
        "enlarged on a canvas of 280": (enlarged_back, some),
        "the same, not prepared": (some.images, some),
    }
    predictor = ml.Predictor.load()
    return {
        name: {
            "grey_levels": apart(back, digits.images),
            "errors": int((predictor.logits(back).argmax(1) != digits.labels).sum()),
            "count": len(digits),
        }
        for name, (back, digits) in ways.items()
    }


def plain_loop() -> Callable[[str], list[int]]:
    """What most repositories do: one file after the other, opened, resized, to a tensor, through the network."""
    model = ml.load(ml.home() / "models" / "reader.safetensors").model.eval()

    def read(folder: str) -> list[int]:
        digits = []
        for file in sorted(Path(folder).iterdir()):
            image = Image.open(file).convert("L").resize((28, 28))
            tensor = ml.normalise(torch.from_numpy(np.array(image))[None, None])
            with torch.no_grad():
                digits.append(int(model(tensor).argmax()))
        return digits

    return read


def our_predictor() -> Callable[[str], list[int]]:
    predictor = ml.Predictor.load()
    return lambda folder: predictor.predict_all(folder).table["prediction"].tolist()


def folder(count: int = 10_000, turns: int = 3) -> dict:
    """Files read a second, of `count` MNIST test digits saved as PNG: a plain loop and `Predictor`, in alternation."""
    test = mnist("test")
    seconds: dict[str, list[float]] = {"plain loop": [], "Predictor": []}
    with TemporaryDirectory() as place, contest(**{"plain loop": plain_loop, "Predictor": our_predictor}) as sides:
        for number, image in enumerate(test.images[:count, 0].numpy()):
            Image.fromarray(image).save(Path(place) / f"{number:05}.png")
        for _ in range(turns):
            answers = {}
            for name, side in sides.items():
                taken, answers[name] = side.call(place)
                seconds[name].append(taken)
            same = float(np.mean(np.array(answers["plain loop"]) == np.array(answers["Predictor"])))
    a_second = {name: round(count / median(taken)) for name, taken in seconds.items()}
    return {
        "count": count,
        "files_a_second": a_second,
        "ratio": round(median(a / b for a, b in zip(*seconds.values(), strict=True)), 2),
        "same_answer": same,
    }


# Digits that become pictures


def glyphs(source: str, count: int, rng: Rng) -> tuple[list[Glyph], Array]:
    """So many glyphs and their digits, (N,): MNIST test digits, or every form of every digit in turn."""
    if source == "MNIST":
        test = mnist("test")
        chosen = test[torch.from_numpy(rng.permutation(len(test))[:count])]
        return [enlarged(image[0].numpy()) for image in chosen.images], chosen.labels.numpy()
    forms = [(form, digit) for digit, group in FORMS.items() for form in group]
    chosen = [forms[i % len(forms)] for i in rng.permutation(max(count, len(forms)))[:count]]
    return [written(form, rng) for form, _ in chosen], np.array([int(digit) for _, digit in chosen])


def prepared(kind: str, source: str, count: int) -> dict:
    """The pictures of one kind after each method: labels (N,), method → (N, 28, 28) uint8, refusals and seconds."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([list(MAKERS).index(kind), SOURCES.index(source)])
    drawn, labels = glyphs(source, count, rng)
    files = [make(kind, glyph, rng).data for glyph in drawn]
    images = {IDEAL: np.stack([centre_in_box(torch.from_numpy(255 * glyph(100, 0.11))).numpy() for glyph in drawn])}
    refused, seconds = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0)
    for name, method in METHODS.items():
        images[name] = np.zeros((count, 28, 28), np.uint8)
        start = time.perf_counter()
        for i, data in enumerate(files):
            try:
                images[name][i] = method(data)
            except PictureError:
                refused[name] += 1
        seconds[name] = (time.perf_counter() - start) / count
    return {"labels": labels, "images": images, "refused": refused, "seconds": seconds}


def measured(kinds: list[str], count: int) -> dict:
    """kind → source → method → share of digits read correctly; and what to_mnist refused and how long it took."""
    model = ml.load(ml.home() / "models" / "reader.safetensors").model
    tasks = [(kind, source, count) for kind in kinds for source in SOURCES]
    right: dict[str, dict] = {kind: {} for kind in kinds}
    refused, seconds = 0, []
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for (kind, source, _), done in zip(tasks, pool.map(prepared, *zip(*tasks, strict=True)), strict=True):
            labels, right[kind][source] = torch.from_numpy(done["labels"]), {}
            for method, images in done["images"].items():
                with torch.inference_mode():
                    guesses = model(ml.normalise(torch.from_numpy(images)[:, None])).argmax(1)
                right[kind][source][method] = (guesses == labels).double().mean().item()
            refused += done["refused"]["to_mnist"]
            seconds.append(done["seconds"]["to_mnist"])
            print(kind, source, {name: f"{share:.1%}" for name, share in right[kind][source].items()}, flush=True)
    return {"count": count, "refused": refused, "milliseconds_a_picture": 1e3 * float(np.mean(seconds)), "right": right}


def table(right: dict[str, dict]) -> str:
    """Percent read correctly, a line a kind and a mean for every group."""
    methods = [IDEAL, *METHODS]
    lines = [" " * 22 + "".join(f"{source:>44}" for source in SOURCES)]
    lines += [" " * 22 + "".join(f"{method:>{15 if method == IDEAL else 10}}" for _ in SOURCES for method in methods)]
    for group, members in KINDS.items():
        found = {kind: right[kind] for kind in members if kind in right}
        means = {s: {m: float(np.mean([r[s][m] for r in found.values()])) for m in methods} for s in SOURCES if found}
        for name, shares in {**found, **({group.upper(): means} if found else {})}.items():
            cells = (f"{shares[s][m]:>{15 if m == IDEAL else 10}.1%}" for s in SOURCES for m in methods)
            lines.append(f"{name:<22}" + "".join(cells))
    return "\n".join(lines)


def contact(kinds: list[str], path: Path, side: int = 120) -> None:
    """A sheet of twelve MNIST digits and twelve strokes a kind, two lines each, small pictures enlarged."""
    sheet = Image.new("RGB", (12 * side, len(kinds) * (2 * side + 14)), (255, 0, 255))
    for row, kind in enumerate(kinds):
        rng, top = np.random.default_rng(row), row * (2 * side + 14)
        ImageDraw.Draw(sheet).text((2, top), kind, fill="white")
        for line, source in enumerate(SOURCES):
            for column, glyph in enumerate(glyphs(source, 12, rng)[0]):
                image = ImageOps.contain(make(kind, glyph, rng).image.convert("RGBA"), (side - 4, side - 4))
                sheet.paste(image, (column * side + 2, top + 14 + line * side), image)
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="How well are pictures of handwritten digits read?")
    parser.add_argument("count", nargs="?", type=int, default=200, help="digits of either source a kind")
    parser.add_argument("--kinds", nargs="+", choices=list(MAKERS), default=list(MAKERS), metavar="KIND")
    parser.add_argument("--contact", type=Path, metavar="PNG", help="save a sheet of pictures, and measure nothing")
    asked = parser.parse_args()
    if asked.contact:
        contact(asked.kinds, asked.contact)
        return
    result = measured(asked.kinds, asked.count)
    print(table(result["right"]))
    print(f"to_mnist: {result['milliseconds_a_picture']:.0f} ms a picture, {result['refused']} refused")
    if asked.kinds == list(MAKERS):
        result |= {"round_trip": round_trip(), "folder": folder()}
        print(json.dumps({name: result[name] for name in ("round_trip", "folder")}, indent=1))
        write("handwriting", {"machine": machine(), **result})


if __name__ == "__main__":
    main()
