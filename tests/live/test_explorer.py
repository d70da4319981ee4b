"""The explorer: its arithmetic against PyTorch's, what it shows of it, and how it behaves in a real browser."""

import base64
import json
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import html5lib
import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect
from torch import Tensor, nn
from torch.nn import functional as F

import mnistlab as ml
from mnistlab.figures import colours
from mnistlab.inspection.trace import trace
from mnistlab.live import explorer
from mnistlab.networks.hooks import evaluating, recording
from mnistlab.networks.layers import folded
from tests.pages import watched

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(os.environ.get("MNISTLAB_AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))


def _networks() -> dict[str, nn.Sequential]:
    yield "reference", ml.CNN(seed=1)
    yield (
        "unpadded 5×5",
        nn.Sequential(
            OrderedDict(conv1=nn.Conv2d(1, 6, 5), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2)),
        ).extend(
            [
                nn.Conv2d(6, 9, 5),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(144, 30),
                nn.ReLU(),
                nn.Linear(30, 10),
            ]
        ),
    )
    yield "dense", nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 10))
    yield (
        "norms that stay",
        nn.Sequential(
            *(
                nn.Conv2d(1, 7, 3, padding=1, bias=False),
                nn.ReLU(),
                nn.BatchNorm2d(7),
                nn.AvgPool2d(2),
                nn.BatchNorm2d(7),
            ),
            *(nn.Conv2d(7, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(180)),
            nn.Linear(180, 10, bias=False),
        ),
    )
    yield (
        "nested",
        nn.Sequential(
            OrderedDict(
                body=nn.Sequential(
                    OrderedDict(
                        conv=nn.Conv2d(1, 3, 3, padding=1), norm=nn.BatchNorm2d(3, affine=False), relu=nn.ReLU()
                    ),
                ).append(nn.MaxPool2d(3, 2)),
                head=nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(3 * 13 * 13, 10)),
            )
        ),
    )
    yield (
        "convolutions alone",
        nn.Sequential(
            *(
                nn.Conv2d(1, 6, 5, stride=3, padding=2),
                nn.ReLU(),
                nn.Conv2d(6, 10, 3),
                nn.ReLU(),
                nn.AvgPool2d(8),
                nn.Flatten(),
            ),
        ),
    )


@cache
def networks() -> dict[str, nn.Sequential]:
    """Small networks with every kind of stage, their norms as if they had been trained."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        made = dict(_networks())
        for model in made.values():
            for layer in model.modules():
                if getattr(layer, "running_mean", None) is not None:
                    layer.running_mean.normal_(0, 0.5)
                    layer.running_var.uniform_(0.5, 2)
                    if layer.affine:
                        nn.init.uniform_(layer.weight, 0.5, 1.5)
    return {name: model.eval() for name, model in made.items()}


@cache
def shipped() -> ml.Run:
    return ml.load(ROOT / "models" / "reader.safetensors")


NETWORKS = [name for name, _ in _networks()]


def halves(model: nn.Module) -> nn.Sequential:
    """The network as the page has it: folded, its weights rounded to half floats, one row of layers."""
    layers = folded(nn.Sequential(OrderedDict((n.replace(".", "_"), layer) for n, layer in explorer._layers(model))))
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.half().float()
    return layers.eval()


def stages_of(model: nn.Module, digits: Tensor) -> dict[str, Tensor]:
    """What PyTorch has at the end of each stage, by the stage's name: (N, cells)."""
    names = [stage["name"] for stage in explorer.packed(model)[0]["stages"]]
    with evaluating(model), torch.no_grad(), recording(model) as steps:
        model(ml.normalise(digits))
    found, name = {}, ""
    for step in steps:
        name = step.name if step.name in names else name
        if name:
            found[name] = step.output.flatten(1)
    assert list(found) == names
    return found


def parsed(shown: str) -> float:
    return float(shown.replace("−", "-").replace(",", ""))


# The arithmetic


@pytest.fixture(scope="module")
def arithmetic(browser: Browser) -> Iterator[Callable]:
    """Runs JavaScript with `network`, of a model, and `digits`; numbers come back as JSON."""
    page = browser.new_page()
    script = explorer.module() + "\nexport { thinking };"
    page.evaluate(
        """async script => {
          const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
          window.Network = (await import(url)).thinking().Network;
          window.bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        }""",
        script,
    )

    def run(model: nn.Module | ml.Run, digits: Tensor, expression: str, given: object = None) -> object:
        about, weights = explorer.packed(model)
        images = [base64.b64encode(image.numpy().tobytes()).decode() for image in digits]
        found = page.evaluate(
            f"""([about, weights, images, given]) => {{
              const network = new Network(about, bytes(weights));
              const outputs = images.map((image) => network.forward(bytes(image)));
              return JSON.stringify({expression}, (_, value) => ArrayBuffer.isView(value) ? [...value] : value);
            }}""",
            [about, base64.b64encode(weights).decode(), images, given],
        )
        return json.loads(found)

    yield run
    page.close()


def test_logits_of_the_shipped_network(arithmetic, test_digits):
    run, digits = shipped(), test_digits[:200]
    expression = "outputs.map((each) => [each.at(-1), network.probabilities(each.at(-1))])"
    logits, shares = map(torch.tensor, zip(*arithmetic(run, digits.images, expression), strict=True))
    with torch.inference_mode():
        expected = run.model(ml.normalise(digits.images))
    assert 0 < float((logits - expected).abs().max()) <= 2e-2
    # What half floats do to a logit, 2e-2 at most, is little beside what the temperature does to a probability.
    assert run.temperature != 1
    np.testing.assert_allclose(shares, run.predict(digits).probabilities, atol=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_cell_of_every_stage(arithmetic, test_digits, name):
    model, digits = networks()[name], test_digits.images[:8]
    stages = arithmetic(model, digits, "outputs")
    np.testing.assert_allclose([each[0] for each in stages], ml.normalise(digits).flatten(1), atol=1e-6)
    for number, (stage, expected) in enumerate(stages_of(model, digits).items(), 1):
        found = torch.tensor([each[number] for each in stages])
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) < 2e-3 * max(1, float(expected.abs().max())), stage


