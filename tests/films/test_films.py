"""Films: every number on every frame is computed anew, without tracing; and the files are what players expect."""

import hashlib
import io
import json
import math
import re
from itertools import combinations

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import mnistlab as ml
from mnistlab import films
from mnistlab.films.canvas import Film, Number, Sheet
from mnistlab.films.storyboard import PALETTE, SCENES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return ml.load(ml.home() / "models" / "cnn.safetensors").model


@pytest.fixture(scope="module")
def confident(model, test_digits) -> tuple[ml.Trace, Film]:
    trace = ml.trace(model, test_digits.images[0], int(test_digits.labels[0]))
    return trace, films.forward(trace, show_progress=False)


@torch.no_grad()
def outputs_of(model: nn.Sequential, digit: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every layer gives, and "pixels", by calling one layer after the other."""
    outputs = {"pixels": ml.normalise(digit[None])}
    for name, layer in model.eval().named_children():
        outputs[name] = layer(list(outputs.values())[-1])
    return {name: output[0] for name, output in outputs.items()}


def view(model: nn.Sequential, layer: str, cell: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of what a cell can see: where pixels move it in a network without ReLUs and negative weights."""
    layers = []
    for name, one in model.named_children():
        if isinstance(one, nn.Conv2d):
            plain = nn.Conv2d(one.in_channels, one.out_channels, 3, padding=1)
            nn.init.ones_(plain.weight)
            layers.append(plain)
        elif isinstance(one, nn.MaxPool2d):
            layers.append(nn.AvgPool2d(2))
        if name == layer:
            break
    picture = torch.zeros(1, 1, 28, 28, requires_grad=True)
    nn.Sequential(*layers)(picture)[0][cell].backward()
    rows, columns = picture.grad[0, 0].nonzero().T
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


class Anew:
    """The value behind an origin, from a forward pass of its own."""

    def __init__(self, model: nn.Sequential, digit: torch.Tensor, truth: int | None) -> None:
        self.model, self.digit, self.truth = model, digit, truth
        self.outputs = outputs_of(model, digit)
        self.names = list(self.outputs)
        self.order = self.outputs["dense2"].argsort(descending=True).tolist()

    def shares(self, layer: str, cell: tuple[int, ...]) -> torch.Tensor:
        """What each input channel adds to a cell."""
        given, one = self.outputs[self.names[self.names.index(layer) - 1]], self.model.get_submodule(layer)
        if isinstance(one, nn.Linear):
            return (one.weight[cell[0]] * given).detach()
        alone = F.conv2d(given[None], one.weight[cell[0]][:, None], padding=1, groups=len(given))
        return alone[0, :, cell[1], cell[2]].detach()

    def value(self, kind: str, *at) -> float:
        model, outputs = self.model, self.outputs
        logits = outputs["dense2"].double()
        match kind:
            case "grey level of paper":
                return torch.iinfo(torch.uint8).min
            case "grey level of ink":
                return torch.iinfo(torch.uint8).max
            case "shape":
                return outputs[at[0]].shape[at[1]]
            case "parameters":
                return sum(p.numel() for p in model.get_submodule(at[0]).parameters())
            case "multiply_adds":
                one = model.get_submodule(at[0])
                return one.weight[0].numel() * outputs[at[0]].numel() if hasattr(one, "weight") else 0
            case "cells":
                return outputs[at[0]].numel()
            case "cell":
                return outputs[at[0]][tuple(at[1:])]
            case "pixel":
                return outputs["pixels"][0, at[0], at[1]]
            case "grey":
                return self.digit[0, at[0], at[1]]
            case "limit":
                return np.quantile(outputs[at[0]].abs().double().numpy(), 0.995)
            case "largest weight":
                return model.get_submodule(at[0]).weight.abs().max()
            case "weight":
                return model.get_submodule(at[0]).weight[tuple(at[1:])]
            case "bias":
                return model.get_submodule(at[0]).bias[at[1]]
            case "scale" | "shift":
                norm = model.get_submodule(at[0])
                zero, one = (norm(torch.full((1, len(norm.weight), 1, 1), v))[0, at[1], 0, 0] for v in (0.0, 1.0))
                return one - zero if kind == "scale" else zero
            case "product" | "running sum":
                _, channel, row, column, term = at
                window = F.pad(outputs["pixels"][0], (1, 1, 1, 1))[row : row + 3, column : column + 3]
                products = (window * model.conv1.weight[channel, 0]).flatten()
                return products[term] if kind == "product" else products[: term + 1].sum()
            case "maps without a cell above zero":
                return sum(bool((one <= 0).all()) for one in outputs[at[0]])
            case "share of zeros":
                return (outputs[at[0]] == 0).double().mean()
            case "channel":
                return self.shares(at[0], at[1:-1]).abs().argsort(descending=True)[at[-1]]
            case "channel sum":
                return self.shares(at[0], at[1:-1])[at[-1]]
            case "other channels":
                return len(self.shares(at[0], (0, 0, 0))) - 5
            case "other channels but":
                return model.get_submodule(at[0]).in_features - at[1]
            case "other sums":
                size = outputs[at[0]].ndim
                shares = self.shares(at[0], at[1 : 1 + size])
                return shares.double().sum() - shares[list(at[1 + size :])].double().sum()
            case "place in the row":
                return torch.arange(outputs["pool3"].numel()).view_as(outputs["pool3"])[tuple(at)]
            case "digit":
                return at[0]
            case "logit":
                return logits[at[0]]
            case "power":
                return math.e ** logits[at[0]]
            case "sum of powers":
                return sum(math.e**logit for logit in logits.tolist())
            case "probability":
                return F.softmax(logits, 0)[at[0]]
            case "prediction":
                return self.order[0]
            case "runner-up":
                return self.order[1]
            case "rival":
                return self.order[1] if self.truth in (None, self.order[0]) else self.truth
            case "truth":
                return self.truth
            case "margin":
                return F.softmax(logits, 0)[self.order[0]] - F.softmax(logits, 0)[self.order[1]]
        raise AssertionError(f"{kind} is not known here")


def check(film: Film, anew: Anew, fields: dict[tuple, int]) -> int:
    """Every number of every frame, as a value and as it is written; how many there are."""
    done = {}
    for words in (words for frame in film.words for words in frame):
        for number in words.numbers:
            if number not in done:
                kind, *at = number.origin
                if kind in ("field", "tracked map"):
                    value = fields[kind, *at]
                else:
                    value = torch.as_tensor(anew.value(kind, *at)).item()
                assert number.value == pytest.approx(value, rel=2e-4, abs=2e-4), number
                done[number] = value
        if words.numbers:
            parts = [f"{n.value:{spec}}" for n, spec in zip(words.numbers, specs(words.form), strict=True)]
            for part in parts:
                bare = part.replace("-", "−") if re.search("[1-9]", part) else part.lstrip("+-")
                assert bare in words.text, words
    return len(done)


def specs(form: str) -> list[str]:
    return [piece.split("}")[0].lstrip(":") for piece in form.split("{")[1:]]


def fields_of(trace: ml.Trace, model: nn.Sequential) -> dict[tuple, int]:
    """What is true of the tracked cells: how far each can see, and which map it lies in."""
    cells = {ledger.name: ledger.cell for ledger in trace.way()}
    layers = [name for name in cells if name.startswith(("conv", "pool"))]
    sizes = {("field", name, axis): size for name in layers for axis, size in enumerate(view(model, name, cells[name]))}
    return sizes | {("tracked map", name): cell[0] for name, cell in cells.items()}


def test_every_number_for_ten_random_digits(model, test_digits):
    chosen = torch.randperm(len(test_digits), generator=torch.Generator().manual_seed(7))[:10]
    for index in chosen.tolist():
        digit, truth = test_digits.images[index], int(test_digits.labels[index])
        trace = ml.trace(model, digit, truth)
        film = films.forward(trace, show_progress=False)
        assert check(film, Anew(model, digit, truth), fields_of(trace, model)) > 200


@pytest.mark.parametrize("truth", [None, 0, 1, 2])
def test_every_number_untrained_and_wrong(truth, test_digits):
    model, digit = ml.CNN(3), test_digits.images[5]
    trace = ml.trace(model, digit, truth)
    film = films.forward(trace, show_progress=False)
    assert check(film, Anew(model, digit, truth), fields_of(trace, model)) > 200
    wrong = truth not in (None, trace.prediction)
    last = film.still(-1)
    assert ((200, 30, 30) in {colour for _, colour in last.getcolors(10_000)}) == wrong
    said = " ".join(words.text for words in film.words[-1])
    assert ("but the label says" in said) == wrong and ("label" in said) == (truth is not None)


def test_a_wrong_number_would_be_found(confident, model):
    """Of each kind of number one is altered."""
    trace, film = confident
    anew, fields = Anew(model, trace.digit, trace.truth), fields_of(trace, model)
    kinds = {}
    for words in (words for frame in film.words for words in frame):
        for place, number in enumerate(words.numbers):
            kinds.setdefault(number.origin[0], (words, place))
    assert len(kinds) >= 25
    for kind, (words, place) in kinds.items():
        altered = list(words.numbers)
        altered[place] = altered[place]._replace(value=altered[place].value + 1)
        wrong = Film("", PALETTE, words=[[words._replace(numbers=tuple(altered))]])
        with pytest.raises(AssertionError):
            check(wrong, anew, fields)
        signs = Film("", PALETTE, words=[[words._replace(text="?")]])
        with pytest.raises(AssertionError):
            check(signs, anew, fields)
        assert check(Film("", PALETTE, words=[[words]]), anew, fields) >= 1, kind


def test_numbers_must_be_given_as_numbers():
    sheet = Sheet()
    with pytest.raises(ValueError, match="a number that nobody can check"):
        sheet.write((0, 0), "27 others")
    sheet.write((0, 0), "conv3 adds {} maps", Number(32, ("shape", "relu2", 0)))
    sheet.write((0, 30), "{:+.2f} {:+.2f} {:,}", Number(-0.001, ()), Number(-1.5, ()), Number(-12345, ()))
    assert [words.text for words in sheet.words] == ["conv3 adds 32 maps", "0.00 −1.50 −12,345"]


def test_thirteen_scenes_follow_one_cell(confident):
    trace, film = confident
    assert len(SCENES) == len(film.scenes) == 13
    starts = [frame for frame, _ in film.scenes]
    assert starts == sorted(set(starts)) and starts[0] == 0 and starts[-1] < len(film.frames)
    for one, other in zip(trace.way(), trace.way()[1:], strict=False):
        assert one.cell in {tuple(cell) for cell in other.cells.tolist()}
    window = trace.way()[0]
    inked = trace.digit[tuple(window.cells.T)] >= 64
    assert inked.sum() >= 5 and (window.products > 0).any() and (window.products < 0).any()


@pytest.fixture(scope="module")
def all_films(confident, model, test_digits) -> list[Film]:
    trace, film = confident
    untrained = films.forward(ml.trace(ml.CNN(), trace.digit, 8), show_progress=False)
    unknown = films.forward(ml.trace(model, test_digits.images[3]), show_progress=False)
    snapshots = {0: ml.CNN(), 1: ml.CNN(1), 1000: model}
    return [film, untrained, unknown, films.convolution_scan(trace), films.training(snapshots, test_digits[:300])]


def assert_readable(film: Film) -> None:
    """Nothing is written over another text, beyond the edge, or too small."""
    for words in film.words:
        for one in words:
            left, top, right, bottom = one.box
            assert 0 <= left < right <= 960 and 0 <= top < bottom <= 540, one
            assert one.size >= 18, "at half size it could not be read"
        for one, other in combinations(words, 2):
            (l1, t1, r1, b1), (l2, t2, r2, b2) = one.box, other.box
            assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1, (one, other)


def test_nothing_overlaps_or_is_clipped(all_films):
    for film in all_films:
        assert_readable(film)


def test_the_files(confident, all_films, tmp_path):
    for number, film in enumerate(all_films):
        path = film.save(tmp_path / f"{number}.gif")
        assert path.stat().st_size <= 1_500_000
        with Image.open(path) as gif:
            assert gif.size == (960, 540) and gif.n_frames == len(film.frames) and gif.info["loop"] == 0
            delays = []
            for frame in range(gif.n_frames):
                gif.seek(frame)
                delays.append(gif.info["duration"])
            assert min(delays) >= 60 and delays == [10 * round(ms / 10) for ms in film.durations]
        colours = set()
        for index, frame in enumerate(iio.imiter(path, mode="RGB")):
            assert np.array_equal(frame, np.asarray(film.still(index)))
            if index % 8 == 0:
                colours |= {colour for _, colour in Image.fromarray(frame).getcolors(256)}
        assert len(colours) <= 64
    assert 30 <= confident[1].seconds <= 50


def test_the_committed_films(confident, model, all_films):
    """Each is there, within its limits, made from the shipped weights; those that are quick to make are made anew."""
    folder = ml.home() / "animations"
    names = {"forward_confident", "forward_misclassified", "forward_untrained", "convolution_scan", "training"}
    assert {path.stem for path in folder.glob("*.gif")} == names
    made = json.loads((folder / "films.json").read_text())
    card = ml.load(ml.home() / "models" / "cnn.safetensors").card()
    assert made["weights_md5"] == card["weights_md5"], "stale films: run 'make films'"
    for path in folder.glob("*.gif"):
        assert made["gif_md5"][path.stem] == hashlib.md5(path.read_bytes()).hexdigest()
        with Image.open(path) as gif:
            assert gif.size == (960, 540) and gif.info["loop"] == 0 and path.stat().st_size <= 1_500_000
    trace, film = confident
    assert trace.prediction == trace.truth
    if ml.load_digits("test").is_mnist:
        wrong = made["misclassified"]
        digits = ml.load_digits("test")
        assert ml.trace(model, digits.images[wrong]).prediction != int(digits.labels[wrong])
        untrained = films.forward(ml.trace(ml.CNN(), trace.digit, trace.truth), show_progress=False)
        new = {"confident": film, "untrained": untrained, "scan": all_films[3]}
        for name, one in new.items():
            (path,) = folder.glob(f"*{name}.gif")
            committed = list(iio.imiter(path, mode="RGB"))
            assert len(committed) == len(one.frames), "stale films: run 'make films'"
            # the last digit of a number may differ from machine to machine, and with it a few pixels
            for index, frame in enumerate(committed):
                assert (frame != np.asarray(one.still(index))).any(-1).mean() < 0.01, "stale films: run 'make films'"


def test_degenerate_digits_and_networks(test_digits):
    blank, full = torch.zeros(1, 28, 28, dtype=torch.uint8), torch.full((1, 28, 28), 255, dtype=torch.uint8)
    loud, dead, dull = ml.CNN(), ml.CNN(), ml.CNN()
    with torch.no_grad():
        loud.conv1.weight *= 400
        dead.norm1.bias -= 50
        dull.conv1.weight.zero_()
    for model, digit in (
        (ml.CNN(), blank),
        (ml.CNN(), full),
        (loud, test_digits.images[0]),
        (dead, full),
        (dull, full),
    ):
        trace = ml.trace(model, digit)
        assert_readable(films.convolution_scan(trace))
        if len(trace.way()[0].cells) == 9:
            assert_readable(films.forward(trace, show_progress=False))
        else:
            with pytest.raises(ValueError, match="begins at the picture's border"):
                films.forward(trace, show_progress=False)


def test_webp_holds_the_same_frames(confident, tmp_path):
    film = confident[1]
    short = Film(film.label, PALETTE, film.frames[:12], film.durations[:12], film.scenes[:1], film.words[:12])
    frame = iio.imread(short.save(tmp_path / "film.webp"), index=7, mode="RGB")
    assert np.array_equal(frame, np.asarray(film.still(7)))
    with Image.open(io.BytesIO(short.encoded("webp"))) as webp:
        assert webp.info["loop"] == 0 and webp.n_frames == 12


def test_saving_is_whole_or_not_at_all(confident, tmp_path):
    film = confident[1]
    with pytest.raises(ValueError, match=r"\.gif or \.webp"):
        film.save(tmp_path / "film.avi")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="at least 60 ms"):
        film.add(Sheet(), 40)


