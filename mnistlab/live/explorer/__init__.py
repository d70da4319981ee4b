"""A live page around a network: draw a digit, see every feature map, and the sum behind any cell.

`show(run)` puts it under a cell; it lives on in the exported page, without a kernel, a server or a network.
`write(run, path)` makes one file of it. `widget` has it as a widget that hands pictures to Python.
"""

import base64
import json
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mnistlab.data.digits import MEAN, STD, TEN, Digits
from mnistlab.data.sources import load_digits
from mnistlab.figures import colours
from mnistlab.networks.layers import folded, in_a_row, output_size, sides
from mnistlab.paths import written_whole
from mnistlab.runs import Run

HERE = Path(__file__).parent
INSTEAD = "Here stands a page to draw on, live where scripts may run: in JupyterLab, and in the exported page."
STYLE = """:root { color-scheme: light dark; }
body { max-width: 66rem; margin: 0 auto; padding: .5rem 1rem 3rem; font-family: system-ui, sans-serif; }"""


class ExplorerError(ValueError):
    """A network cannot be explored; the message says which layer is in the way."""


@dataclass(frozen=True, repr=False)
class Page:
    """The explorer as a piece of HTML, for a notebook's output or any page; it fetches nothing.

    network, weights: as `packed` gives them; None and nothing for a pad alone.  digits: as `samples` gives them.
    beside: the mark of a widget that shows the same; while that is alive on the page, this stays hidden.
    """

    network: dict[str, Any] | None
    weights: bytes
    digits: list[dict[str, Any]]
    beside: str = ""

    @cached_property
    def html(self) -> str:
        model = self.network and self.network | {"weights": base64.b64encode(self.weights).decode()}
        beside = f' data-beside="{self.beside}"' if self.beside else ""
        return (
            f'<div class="mnistlab-explorer"{beside}>\n<p>{escape(INSTEAD)}</p>\n'
            f'<script type="text/plain" data-part="module">{module()}</script>\n'
            f'<script type="application/json" data-part="model">{_json(model)}</script>\n'
            f'<script type="application/json" data-part="digits">{_json(self.digits)}</script>\n'
            f"<script>\n{START}\n</script>\n</div>\n"
        )

    def _repr_html_(self) -> str:
        return self.html


def show(run: Run | nn.Sequential | None, digits: Digits | None = None) -> Page:
    """The network, live: on a pad, on the digits that come with it, and cell by cell.

    run: a run, or a sequence of layers in eval mode; weights travel as half floats, batch norms folded in. None for
      a pad alone, which shows how a picture comes into MNIST's form.
    digits: to pick from; by default, beside a network of digits, the first of each class in the test set.
    Raises ExplorerError for layers that it cannot show.
    """
    network, weights = (None, b"") if run is None else packed(run)
    of_digits = run is not None and "classes" not in cast(dict[str, Any], network)
    return Page(network, weights, samples(digits) if digits is not None or of_digits else [])