def some_cells(model: nn.Module, each: int = 6) -> list[tuple[int, int]]:
    """(stage, cell): the corners of every stage and a few others."""
    rng = np.random.default_rng(0)
    sizes = [int(np.prod(stage["shape"])) for stage in explorer.packed(model)[0]["stages"]]
    return [(n, int(c)) for n, size in enumerate(sizes, 1) for c in {0, size - 1, *rng.integers(0, size, each)}]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_ledger_is_the_sum_behind_its_cell(arithmetic, test_digits, name):
    model, digit = networks()[name], test_digits.images[3]
    stages = explorer.packed(model)[0]["stages"]
    cells = some_cells(model)
    ledgers = arithmetic(
        model,
        digit[None],
        "given.map(([n, cell]) => ({ ...network.ledger(n, cell, outputs[0]), value: outputs[0][n][cell] }))",
        cells,
    )
    traced = trace(halves(model), digit)
    for (number, cell), ledger in zip(cells, ledgers, strict=True):
        stage = stages[number - 1]
        assert ledger["sum"] == pytest.approx(sum(t["product"] for t in ledger["terms"]) + ledger["bias"], abs=1e-9)
        assert (max(ledger["sum"], 0) if stage.get("relu") else ledger["sum"]) == pytest.approx(
            ledger["value"], abs=1e-4
        )
        if stage["kind"] in ("avgpool", "norm"):
            assert len(ledger["terms"]) == (stage["kernel"] ** 2 if stage["kind"] == "avgpool" else 1)
            continue
        key = stage["name"].replace(".", "_")
        before = (1, 28, 28) if number == 1 else stages[number - 2]["shape"]
        place = cell if stage["kind"] == "dense" else np.unravel_index(cell, stage["shape"])
        expected = traced.ledger(key, place)
        inner = [term for term in ledger["terms"] if term["from"] is not None]
        assert all(term["product"] == 0 for term in ledger["terms"] if term["from"] is None)
        places = expected.cells.T.tolist()
        flat = places[0] if stage["kind"] == "dense" else np.ravel_multi_index(places, before).tolist()
        assert [term["from"] for term in inner] == flat
        np.testing.assert_allclose([term["value"] for term in inner], expected.values, atol=3e-3)
        np.testing.assert_allclose([term["weight"] for term in inner], expected.weights, atol=1e-6)
        assert ledger["bias"] == pytest.approx(expected.bias, abs=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_view_holds_the_pixels_that_count(arithmetic, name):
    """Of a network of positive weights, whose pools take the mean, every pixel that is seen has a gradient."""
    model = networks()[name]
    cells = some_cells(model, 3)
    views = arithmetic(model, torch.zeros(0, 1, 28, 28), "given.map(([n, cell]) => network.view(n, cell))", cells)
    stages = explorer.packed(model)[0]["stages"]
    for (number, cell), view in zip(cells, views, strict=True):
        pixels = torch.ones(1, 1, 28, 28, requires_grad=True)
        value = pixels
        for stage in stages[:number]:
            maps = stage["shape"][0]
            if stage["kind"] == "dense":
                value = value.flatten(1) @ torch.ones(value[0].numel(), maps) / value[0].numel()
            elif stage["kind"] == "conv":
                kernel = torch.ones(maps, value.shape[1], stage["kernel"], stage["kernel"]) / value.shape[1]
                value = F.conv2d(value, kernel, stride=stage["stride"], padding=stage["padding"])
            elif stage["kind"] != "norm":
                value = F.avg_pool2d(value, stage["kernel"], stage["stride"])
        value.flatten()[cell].backward()
        rows, columns = np.nonzero(pixels.grad[0, 0].numpy())
        expected = {"top": rows.min(), "bottom": rows.max(), "left": columns.min(), "right": columns.max()}
        assert view == expected, (stages[number - 1]["name"], cell)


@pytest.mark.parametrize("name", NETWORKS)
def test_onward_is_what_a_cell_changes(arithmetic, test_digits, name):
    model, digit = networks()[name], test_digits.images[3][None]
    stages = [{"shape": (1, 28, 28)}, *explorer.packed(model)[0]["stages"]]
    cells = [(0, 0), (0, 400), *some_cells(model)]
    expression = "given.map(([n, cell]) => network.next(n, cell, outputs[0]))"
    nexts = arithmetic(model, digit, expression, cells)
    outputs = arithmetic(model, digit, "outputs[0]")
    layers = dict(halves(model).named_children())
    for (number, cell), found in zip(cells, nexts, strict=True):
        if number == len(stages) - 1:
            assert found == []
            continue
        stage = stages[number + 1]
        layer = layers[stage["name"].replace(".", "_")]
        given = torch.tensor(outputs[number]).view(1, *stages[number]["shape"])
        without = given.clone().flatten()
        without[cell] = 0
        if stage["kind"] == "dense" or isinstance(layer, nn.BatchNorm1d):
            given = given.flatten(1)
        if stage["kind"] == "maxpool":
            _, winners = F.max_pool2d(given, stage["kernel"], stage["stride"], return_indices=True)
            height, width = given.shape[2:]
            maps = torch.arange(given.shape[1])[None, :, None, None]
            winners = (winners + maps * height * width).flatten()
            assert {one["to"] for one in found if one["wins"]} == set((winners == cell).nonzero().flatten().tolist())
            continue
        with torch.no_grad():
            change = (layer(given) - layer(without.view_as(given))).flatten().double().numpy()
        shown = np.zeros_like(change)
        for one in found:
            shown[one["to"]] += one["product"]
        np.testing.assert_allclose(shown, change, atol=1e-3 * max(1, np.abs(change).max()))


# What it tells of networks that it cannot show


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (ml.Ensemble(2), "Ensemble is no nn.Sequential.*members\\[0\\]"),
        (ml.Run(ml.Ensemble(1)), "Ensemble is no nn.Sequential"),
        (nn.Linear(784, 10), "Linear is no nn.Sequential"),
        (nn.Sequential(), "no layers"),
        (nn.Sequential(nn.Flatten()), "no layers"),
        (nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(784, 10)), "0 has no layer before it"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1)), "cannot show 2, a LogSoftmax"),
        (nn.Sequential(nn.Flatten(), nn.Linear(783, 10)), "1 takes 783 numbers, but is given 784"),
        (nn.Sequential(nn.Conv2d(3, 8, 3)), "0 takes 3 maps, but is given 1"),
        (nn.Sequential(nn.Conv2d(1, 8, 31)), "cannot show 0. A window of 31 does not fit on 28 pixels"),
        (nn.Sequential(nn.Conv2d(1, 8, (3, 5))), "the kernel_size of 0"),
        (
            nn.Sequential(nn.Conv2d(1, 8, 3, padding="same")),
            'cannot show 0. The padding is "same"; write it as a number',
        ),
        (nn.Sequential(nn.MaxPool2d(3, padding=1)), "the padding of 0"),
        (nn.Sequential(nn.Conv2d(1, 8, 3, dilation=2)), "dilation"),
        (nn.Sequential(nn.Conv2d(1, 8, 3, padding_mode="reflect")), "padding_mode"),
        (nn.Sequential(nn.MaxPool2d(3, ceil_mode=True)), "ceil_mode"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 11)), "10 logits, one for each class, but 1 gives 11×1×1"),
        (ml.CNN()[:4], "10 logits, one for each class, but conv2 gives 32×28×28"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), "cannot show 0, a BatchNorm2d"),
    ],
)
def test_what_cannot_be_shown_is_refused(model, said):
    with pytest.raises(explorer.ExplorerError, match=said):
        explorer.show(model)