def test_contact_sheet(confident):
    film = confident[1]
    sheet = film.contact_sheet([0, 5, 9], columns=2, width=480)
    assert sheet.size == (960, 540)
    small = film.still(5).resize((478, 268), Image.Resampling.LANCZOS)
    far = np.abs(np.asarray(sheet.crop((481, 1, 959, 269))).astype(int) - np.asarray(small))
    assert far.mean() < 3 and {colour for _, colour in sheet.getcolors()} <= set(PALETTE)


def test_only_the_reference_network_has_a_storyboard(test_digits):
    small = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(ValueError, match="trace a CNN"):
        films.forward(ml.trace(small, test_digits.images[0]))
    with pytest.raises(ValueError, match="3×3 filters"):
        films.convolution_scan(ml.trace(small, test_digits.images[0]))


def test_scan_numbers(confident, model):
    trace, _ = confident
    film = films.convolution_scan(trace, channel=4)
    weights, bias = model.conv1.weight[4, 0].detach(), model.conv1.bias[4].item()
    padded = F.pad(ml.normalise(trace.digit[None])[0, 0], (1, 1, 1, 1))
    counted = 0
    for words in (words for frame in film.words for words in frame):
        for number in words.numbers:
            match number.origin:
                case ("filter",):
                    value = 4
                case ("weight", row, column):
                    value = weights[row, column]
                case ("bias",):
                    value = bias
                case ("limit",):
                    value = (F.conv2d(padded[None, None], weights[None, None]) + bias).abs().max()
                case ("product", row, column, term):
                    value = (padded[row : row + 3, column : column + 3] * weights).flatten()[term]
                case ("sum", row, column):
                    value = (padded[row : row + 3, column : column + 3] * weights).sum()
                case ("cell", row, column):
                    value = F.conv2d(padded[None, None], weights[None, None])[0, 0, row, column] + bias
            assert number.value == pytest.approx(torch.as_tensor(value).item(), abs=1e-5)
            counted += 1
    assert counted > 500
    with pytest.raises(ValueError, match="no filter 32"):
        films.convolution_scan(trace, channel=32)


