"""picture.js does what picture.py does: they get the same pixels, the script in a browser."""

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser

import mnistlab as ml
from mnistlab.reading import picture
from tools.glyphs import FORMS, written

pytestmark = pytest.mark.slow

SAMPLES = ml.home() / "data" / "samples"
# Within one function and in a worker, as on the page.
WORKER = """(() => { %s
  const text = (array) => {
    let letters = "";
    for (let i = 0; i < array.length; i += 8192) letters += String.fromCharCode(...array.subarray(i, i + 8192));
    return btoa(letters);
  };
  const levels = (values) => {
    const bytes = new Uint8Array(values.length);
    for (let i = 0; i < values.length; i++) bytes[i] = Math.round(values[i] * 255);
    return text(bytes);
  };
  onmessage = ({ data: [pixels, width, height] }) => {
    const start = performance.now();
    const { steps, digits, subject } = prepare(pixels, width, height);
    const took = performance.now() - start;
    const told = steps.map(({ name, width, height, values }) => [name, width, height, levels(values)]);
    postMessage({ steps: told, digits: digits.map(text), subject, took });
  };
})()"""
START = """(script) => {
  const worker = new Worker(URL.createObjectURL(new Blob([script])));
  window.read = async ([text, width, height]) => {
    const answer = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(JSON.stringify(data));
      worker.onerror = ({ message }) => reject(new Error(message));
    });
    const packed = (await fetch(`data:;base64,${text}`)).body.pipeThrough(new DecompressionStream("deflate"));
    const bytes = await new Response(packed).arrayBuffer();
    worker.postMessage([new Uint8ClampedArray(bytes), width, height]);
    return answer;
  };
}"""

Both = Callable[..., tuple[picture.Preparation, picture.Preparation]]


@pytest.fixture(scope="module")
def took() -> Iterator[dict[str, list[float]]]:
    """Milliseconds in the browser, by kind; told at the end, for they say as much of the machine as of the script."""
    times: dict[str, list[float]] = {}
    yield times
    for kind, each in times.items():
        print(f"\n{kind}: {np.median(each):.0f} ms in the middle, {max(each):.0f} ms at most, of {len(each)}", end="")


@pytest.fixture(scope="module")
def both(browser: Browser, took: dict[str, list[float]]) -> Iterator[Both]:
    """An RGBA picture prepared by Python and by the script, at the same time."""
    page = browser.new_page()
    page.evaluate(START, WORKER % picture.script())

    def both(pixels: np.ndarray, kind: str = "others") -> tuple[picture.Preparation, picture.Preparation]:
        height, width = pixels.shape[:2]
        sent = base64.b64encode(zlib.compress(pixels.astype(np.uint8).tobytes(), 1)).decode()
        page.evaluate("(sent) => { window.answer = read(sent); }", [sent, width, height])
        python = picture.prepare(pixels)
        told = json.loads(page.evaluate("answer"))
        steps = {
            name: np.frombuffer(base64.b64decode(values), np.uint8).reshape(h, w) / 255
            for name, w, h, values in told["steps"]
        }
        digits = [np.frombuffer(base64.b64decode(digit), np.uint8).reshape(28, 28) for digit in told["digits"]]
        took.setdefault(kind, []).append(told["took"])
        return python, picture.Preparation(steps, digits, told["subject"])

    yield both
    page.close()