def test_a_weight_that_no_half_float_holds_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.constant_(model[1].bias, 70_000)
    with pytest.raises(explorer.ExplorerError, match="too large for a half float"):
        explorer.packed(model)


# The page


@contextmanager
def opening(browser: Browser, folder: Path) -> Iterator[Callable[..., Page]]:
    """Opens pages with a network; at the end nothing has gone wrong in them, and they have asked for nothing."""
    with ExitStack() as pages:

        def opened(model: nn.Module, digits: ml.Digits, before: str = "", views: int = 1, **options) -> Page:
            path = explorer.write(model, folder / f"page{len(list(folder.iterdir()))}.html", digits)
            if views > 1:
                text = path.read_text("utf-8")
                more = explorer.show(model, digits).html * (views - 1)
                path.write_text(text.replace("</main>", more + "</main>"), "utf-8")
            # Nothing scrolls smoothly: a click would wait for the end of it.
            options = {"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce"} | options
            page = pages.enter_context(watched(browser, "blob:", path.as_uri(), **options))
            if before:
                page.add_init_script(before)
            page.goto(path.as_uri())
            page.wait_for_function(
                "[...document.querySelectorAll('.mnistlab-explorer')].every((host) => host.explorer?.read()?.outputs)"
            )
            return page

        yield opened


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    with opening(browser, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(browser: Browser, three: ml.Digits, tmp_path_factory) -> Iterator[Callable[[str], Page]]:
    """A page for each network's name, opened once."""
    with opening(browser, tmp_path_factory.mktemp("pages")) as opened:
        yield cache(lambda name: opened(shipped() if name == "shipped" else networks()[name], three))


@pytest.fixture
def shared(pages, three) -> Callable[[str], Page]:
    """The page of a network, which tests share: the first digit is on it, everything else as the last test left it."""

    def shared(name: str) -> Page:
        page = pages(name)
        page.emulate_media(color_scheme="light")
        page.evaluate("scrollTo(0, 0)")
        page.evaluate("document.querySelector('.mnistlab-explorer').explorer.pick(0)")
        is_on_the_page(page, three.images[0])
        return page

    return shared


@pytest.fixture(scope="session")
def three(test_digits) -> ml.Digits:
    return test_digits[:3]


def read(page: Page, nth: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """The digit that is on the page, and the cells of every stage."""
    found = page.evaluate(
        """nth => {
          const { digit, outputs } = document.querySelectorAll(".mnistlab-explorer")[nth].explorer.read();
          return JSON.stringify([[...digit], outputs.map((stage) => [...stage])]);
        }""",
        nth,
    )
    digit, outputs = json.loads(found)
    return np.array(digit, np.uint8).reshape(1, 28, 28), [np.array(stage) for stage in outputs]


def is_on_the_page(page: Page, digit: Tensor, nth: int = 0) -> None:
    """Waits until it is."""
    page.wait_for_function(
        """([nth, given]) => {
          const { explorer } = document.querySelectorAll(".mnistlab-explorer")[nth];
          return explorer.read().digit?.join() === given.join();
        }""",
        arg=[nth, digit.flatten().tolist()],
    )


def shown_ledger(page: Page) -> dict:
    """What the panel says: title, rows (label → the numbers beside it), grids (caption → numbers)."""
    return page.locator(".cell").evaluate(
        """panel => ({
          title: panel.querySelector(".cell-title").textContent,
          text: panel.querySelector(".sum").innerText,
          tables: [...panel.querySelectorAll(".terms")].map((table) => [...table.rows].map((row) =>
            [row.cells[0].textContent, ...[...row.cells].slice(1).map((cell) => cell.textContent)])),
          grids: Object.fromEntries([...panel.querySelectorAll(".grid")].map((table) =>
            [table.caption.textContent, [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))])),
        })"""
    )


def go_to(page: Page, stage: str, **place: int) -> None:
    page.get_by_role("button", name=stage, exact=True).click()
    for name, value in place.items():
        page.get_by_label(name, exact=True).fill(str(value))


def window(stage: nn.Conv2d, given: Tensor, cell: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """What a cell of a 3×3 convolution with padding sees, (maps, 3, 3), and its weights."""
    padded = F.pad(given, (1, 1, 1, 1))
    map_, row, column = cell
    return padded[:, row : row + 3, column : column + 3], stage.weight[map_].detach()


def two(number: float) -> float:
    return pytest.approx(float(number), abs=0.0051)


class Computed(NamedTuple):
    """What PyTorch makes of the first digit in the reference network: its layers, what each is given and gives."""

    layers: nn.Sequential
    before: dict[str, Tensor]
    after: dict[str, Tensor]


@pytest.fixture(scope="module")
def computed(three) -> Computed:
    layers = halves(networks()["reference"]).requires_grad_(False)
    with recording(layers) as steps:
        layers(ml.normalise(three.images[:1]))
    return Computed(layers, {s.name: s.input[0] for s in steps}, {s.name: s.output[0] for s in steps})


@pytest.mark.parametrize("cell", [(5, 0, 3), (40, 6, 7)], ids=["at an edge", "inside"])
def test_the_sum_of_a_convolution_over_many_maps_is_pytorchs(shared, computed, cell):
    page, conv = shared("reference"), computed.layers.conv3
    go_to(page, "conv3", map=cell[0], row=cell[1], column=cell[2])
    said = shown_ledger(page)
    seen, weights = window(conv, computed.before["conv3"], cell)
    total = computed.after["conv3"][cell]
    assert said["title"].startswith(f"Map {cell[0]} of conv3, row {cell[1]}, column {cell[2]}: ")
    assert parsed(said["title"].split(": ")[1]) == two(max(total, 0))
    rows = {label: parsed(numbers[-1]) for label, *numbers in said["tables"][0]}
    sums = (seen * weights).sum((1, 2))
    listed = {int(label.split()[1]): shown for label, shown in rows.items() if label.startswith("map")}
    assert len(listed) == 5 and set(listed) == set(sums.abs().topk(5).indices.tolist())
    assert all(shown == two(sums[map_]) for map_, shown in listed.items())
    assert rows["27 other maps"] == two(sums.sum() - sums[list(listed)].sum())
    assert rows["bias"] == two(conv.bias[cell[0]])
    assert rows["sum"] == two(total) and rows["after ReLU"] == two(max(total, 0))
    page.locator(".cell .terms button").nth(2).click()  # the window on another map
    said, map_ = shown_ledger(page), list(listed)[2]
    grids = {
        caption: torch.tensor([[parsed(cell) for cell in row] for row in rows])
        for caption, rows in said["grids"].items()
    }
    for caption, expected in {"what it sees": seen, "weights": weights, "products": seen * weights}.items():
        torch.testing.assert_close(grids[caption], expected[map_], atol=0.0051, rtol=0)
    assert f"On map {map_} of pool1" in said["text"]


def test_the_sum_of_a_convolution_over_one_map_is_pytorchs(shared, computed):
    page, conv = shared("reference"), computed.layers.conv1
    go_to(page, "conv1", map=9, row=12, column=13)
    said = shown_ledger(page)
    seen, weights = window(conv, computed.before["conv1"], (9, 12, 13))
    products = torch.tensor([[parsed(cell) for cell in row] for row in said["grids"]["products"]])
    torch.testing.assert_close(products, (seen * weights)[0], atol=0.0051, rtol=0)
    together, bias, total, rectified = map(
        parsed, re.search("Together (.*), with the bias of (.*): (.*) → ReLU → (.*)\\.", said["text"]).groups()
    )
    assert together == two((seen * weights).sum()) and bias == two(conv.bias[9])
    expected = computed.after["conv1"][9, 12, 13]
    assert total == two(expected) and rectified == two(max(expected, 0))
    assert page.locator("figcaption", has_text="sees 3×3 pixels").is_visible()


def test_the_sums_of_a_pooling_and_of_a_dense_unit_are_pytorchs(shared, computed):
    page = shared("reference")
    go_to(page, "pool2", map=7, row=2, column=3)
    said = shown_ledger(page)
    seen = computed.before["pool2"][7, 4:6, 6:8]
    shown = torch.tensor([[parsed(cell) for cell in row] for row in said["grids"]["conv4"]])
    torch.testing.assert_close(shown, seen, atol=0.0051, rtol=0)
    assert parsed(said["title"].split(": ")[1]) == two(seen.max())

    go_to(page, "dense1", unit=17)
    rows = {label: numbers for label, *numbers in shown_ledger(page)["tables"][0]}
    weights, given = computed.layers.dense1.weight[17], computed.before["dense1"]
    top = (weights * given).abs().topk(5).indices.tolist()
    for index, (label, (factors, shown)) in zip(top, list(rows.items())[:5], strict=True):
        map_, row, column = np.unravel_index(index, (128, 3, 3))
        assert label == f"map {map_} of pool3, row {row}, column {column}"
        value, weight = map(parsed, factors.split(" × "))
        assert (value, parsed(shown)) == (two(given[index]), two(weights[index] * given[index]))
        assert weight == pytest.approx(float(weights[index]), abs=0.00051)
    assert parsed(rows["1,147 others"][-1]) == two((weights * given).sum() - (weights * given)[top].sum())
    assert parsed(rows["sum"][-1]) == two(computed.after["dense1"][17])


def test_a_logit_and_what_separates_it_from_another_are_pytorchs(shared, computed):
    page, dense = shared("reference"), computed.layers.dense2
    go_to(page, "dense2", unit=4)
    page.get_by_label("The other digit").select_option("9")
    mine, versus = shown_ledger(page)["tables"]
    logits = computed.after["dense2"]
    assert parsed(mine[-1][-1]) == two(logits[4]) and parsed(versus[-1][-1]) == two(logits[4] - logits[9])
    parts = (dense.weight[4] - dense.weight[9]) * computed.before["dense2"]
    assert [int(label.split()[1]) for label, *_ in versus[:5]] == parts.abs().topk(5).indices.tolist()
    assert [parsed(row[-1]) for row in versus[:5]] == [two(parts[i]) for i in parts.abs().topk(5).indices]
    assert parsed(versus[5][-1]) + sum(parsed(row[-1]) for row in versus[:5]) == pytest.approx(
        float(parts.sum()), abs=0.03
    )
    share = logits.softmax(0)[4]
    assert f"softmax makes {100 * share:.1f}% of it" in shown_ledger(page)["text"]


def test_bars_and_verdict_are_the_networks(shared, three):
    page = shared("shipped")
    page.get_by_role("button", name=f"Take this {three.labels[1]}").click()
    is_on_the_page(page, three.images[1])
    table = shipped().predict(three[1:2])
    shares = table.probabilities[0].tolist()
    first, second = np.argsort(shares)[::-1][:2]
    expect(page.locator(".verdict b")).to_have_text(str(first))
    words = page.locator(".verdict span").inner_text()
    sure, ahead = re.fullmatch(r"([\d.]+)% sure\n([\d.]+) points ahead of \d", words).groups()
    assert float(sure) == pytest.approx(100 * shares[first], abs=0.3)
    assert float(ahead) == pytest.approx(100 * (shares[first] - shares[second]), abs=0.5)
    for digit, bar in enumerate(page.locator(".bars button").all()):
        assert bar.locator("span").first.inner_text() == str(digit)
        assert parsed(bar.locator("b").inner_text().rstrip("%")) == pytest.approx(100 * shares[digit], abs=0.3)
        assert bar.locator("small").inner_text() == f"{read(page)[1][-1][digit]:.2f}".replace("-", "−")
        track, inked = bar.locator(".track").bounding_box(), bar.locator("i").bounding_box()
        assert (inked["width"] if inked else 0) == pytest.approx(shares[digit] * track["width"], abs=2)


def test_from_the_logit_to_a_pixel_and_forward_again(opened, three):
    page = opened(ml.CNN(seed=1), three)
    title = page.locator(".cell-title")

    def stage_above() -> str:
        return page.locator(".cell").evaluate(
            "panel => panel.previousSibling.querySelector('button')?.textContent ?? 'legend'"
        )

    expect(title).to_have_text(re.compile(r"The logit of \d: "))
    page.locator(".bars button").nth(7).click()
    expect(title).to_have_text(re.compile("The logit of 7: "))
    passed = [stage_above()]
    for name in ("dense1", "pool3", "conv5", "pool2", "conv4", "conv3", "pool1", "conv2", "conv1", "pixel"):
        link = page.locator(".cell .grid .go, .cell .terms .go:not([data-map])").first
        winner = page.locator(".cell .winner .go")
        (winner if winner.count() else link).click()
        expect(title).to_have_text(re.compile(f"^(Unit \\d+ of|Map \\d+ of|)( )?({name}|Pixel)"))
        passed.append(stage_above())
    assert passed == [
        "dense2",
        "dense1",
        "pool3",
        "conv5",
        "pool2",
        "conv4",
        "conv3",
        "pool1",
        "conv2",
        "conv1",
        "legend",
    ]
    assert "Grey level" in shown_ledger(page)["text"]
    back = page.get_by_role("button", name="Back")
    pixel = title.inner_text()
    page.locator(".cell .terms .go").first.click()  # forward
    expect(title).to_have_text(re.compile("^Map \\d+ of conv1"))
    back.click()
    expect(title).to_have_text(pixel)
    for _ in range(10):
        back.click()
    expect(title).to_have_text(re.compile("The logit of 7: "))
    back.click()  # where it began: the winner's logit, whichever wins
    expect(back).to_be_disabled()
    expect(title).to_be_focused()
    # Forward from a cell of each kind to the logit
    go_to(page, "conv5")
    page.get_by_role("button", name=re.compile("^map \\d+ of pool3, row")).first.click()
    page.get_by_role("button", name=re.compile("^unit \\d+ of dense1")).first.click()
    page.get_by_role("button", name=re.compile("^the logit of \\d")).first.click()
    expect(title).to_have_text(re.compile("The logit of \\d: "))


def test_a_click_on_a_stage_opens_that_cell(shared):
    page = shared("reference")
    title, board = page.locator(".cell-title"), page.get_by_role("img", name="pool3: 128 maps of 3×3, as colours")
    for map_, row, column in ((0, 0, 0), (33, 1, 2), (127, 2, 1)):
        board.scroll_into_view_if_needed()
        box = board.bounding_box()
        step = box["width"] / 32
        top = box["y"]
        page.mouse.click(
            box["x"] + (map_ % 32 + (column + 0.5) / 3.2) * step, top + (map_ // 32 + (row + 0.5) / 3.2) * step
        )
        expect(title).to_have_text(re.compile(f"Map {map_} of pool3, row {row}, column {column}: "))
        _, outputs = read(page)
        assert parsed(title.inner_text().split(": ")[1]) == two(outputs[8].reshape(128, 3, 3)[map_, row, column])
    # The map and the digit beside the sum are there to be clicked, too; arrows move the cell.
    around = page.locator(".pictures canvas").nth(1)
    around.click(position={"x": 84, "y": 20})
    expect(title).to_have_text(re.compile("Map 127 of pool3, row 0, column 1: "))
    around.press("ArrowRight")
    around.press("ArrowDown")
    around.press("ArrowRight")  # there is no more
    expect(title).to_have_text(re.compile("Map 127 of pool3, row 1, column 2: "))
    page.locator(".pictures canvas").first.click(position={"x": 6 * 9 + 3, "y": 6 * 20 + 3})
    expect(title).to_have_text(re.compile("Pixel row 20, column 9: "))
    page.get_by_label("row", exact=True).fill("99")  # there is none: it waits for another
    expect(title).to_have_text(re.compile("Pixel row 20, column 9: "))


def test_what_was_clicked_stays_under_the_pointer(opened, three):
    page = opened(networks()["reference"], three)
    page.evaluate("Element.prototype.scrollIntoView = function (options) { (window.asked ??= []).push(options) }")
    for motion, behavior in (("reduce", "auto"), ("no-preference", "smooth")):
        page.emulate_media(reduced_motion=motion)
        for start, name in (("conv1", "pool2"), ("dense2", "conv3")):
            page.get_by_role("button", name=start, exact=True).click()
            button = page.get_by_role("button", name=name, exact=True)
            button.evaluate("button => scrollBy(0, button.getBoundingClientRect().top - 450)")
            top = button.bounding_box()["y"]
            button.click()
            page.wait_for_timeout(100)
            assert button.bounding_box()["y"] == pytest.approx(top, abs=2)
            assert page.evaluate("asked.at(-1)") == {"block": "nearest", "behavior": behavior}


def test_every_control_of_the_sum_by_keyboard(shared, three):
    page = shared("reference")
    title = page.locator(".cell-title")

    def press(control: Locator, key: str = "Enter") -> None:
        control.focus()
        assert control.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
        page.keyboard.press(key)

    page.locator(".pad").focus()
    page.keyboard.press("Tab")  # so that focus is the keyboard's
    press(page.locator(".bars button").nth(2))
    expect(title).to_have_text(re.compile("The logit of 2"))
    press(page.get_by_role("button", name="conv4", exact=True), " ")
    expect(title).to_have_text(re.compile("Map \\d+ of conv4"))
    number = page.get_by_label("map", exact=True)
    press(number, "Control+a")
    page.keyboard.type("37")
    expect(title).to_have_text(re.compile("Map 37 of conv4"))
    expect(number).to_be_focused()
    choice = page.locator(".cell [data-map]").nth(3)
    press(choice)
    expect(choice).to_have_attribute("aria-pressed", "true")
    expect(choice).to_be_focused()
    press(page.locator(".cell .grid .go").first)
    expect(title).to_have_text(re.compile("Map \\d+ of conv3"))
    expect(title).to_be_focused()  # what was pressed is gone
    press(page.get_by_role("button", name="Back"))
    expect(title).to_have_text(re.compile("Map 37 of conv4"))
    press(page.locator(".bars button").nth(2))
    choice = page.get_by_label("The other digit")
    other = choice.input_value()
    press(choice, "ArrowDown" if other != "9" else "ArrowUp")
    expect(choice).not_to_have_value(other)
    expect(choice).to_be_focused()
    press(page.get_by_role("button", name=re.compile("^Take this ")).nth(2))
    is_on_the_page(page, three.images[2])


def test_colours_mean_what_they_mean_in_figures(shared):
    page = shared("reference")
    blue, orange, green = (
        "rgb({}, {}, {})".format(*colours.rgb(colour)) for colour in (colours.BLUE, colours.ORANGE, colours.GREEN)
    )

    def style(selector: str, part: str) -> str:
        return page.locator(selector).first.evaluate("(element, part) => getComputedStyle(element)[part]", part)

    assert style(".legend .below", "backgroundColor") == blue
    assert style(".legend .above", "backgroundColor") == style(".bars i", "backgroundColor") == orange
    go_to(page, "pool1")
    assert style(".cell", "borderTopColor") == green and green in style(".cell .winner", "boxShadow")
    # On the canvases: of the logits the largest number, either way, has the full colour; the map looked into is framed.
    found = page.locator(".stage canvas").evaluate_all(
        """(boards, names) => boards.map((board) => {
          const { data } = board.getContext("2d").getImageData(0, 0, board.width, board.height);
          const colours = new Set();
          for (let i = 0; i < data.length; i += 4) colours.add(`rgb(${data[i]}, ${data[i + 1]}, ${data[i + 2]})`);
          return names.filter((name) => colours.has(name));
        })""",
        [blue, orange, green],
    )
    logits = read(page)[1][-1]
    assert found[-1] == [blue if -logits.min() > logits.max() else orange]
    stages = [stage["name"] for stage in explorer.packed(networks()["reference"])[0]["stages"]]
    assert [name for name, each in zip(stages, found, strict=True) if green in each] == ["pool1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_stage_of_every_network_has_its_panel(shared, name):
    page = shared(name)
    for stage in explorer.packed(networks()[name])[0]["stages"]:
        page.get_by_role("button", name=stage["name"], exact=True).click()
        title = page.locator(".cell-title").inner_text()
        assert stage["name"] in title or "logit" in title
        assert not {"NaN", "undefined", "null"} & set(re.split(r"\W", page.locator(".cell").inner_text()))
    last = explorer.packed(networks()[name])[0]["stages"][-1]["kind"]
    assert page.get_by_label("The other digit").count() == (last in ("dense", "conv"))


# Drawing


def draw(page: Page, *places: tuple[float, float], steps: int = 1, nth: int = 0, lift: bool = True) -> None:
    """A stroke through places on the paper, given as shares of its sides."""
    pad = page.locator(".pad").nth(nth)
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    (left, top), *others = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=steps)
    if lift:
        page.mouse.up()


def arc(x: float, y: float, radius: float, start: float, end: float) -> list[tuple[float, float]]:
    angles = np.linspace(start, end, 9)
    return [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles]


THREE = [*arc(0.5, 0.33, 0.15, -2.6, 1.5), *arc(0.5, 0.65, 0.17, -1.5, 2.7)]


def settled(page: Page, nth: int = 0) -> None:
    """Until the page has thought about what is drawn on the paper, however long that takes."""
    page.evaluate(
        """async nth => {
          const host = document.querySelectorAll(".mnistlab-explorer")[nth];
          const paper = host.shadowRoot.querySelector(".pad").getContext("2d").getImageData(0, 0, 280, 280).data;
          const same = ({ data }) => data.length === paper.length && data.every((level, i) => level === paper[i]);
          while (!same(host.explorer.read().image)) await new Promise((done) => setTimeout(done, 20));
        }""",
        nth,
    )


def test_a_drawn_3_is_read_as_python_reads_it(shared):
    page = shared("shipped")
    draw(page, *THREE)
    settled(page)
    expect(page.locator(".verdict b")).to_have_text("3")
    digit, outputs = read(page)
    expected = shipped().predict(ml.Digits(torch.from_numpy(digit)[None], None, "drawn")).probabilities[0]
    shown = [parsed(share.rstrip("%")) / 100 for share in page.locator(".bars b").all_inner_texts()]
    np.testing.assert_allclose(shown, expected, atol=1e-2)
    assert outputs[-1].argmax() == 3
    content = page.locator(".pad").evaluate("pad => pad.toDataURL().split(',')[1]")
    by_python = ml.to_mnist(base64.b64decode(content)).numpy()
    assert np.abs(digit.astype(float) - by_python).mean() < 2
    assert [figure.inner_text() for figure in page.locator(".steps figure").all()] == [
        "ink found",
        "cropped",
        "pen, if thin, wider",
        "28×28, centred",
    ]


def test_the_verdict_is_live_while_the_pen_is_down(shared):
    page = shared("shipped")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".verdict")).to_have_text("Nothing to read yet.")
    expect(page.locator(".cell")).to_be_hidden()
    page.evaluate(
        """() => {
          window.frames = 0;
          const tick = () => { if (++window.frames) requestAnimationFrame(tick); };
          tick();
        }"""
    )
    verdict = page.locator(".verdict b")
    draw(page, (0.5, 0.2), (0.5, 0.8), steps=6, lift=False)
    expect(verdict).to_have_text("1")
    assert verdict.locator("..").get_attribute("aria-live") == "off"
    box = page.locator(".pad").bounding_box()
    before, start = page.evaluate("[frames, performance.now()]")
    for k in range(40):  # on to a circle through both ends
        angle = np.pi / 2 + 2 * np.pi * k / 39
        page.mouse.move(
            box["x"] + (0.5 + 0.3 * np.cos(angle)) * box["width"],
            box["y"] + (0.5 + 0.3 * np.sin(angle)) * box["height"],
        )
    after, end = page.evaluate("[frames, performance.now()]")
    expect(verdict).not_to_have_text("1")
    assert after - before > 10 * (end - start) / 1000  # ten frames a second, on any machine
    page.evaluate("frames = -1")
    page.mouse.up()
    settled(page)
    assert verdict.locator("..").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("worker", ["there", "missing", "forbidden"])
def test_the_page_thinks_in_another_thread_where_it_may(opened, three, worker):
    before = """{
      const fill = Float32Array.prototype.fill;
      window.computed = 0; // times in the page itself
      Float32Array.prototype.fill = function (...all) { window.computed++; return fill.apply(this, all); };
    }""" + {
        "there": "",
        "missing": "delete window.Worker;",
        "forbidden": """window.Worker = class {
          constructor() { setTimeout(() => this.onerror(new Event("error")), 50); }
          postMessage() {}
        };""",
    }[worker]
    model = networks()["unpadded 5×5"]
    page = opened(model, three, before)
    draw(page, *THREE)
    settled(page)
    digit, outputs = read(page)
    assert (page.evaluate("computed") > 0) == (worker != "there")
    with torch.inference_mode():
        expected = model(ml.normalise(torch.from_numpy(digit)[None]))[0]
    np.testing.assert_allclose(outputs[-1], expected, atol=2e-2)


def test_two_on_a_page_mind_their_own(opened, three):
    page = opened(networks()["dense"], three, views=2)
    _, before = read(page, 0)
    draw(page, *THREE, nth=1)
    settled(page, 1)
    digit, outputs = read(page, 1)
    np.testing.assert_array_equal(read(page, 0)[0], three.images[0].numpy())
    np.testing.assert_array_equal(read(page, 0)[1][-1], before[-1])
    assert digit.any() and (outputs[-1] != before[-1]).any()
    page.get_by_role("button", name="Take this").nth(4).click()
    is_on_the_page(page, three.images[1], 1)


def test_fits_a_phone(opened, three):
    viewport = {"width": 390, "height": 780}
    page = opened(networks()["reference"], three, viewport=viewport, device_scale_factor=2, has_touch=True)
    for scheme, stage in product(("light", "dark"), ("conv1", "conv3", "pool2", "dense1", "dense2")):
        page.emulate_media(color_scheme=scheme)
        page.get_by_role("button", name=stage, exact=True).tap()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for table in page.locator(".cell table").all():
            box = table.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.evaluate("scrollTo(0, 0)")
    draw(page, *THREE)
    settled(page)
    verdict = page.locator(".verdict").bounding_box()
    assert verdict["y"] + verdict["height"] <= 780  # seen while one draws
    for button in page.locator(".buttons button, .samples button").all():
        assert min(button.bounding_box()["width"], button.bounding_box()["height"]) >= 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_for_axe(shared, scheme):
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install axe-core, or set MNISTLAB_AXE to its axe.min.js")
    page = shared("reference")
    page.emulate_media(color_scheme=scheme)
    page.evaluate(AXE.read_text("utf-8"))

    def check(what: str) -> None:
        found = page.evaluate("axe.run().then(({ violations, passes }) => [violations, passes])")
        assert ".explorer" in json.dumps(found) or "shadow" in json.dumps(found), (
            "axe did not look into the shadow root"
        )
        bad = [f"{v['id']}: {v['nodes'][0]['html']}" for v in found[0] if v["impact"] in ("serious", "critical")]
        assert not bad, (what, bad)

    for stage in ("dense2", "conv1", "conv3", "pool1"):
        page.get_by_role("button", name=stage, exact=True).click()
        check(stage)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".verdict")).to_have_text("Nothing to read yet.")
    check("blank")