def test_training_numbers(model, test_digits):
    digits, snapshots = test_digits[:200], {0: ml.CNN(), 16: ml.CNN(1), 999: model}
    film = films.training(snapshots, digits)
    assert len(film.frames) == 3
    for step, words in zip(snapshots, film.words, strict=True):
        numbers = {n.origin: n.value for one in words for n in one.numbers}
        right = ml.evaluate(snapshots[step], digits).accuracy
        assert numbers["accuracy", step] == pytest.approx(right) and numbers["step", step] == step
        assert numbers[("digits",)] == 200 and numbers[("limit",)] == model.conv1.weight.abs().max()
    with pytest.raises(ValueError, match="at least one snapshot"):
        films.training({}, digits)


def test_watch_sees_every_step_and_changes_nothing(train):
    digits, config = train[:600], ml.TrainConfig(epochs=1, batch_size=100)
    seen = {}
    watched = ml.fit(
        ml.CNN(), digits, config=config, watch=lambda step, m: seen.update({step: m.conv1.bias.detach().clone()}),
        show_progress=False,
    )  # fmt: skip
    plain = ml.fit(ml.CNN(), digits, config=config, show_progress=False)
    assert list(seen) == list(range(7)) and torch.equal(seen[0], ml.CNN().conv1.bias)
    assert torch.equal(seen[6], plain.model.conv1.bias)
    for one, other in zip(watched.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
