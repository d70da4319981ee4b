"""Text that would run in a page, were it not escaped: in names, labels, captions and cards, on every page of ours."""

import json
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from safetensors.torch import save
from torch import nn

import mnistlab as ml
from mnistlab.live import explorer
from mnistlab.shipping import export
from tests.trust import hostile

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAME = "\"'><img data-evil src=x onerror=alert(1)>${alert(2)}$\\frac{$"  # that a file may have, too
EVIL = f"</p></style></title></textarea></script><script data-evil>alert(3)</script>{NAME}[x](javascript:alert(4))"
# What of it has come alive: elements that were made of text, and links that would run.
ALIVE = """() => {
  const found = [], look = (root) => {
    for (const one of root.querySelectorAll("[data-evil], a[href^='javascript:']")) found.push(one.outerHTML);
    for (const one of root.querySelectorAll("*")) if (one.shadowRoot) look(one.shadowRoot);
  };
  look(document);
  return found;
}"""
# Every button, for whatever it shows.
PRESS = """() => {
  const press = (root) => {
    for (const one of root.querySelectorAll("*")) {
      if (one.shadowRoot) press(one.shadowRoot);
      if (one.matches("button, summary")) one.click();
    }
  };
  press(document);
}"""
# A notebook such as a class might make of files that anyone handed in.
CELLS = """
from pathlib import Path
import mnistlab as ml
from mnistlab.course.check import Verdict
from mnistlab.figures import plots
from mnistlab.live import player
folder, name, evil = Path("handed in"), {name!r}, {evil!r}
predictions = ml.Predictor.load().predict_all("handed in/*.[jp][pn]g")
predictions.table
---
digits = ml.load_digits("train", folder / name)
print(digits)
digits
---
plots.digit_grid(digits[:2], name, [name, evil])
---
plots.picture_row({{name: digits.images[0, 0]}}, evil, digits)
---
Verdict("not yet", evil)
---
from IPython.display import HTML
from PIL import Image
import io
film = io.BytesIO()
Image.new("L", (96, 54)).save(film, "webp", save_all=True, append_images=[Image.new("L", (96, 54), 9)])
HTML(player.html(film.getvalue(), evil, [(0, evil), (1, name)]))
---
run = ml.load(folder / "it.safetensors")
print(run.data, run.metrics)
run.history
---
from mnistlab.live import explorer
explorer.show(run, digits[:3])
"""


def pages(home: Path) -> list[Path]:
    """Pages around text of ill will, written below `home`, which MNISTLAB_HOME must name."""
    folder = home / "notebooks" / "handed in"
    folder.mkdir(parents=True)
    repository = Path(ml.__file__).parents[1]
    (home / "models").symlink_to(repository / "models")
    shutil.copy(repository / "data" / "samples" / "photo_ruled_9_2.jpg", folder / f"{NAME.replace('/', '')}.jpg")
    (folder / f"{NAME.replace('/', '')}.png").write_text("no picture")
    checkpoint, network = _checkpoint(folder), _network()
    found = [
        export.write(ml.load(checkpoint), home / f"{NAME.replace('/', '')}.html"),
        explorer.write(network, home / "network.html", ml.load_digits("test", "offline")[:3]),
    ]
    return [*found, _named_classes(home), _site(home)]


def came_alive(browser: "Browser", page: Path) -> list[str]:
    """What of the text ran, or became more than text, in a real browser."""
    context = browser.new_context()
    found: list[str] = []
    try:
        tab = context.new_page()
        tab.on("dialog", lambda d: (d.type == "alert" and found.append(f"alert: {d.message}"), d.dismiss()))
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate(PRESS)
        tab.wait_for_timeout(1000)
        return found + tab.evaluate(ALIVE)
    finally:
        context.close()


def _checkpoint(folder: Path) -> Path:
    """With ill will wherever a card holds words."""
    run = ml.Run(ml.LeNet().eval(), ml.TrainConfig())
    path, card = folder / "it.safetensors", run.card()
    card |= {name: {EVIL: EVIL} for name in ("data", "hardware", "versions")}
    card |= {"metrics": {EVIL: {EVIL: [EVIL]}}, "date": EVIL, "history": [{"step": 1, EVIL: EVIL}], EVIL: EVIL}
    path.write_bytes(save(run.model.state_dict(), {"card": json.dumps(card)}))
    return path


def _named_classes(folder: Path) -> Path:
    """A live page, and what a run says of itself, for classes that are called so."""
    classes = (NAME, EVIL, *"abcdefgh")
    run = ml.Run(ml.LeNet().eval(), classes=classes)
    digits = ml.load_digits("test", "offline")[:2]
    digits = ml.Digits(digits.images, [0, 1], EVIL, "test", classes)
    page = explorer.write(run, folder / "classes.html", digits)
    page.write_text(page.read_text("utf-8").replace("</main>", f"{run._repr_html_()}</main>"), "utf-8")
    return page


def _network() -> nn.Sequential:
    """With layers of ill names; PyTorch allows all but the dot."""
    layers = OrderedDict()
    for number, layer in enumerate((nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(144, 10))):
        layers[f"{number}{EVIL}"] = layer
    return nn.Sequential(layers).eval()


def _site(home: Path) -> Path:
    """A notebook that was run, as `make html` renders it."""
    from tools import build_notebooks, build_site

    folder = home / "notebooks"
    digits = folder / "handed in" / NAME.replace("/", "")
    digits.mkdir()
    ours = ml.load_digits("train", "offline")[:10]
    contents = hostile.idx(ours.images[:, 0].numpy(), ours.labels.numpy())
    for kind, content in zip(("images-idx3", "labels-idx1"), contents, strict=True):
        (digits / f"train-{kind}-ubyte").write_bytes(content)
    cells = [nbformat.v4.new_markdown_cell("# 00 · What was handed in")]
    cells += [nbformat.v4.new_code_cell(cell) for cell in CELLS.format(name=digits.name, evil=EVIL).split("---\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    path = folder / "00_handed_in.ipynb"
    nbformat.write(notebook, path)
    notebook = build_notebooks.execute(path)
    nbformat.write(notebook, path)
    (home / "visualizations").mkdir()
    for name, png in build_notebooks.figures(notebook):
        (home / "visualizations" / f"{name}.png").write_bytes(png)
    build_site.main()
    return home / "site" / "00_handed_in.html"