# The file


def test_the_reference_page_is_small_and_its_own(tmp_path, three):
    one, same, other = (explorer.write(ml.CNN(seed), tmp_path / f"{k}.html", three) for k, seed in enumerate((0, 0, 1)))
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()
    assert one.stat().st_size < 1.5e6
    run = ml.load(ROOT / "models" / "cnn.safetensors")
    assert explorer.write(run, tmp_path / "cnn.html").stat().st_size < 1.5e6
    text = one.read_text("utf-8")
    assert not re.search(r"https?:|src=|url\(|@import", text)
    assert explorer.packed(ml.CNN(0))[1] == explorer.packed(ml.Run(ml.CNN(0)))[1]


def test_its_html_is_well_formed_and_no_name_ends_it(tmp_path, three):
    name = "</script><img src=x onerror=alert(1)>"
    model = nn.Sequential(OrderedDict({"flatten": nn.Flatten(), name: nn.Linear(784, 10)}))
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree = parser.parse(explorer.write(model, tmp_path / "page.html", three).read_text("utf-8"))
    assert not parser.errors and not list(tree.iter("img"))
    assert explorer.INSTEAD in "".join(tree.itertext())
    assert explorer.show(model, three)._repr_html_() == explorer.show(model, three).html


def test_a_name_is_text(opened, three):
    name = "</script><b>bold</b>"
    page = opened(nn.Sequential(OrderedDict({"flatten": nn.Flatten(), name: nn.Linear(784, 10)})), three)
    expect(page.locator(".title button")).to_have_text(name)


