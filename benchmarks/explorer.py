"""What the explorer costs: the size of its page, and how long a browser takes for a picture and for the network.

    python -m benchmarks.explorer [turns]

In headless Chromium, in a worker as on the page, the shipped reference network reads MNIST test digits, and drawings
of 280×280 come into MNIST's form; beside it, in alternation, eager PyTorch reads the same digits one by one. Results
go to benchmarks/results/explorer.json. It takes a minute.
"""

import argparse
import base64
import json
import re
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

import mnistlab as ml
from benchmarks.measuring import machine, mnist, write
from mnistlab.live import explorer
from tools.browser import launched
from tools.pictures import on_canvas

WORKER = """
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const { prepare, Network } = thinking();
let network;
onmessage = ({ data: [what, given, weights] }) => {
  const start = performance.now();
  let result = null;
  if (what === "network") network = new Network(given, bytes(weights));
  if (what === "digit") result = [...network.forward(bytes(given)).at(-1)];
  if (what === "drawing") result = prepare(Uint8ClampedArray.from(bytes(given), (v) => v), 280, 280).digits.length;
  postMessage([performance.now() - start, result]);
};
"""
PAGE = """(script) => {
  const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  window.call = (message) => new Promise((done, failed) => {
    worker.onerror = ({ message }) => failed(new Error(message));
    worker.onmessage = ({ data }) => done(data);
    worker.postMessage(message);
  });
}"""


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def drawing(image: np.ndarray) -> str:
    """A digit as the pad has it: dark on white, red, green, blue and opacity of 280×280 pixels."""
    grey = 255 - np.asarray(on_canvas(image, np.random.default_rng(0)))
    return text(np.dstack([grey, grey, grey, np.full_like(grey, 255)]).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="What the explorer costs.")
    parser.add_argument("turns", nargs="?", type=int, default=200)
    turns = parser.parse_args().turns
    run = ml.load(ml.home() / "models" / "cnn.safetensors")
    digits = mnist("test")[:turns]
    about, weights = explorer.packed(run)
    milliseconds: dict[str, list[float]] = {"forward": [], "preparation": [], "torch": []}
    apart = 0.0
    with TemporaryDirectory() as folder, launched() as browser, torch.inference_mode():
        path = explorer.write(run, f"{folder}/page.html")
        page = browser.new_page()
        page.goto(path.as_uri())
        page.evaluate(PAGE, re.sub("^export .*", "", explorer.module(), flags=re.MULTILINE) + WORKER)
        call = "message => call(message)"
        page.evaluate(call, ["network", about, text(weights)])
        for turn in range(-20, turns):  # the first ones only warm up
            image = digits.images[turn]
            forward, logits = page.evaluate(call, ["digit", text(image.numpy().tobytes())])
            start = perf_counter()
            expected = run.model(ml.normalise(image[None]))[0]
            eager = 1e3 * (perf_counter() - start)
            preparation, found = page.evaluate(call, ["drawing", drawing(image[0].numpy())])
            if turn < 0:
                continue
            assert found >= 1, "a drawing had no ink"
            apart = max(apart, float((torch.tensor(logits) - expected).abs().max()))
            for name, taken in {"forward": forward, "preparation": preparation, "torch": eager}.items():
                milliseconds[name].append(taken)
        size, version = path.stat().st_size, browser.version
    result = {
        "turns": turns,
        "chromium": version,
        "page_bytes": size,
        "milliseconds": {name: round(median(taken), 2) for name, taken in milliseconds.items()},
        "ninth_decile": {name: round(float(np.quantile(taken, 0.9)), 2) for name, taken in milliseconds.items()},
        "largest_logit_difference": apart,
    }
    print(json.dumps(result, indent=1))
    write("explorer", {"machine": machine(), **result})


if __name__ == "__main__":
    main()