def rgba(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) as a browser has it."""
    colour = np.broadcast_to(pixels if pixels.ndim == 3 else pixels[..., None], (*pixels.shape[:2], 3))
    return np.concatenate([colour, np.full_like(colour[..., :1], 255)], 2)


def differences(python: picture.Preparation, script: picture.Preparation, steps: bool = True) -> list[float]:
    """Grey levels a pixel, for each digit; what is no question of degree is the same."""
    assert list(script.steps) == [name for name in python.steps if name != "picture"]
    assert len(script.digits) == len(python.digits) and script.subject == python.subject
    for name, values in script.steps.items() if steps else ():
        assert values.shape == python.steps[name].shape and np.abs(values - python.steps[name]).max() < 0.01, name
    pairs = zip(python.digits[:, 0].numpy(), script.digits, strict=True)
    return [float(np.abs(one.astype(float) - other).mean()) for one, other in pairs]


def drawings() -> Iterator[np.ndarray]:
    """Every form of every digit, then strokes that are no digit, as a pad with a round, antialiased pen gives them."""
    rng = np.random.default_rng(28)
    for form in (form for forms in FORMS.values() for form in forms):
        size, pen = int(rng.uniform(60, 250)), rng.uniform(0.02, 0.16)
        ink = written(form, rng)(size, max(pen, 1.5 / size))[:280, :280]
        top, left = (int(rng.uniform(0, 280 - n)) for n in ink.shape)
        page = np.zeros((280, 280), np.float32)
        page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        yield (255 * (1 - page)).round().astype(np.uint8)
    for number in range(40):
        page, width = Image.new("L", (1120, 1120), 255), (4, 8, 16, 40, 80, 160)[number % 6]  # four times as large
        pen = ImageDraw.Draw(page)
        for _ in range(1 + number % 3):
            corners = [tuple(point) for point in rng.uniform(100, 1020, (4, 2)).tolist()]
            pen.line(corners, 0, width, joint="curve")
            for x, y in corners:
                pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), 0)
        yield np.asarray(page.reduce(4))


def test_drawings(both):
    away = []
    for number, drawn in enumerate(drawings()):
        pixels = rgba(drawn if number % 3 else 255 - drawn)
        away += differences(*both(pixels, "drawings"))
    print(f"\n{number + 1} drawings: {np.mean(away):.4f} grey levels a pixel, {max(away):.3f} in the worst", end="")
    assert number >= 100 and np.mean(away) <= 0.02 and max(away) <= 1


def test_digits_of_the_data_enlarged_and_coloured(both, test_digits):
    away = []
    for number, digit in enumerate(test_digits.images[:24, 0].numpy()):
        how = (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)[number % 2]
        ink = np.asarray(Image.fromarray(digit).resize((112 + 8 * number,) * 2, how))[..., None] / 255
        paper, pen = np.random.default_rng(number).choice([[255, 255, 255], [20, 60, 160], [230, 210, 90]], 2, False)
        pixels = rgba((paper + ink * (pen - paper.astype(float))).round().astype(np.uint8))
        away += differences(*both(pixels))
    assert np.mean(away) <= 0.02 and max(away) <= 1


def test_what_has_the_form_passes_and_blank_paper_has_no_digit(both):
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 10:18] = np.linspace(90, 255, 8)
    digit[20:24, 10:18] = 255  # were it level, its centre would lie between two pixels: chance would choose one
    python, script = both(rgba(digit))
    np.testing.assert_array_equal(script.digits, [digit])
    assert list(python.steps) == ["picture"] and not script.steps and script.subject == 0
    python, script = both(rgba(np.roll(digit, 3, 1)))
    assert differences(python, script) == [0] and list(script.steps) == ["ink", "one digit", "pen", "28×28"]
    for level in (0, 128, 255):
        python, script = both(rgba(np.full((280, 280), level, np.uint8)))
        assert differences(python, script) == [] and list(script.steps) == ["ink"]


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("paper", [None, 90, 170])
def test_transparent_pictures(both, ink, paper):
    """On nothing, or mostly on paper with a hole in it."""
    drawn = next(drawings())
    if paper is None:
        pixels = np.dstack([np.full((280, 280, 3), ink, np.uint8), 255 - drawn])
    else:
        pixels = rgba((ink + (drawn[..., None] / 255) * (paper - ink)).round().astype(np.uint8))
        pixels[:60, :90, 3] = np.linspace(0, 255, 90)
    assert differences(*both(pixels)) == pytest.approx([0], abs=0.05)


@pytest.mark.parametrize(("width", "height"), [(640, 640), (700, 433), (321, 90), (45, 70), (30, 31), (1, 1), (3, 200)])
def test_pictures_of_any_size(both, width, height):
    drawn = Image.fromarray(next(drawings())).resize((width, height), Image.Resampling.BILINEAR)
    noisy = np.asarray(drawn.convert("RGB")) * 0.6 + np.random.default_rng(1).normal(60, 6, (height, width, 3))
    for pixels in map(rgba, (np.asarray(drawn), noisy.clip(0, 255).astype(np.uint8))):
        # Shrunk, Python's white paper is 254.99998 here and there; the cut around the ink may be some pixels wider.
        away = differences(*both(pixels), steps=max(width, height) <= picture.SIZE)
        assert max(away, default=0) <= 1


def test_photographs_and_scans(both):
    away = []
    files = [path for path in sorted(SAMPLES.rglob("*")) if path.is_file() and path.suffix not in (".md", ".csv")]
    for path in files:
        pixels = rgba(picture._pixels(path).round().astype(np.uint8))
        kind = "photos" if "photo" in path.name else "samples"
        away.append(max(differences(*both(pixels, kind)), default=0.0))
    print(f"\n{len(files)} samples: {np.mean(away):.4f} grey levels a pixel, {max(away):.3f} in the worst", end="")
    assert len(files) == 142 and np.mean(np.array(away) <= 2) >= 0.95 and np.mean(away) <= 0.2


def test_the_scripts_numbers_are_pythons(monkeypatch):
    numbers = re.findall(r"^const ([A-Z_]+) = ([\d.]+|\[[\d., ]+\]);", picture.script(), flags=re.MULTILINE)
    assert len(numbers) == len(dict(numbers)) == 7
    for name, number in numbers:
        assert np.array_equal(json.loads(number), getattr(picture, name)), name
    monkeypatch.setattr(picture, "SIZE", 200)
    assert "const SIZE = 200;" in picture.script()


def test_the_script_is_plain():
    """It is joined to others within one function, so it exports nothing and needs nothing of a page."""
    script = picture.script()
    assert not [word for word in ("import ", "export ", "require(", "document", "window", "Canvas") if word in script]
    assert not [line for line in script.splitlines() if len(line) > 120 or line != line.rstrip()]