def test_a_page_that_fails_leaves_what_was_there(tmp_path, three):
    path = explorer.write(networks()["dense"], tmp_path / "sub" / "page.html", three)
    before = path.read_bytes()
    with pytest.raises(explorer.ExplorerError):
        explorer.write(nn.Sequential(), path, three)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_samples_are_the_first_of_each_class(test_digits):
    given = explorer.samples()
    assert [each["label"] for each in given] == list(range(10))
    for label, each in enumerate(given):
        first = test_digits.images[int((test_digits.labels == label).nonzero()[0])]
        assert base64.b64decode(each["pixels"]) == first.numpy().tobytes()
    unlabelled = explorer.samples(ml.Digits(test_digits.images[:1], None, "mine"))
    assert [each["label"] for each in unlabelled] == [None]


def test_a_network_of_26_letters(opened, offline):
    """Every letter has its row, in order; the surest is named, and so is what it is set against."""
    names = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    model = ml.Compact(1, classes=26).eval()
    digits = ml.Digits(offline.images[:2], torch.tensor([3, 25]), "letters", "test", names)
    page = opened(ml.Run(model, classes=names), digits)
    rows = page.locator(".bars button")
    assert [row.split("\n")[0] for row in rows.all_inner_texts()] == list(names)
    chances = ml.predict(model, digits).probabilities[0]
    first, second = np.argsort(-chances)[:2]
    expect(page.locator(".verdict b")).to_have_text(names[first])
    expect(page.locator(".verdict")).to_contain_text(f"points ahead of {names[second]}")
    expect(rows.nth(int(first))).to_contain_text(f"{100 * chances[first]:.1f}%")
    assert page.locator(".samples button").first.get_attribute("aria-label") == "Take this D"
    rows.nth(int(first)).click()
    choice = page.locator(".sum select")
    expect(choice).to_have_value(str(second))
    assert choice.locator("option").all_inner_texts() == [name for n, name in enumerate(names) if n != first]
    expect(page.locator(".sum")).to_contain_text(f"Why {names[first]} and not ")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".said")).to_contain_text("Draw a sign")
    assert "igit" not in page.locator(".explorer").inner_text()
    for width in (1200, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