def write(run: Run | nn.Sequential, path: str | Path, digits: Digits | None = None) -> Path:
    """As `show`, but as a file of its own, to be opened by a double-click; returns `path`."""
    path = Path(path)
    title = "mnistlab · a network at work"
    what = "picture" if isinstance(run, Run) and run.classes != TEN else "digit"
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>How does it read your {what}?</h1>\n"
        "<p>Draw one, and see every number that the network makes of it, each with the sum behind it, "
        "from the pixels to the answer.</p>\n"
        f"{show(run, digits).html}</main>\n</body>\n</html>\n"
    )
    with written_whole(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


@cache
def module() -> str:
    """The explorer as one JavaScript module: `mount(element, model, options)`, and `render` for anywidget."""
    from mnistlab.reading import picture  # here, because it brings OpenCV

    files = ("network.js", "explorer.js", "explorer.css")
    network, explorer, style = ((HERE / name).read_text(encoding="utf-8") for name in files)
    style = f":host {{ {colours.CSS} }}\n{style}"
    drawn = {"BLUE": colours.BLUE, "ORANGE": colours.ORANGE, "GREEN": colours.GREEN}
    return (
        f"const STYLE = {json.dumps(style)};\n"
        f"const COLOURS = {json.dumps(drawn)};\nconst SEEN = {picture.SIZE};\n"
        f"const thinking = () => {{\n{picture.script()}\n{network}\nreturn {{ prepare, Network }};\n}};\n"
        f"\n{explorer}"
    )


def packed(run: Run | nn.Sequential) -> tuple[dict[str, Any], bytes]:
    """What `mount` takes for a model, and its weights: half floats, stage by stage, weights before biases."""
    run = run if isinstance(run, Run) else Run(run)
    if run.data.get("form") == "plain":
        raise ExplorerError(
            "This network learned pictures that were only shrunk, and the page brings each into MNIST's form."
        )
    model, temperature = run.model, run.temperature
    layers = _layers(model)
    row = folded(nn.Sequential(*(layer for _, layer in layers)))
    stages: list[dict[str, Any]] = []
    weights: list[Tensor] = []
    shape = (1, 28, 28)
    for number, layer in row.named_children():
        name = layers[int(number)][0]
        if isinstance(layer, nn.ReLU):
            if not stages:
                raise ExplorerError(f"{name} has no layer before it whose cells it could rectify.")
            stages[-1]["relu"] = True
        elif not isinstance(layer, nn.Flatten | nn.Identity):
            stage, numbers = _stage(name, layer, shape)
            shape = stage["shape"]
            stages.append(stage)
            weights += numbers
    if not stages:
        raise ExplorerError("This network has no layers.")
    if shape != (len(run.classes), 1, 1):
        raise ExplorerError(
            f"The network must end with {len(run.classes)} logits, one for each class, but {name} gives "
            f"{'×'.join(map(str, shape))} numbers."
        )
    with np.errstate(over="ignore"):
        content = np.concatenate([tensor.detach().float().cpu().numpy().ravel() for tensor in weights]).astype("<f2")
    if not np.isfinite(content).all():
        raise ExplorerError("A weight is too large for a half float, 65,504, or no number.")
    names = {} if run.classes == TEN else {"classes": list(run.classes)}
    return {"stages": stages, "mean": MEAN, "std": STD, "temperature": temperature, **names}, content.tobytes()


def _layers(model: nn.Module, within: str = "") -> list[tuple[str, nn.Module]]:
    """The layers of a sequence, and of sequences within it, in one row, under PyTorch's names for them."""
    if not in_a_row(model):
        raise ExplorerError(
            f"The explorer follows layers one after the other, and {type(model).__name__} is no nn.Sequential. "
            f"Give it a part that is one, such as an ensemble's members[0]."
        )
    rows = [(f"{within}{name}", layer) for name, layer in model._modules.items()]  # twice, if it occurs twice
    return [
        part
        for name, layer in rows
        for part in (_layers(layer, f"{name}.") if isinstance(layer, nn.Sequential) else [(name, layer)])
    ]


def _stage(name: str, layer: nn.Module, shape: tuple[int, int, int]) -> tuple[dict[str, Any], list[Tensor]]:
    """What `mount` is told of a layer that is given cells of `shape`, and its weights."""
    maps, rows, columns = shape
    size = maps * rows * columns
    if isinstance(layer, nn.Linear):
        _fit(name, "numbers", layer.in_features, size)
        return {"name": name, "kind": "dense", "shape": (layer.out_features, 1, 1)}, _with_bias(layer)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_mean is not None:
        _fit(name, "numbers", layer.num_features, size if isinstance(layer, nn.BatchNorm1d) else maps)
        factors = (layer.weight if layer.affine else 1) / (cast(Tensor, layer.running_var) + layer.eps).sqrt()
        shifts = (layer.bias if layer.affine else 0) - layer.running_mean * factors
        return {"name": name, "kind": "norm", "shape": shape, "factors": layer.num_features}, [factors, shifts]
    kind = {nn.Conv2d: "conv", nn.MaxPool2d: "maxpool", nn.AvgPool2d: "avgpool"}.get(type(layer))
    if kind is None or not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        raise ExplorerError(f"The explorer cannot show {name}, a {type(layer).__name__}.")
    try:
        window = sides(layer)
        kernel, stride, padding, _ = (one for one, _ in window)
        height, width = (output_size(n, kernel, stride, padding) for n in (rows, columns))
    except ValueError as error:
        raise ExplorerError(f"The explorer cannot show {name}. {error}") from error
    for part, (one, other) in window._asdict().items():
        if one != other or (part == "padding" and one and kind != "conv"):
            raise ExplorerError(f"The explorer shows square windows, and no padded pools: not the {part} of {name}.")
    usual = {"dilation": 1, "groups": 1, "ceil_mode": False, "padding_mode": "zeros", "divisor_override": None}
    for part, value in usual.items():
        if getattr(layer, part, value) not in (value, (value, value)):
            raise ExplorerError(f"The explorer knows no {part} such as that of {name}.")
    stage = {"name": name, "kind": kind, "kernel": kernel, "stride": stride, "padding": padding}
    if not isinstance(layer, nn.Conv2d):
        return stage | {"shape": (maps, height, width)}, []
    _fit(name, "maps", layer.in_channels, maps)
    return stage | {"shape": (layer.out_channels, height, width)}, _with_bias(layer)


def _fit(name: str, what: str, wanted: int, given: int) -> None:
    if wanted != given:
        raise ExplorerError(f"{name} takes {wanted} {what}, but is given {given}.")


def _with_bias(layer: nn.Conv2d | nn.Linear) -> list[Tensor]:
    return [layer.weight, torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.cpu()]


def samples(digits: Digits | None = None) -> list[dict[str, Any]]:
    """What `mount` takes for digits to pick from."""
    if digits is None:
        digits = load_digits("test")
        known = [] if digits.labels is None else digits.labels.tolist()
        first = [known.index(label) for label in sorted(set(known))] or range(min(len(digits), 10))
        digits = digits[torch.tensor(first)]
    labels: list[Any] = [None] * len(digits) if digits.labels is None else digits.labels.tolist()
    if digits.labels is not None and digits.classes != TEN:
        labels = digits.names
    pixels = [base64.b64encode(image.cpu().numpy().tobytes()).decode() for image in digits.images]
    return [{"label": label, "pixels": levels} for label, levels in zip(labels, pixels, strict=True)]


# Runs where it stands: in a page, in JupyterLab's output, wherever scripts may.
START = """for (const host of document.querySelectorAll(".mnistlab-explorer:not([data-taken])")) {
  host.dataset.taken = "";
  const part = (name) => host.querySelector(`[data-part=${name}]`).textContent;
  const address = URL.createObjectURL(new Blob([part("module")], { type: "text/javascript" }));
  const model = JSON.parse(part("model"));
  const begin = () => import(address).then(({ mount }) => {
    host.explorer = mount(host, model, { digits: JSON.parse(part("digits")) });
    host.explorer.pick(0);
  });
  if (host.dataset.beside) {  // a widget that shows the same may come to life, or there is no kernel for it
    const alive = () => document.querySelector(`[data-explorer="${host.dataset.beside}"]`);
    const look = setInterval(() => {
      if (alive()) host.hidden = true;
      if (host.hidden || Date.now() > until) clearInterval(look);
    }, 200);
    const until = Date.now() + 60_000;
    setTimeout(() => host.hidden || begin(), 2000);
  } else begin();
}"""


def _json(content: object) -> str:
    return json.dumps(content).replace("<", "\\u003c")  # no layer's name can end the script
