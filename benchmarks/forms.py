"""One network in every form that it can be handed on in: bytes, errors and speed, side by side.

    python -m benchmarks.forms [rounds]

The shipped reference network, as PyTorch has it and as `mnistlab export` writes it, reads the 10,000 test digits, each
form in a process of its own and all in turn. Every form is given raw pixels, so each has the same work to do. The
page for a browser is only weighed here; explorer.py times it where it runs. Results: benchmarks/results/forms.json.
It takes two minutes and wants an otherwise idle machine.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

import mnistlab as ml
from benchmarks.contest import contest
from benchmarks.measuring import RESULTS, machine, mnist, write
from mnistlab.hardware import keep_freed_memory
from mnistlab.shipping import export

CHECKPOINT = ml.home() / "models" / "cnn.safetensors"
FILES = {
    "torch.export program": "net.pt2",
    "ONNX float32": "net.onnx",
    "ONNX int8": "net.int8.onnx",
    "explorer page": "page.html",
}
REPEATS = {1: 300, 64: 20, 1000: 3}


def timed(logits: Callable[[Tensor], Tensor]) -> Callable[[int, int], list[float] | int]:
    """A contestant: (batch, repeats) gives the seconds of each reading, (0, 0) the errors on the test set."""
    keep_freed_memory()
    test = mnist("test")

    def act(batch: int, repeats: int) -> list[float] | int:
        if not batch:
            answers = torch.cat([logits(images).argmax(1) for images in test.images.split(1000)])
            return int((answers != test.labels).sum())
        images, seconds = test.images[:batch], []
        for _ in range(repeats):
            start = time.perf_counter()
            logits(images)
            seconds.append(time.perf_counter() - start)
        return seconds

    return act


def eager() -> Callable:
    model = ml.load(CHECKPOINT).model
    return timed(torch.no_grad()(lambda images: model(ml.normalise(images))))


def folded(precision: torch.dtype = torch.float32) -> Callable:
    last = torch.channels_last
    model = ml.folded(ml.load(CHECKPOINT).model).to(precision, memory_format=last)
    return timed(torch.inference_mode()(lambda images: model(ml.normalise(images).to(precision, memory_format=last))))


def exported(path: Path) -> Callable:
    read = export.load(path)
    return timed(lambda images: read(images)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes, errors and speed of every form of one network.")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    rounds = parser.parse_args().rounds
    run = ml.load(CHECKPOINT)
    forms = {
        "PyTorch eager": eager,
        "PyTorch folded": folded,
        "PyTorch folded, bfloat16": partial(folded, torch.bfloat16),
    }
    measured = {name: {"bytes": CHECKPOINT.stat().st_size, "file": CHECKPOINT.name} for name in forms}
    with TemporaryDirectory() as folder:
        for name, file in FILES.items():
            path = export.write(run, f"{folder}/{file}")
            measured[name] = {"bytes": path.stat().st_size, "file": file}
            if path.suffix != ".html":
                forms[name] = partial(exported, path)
        taken = {name: {batch: [] for batch in REPEATS} for name in forms}
        with contest(**forms) as contestants:
            for name, contestant in contestants.items():
                measured[name]["errors"] = contestant.call(0, 0)[1]  # and warms it up
            for _ in range(rounds):
                for batch, repeats in REPEATS.items():
                    for name, contestant in contestants.items():
                        taken[name][batch] += contestant.call(batch, repeats)[1]
    for name, batches in taken.items():
        latency = {f"p{p}": round(float(np.percentile(batches[1], p)) * 1e3, 3) for p in (50, 99)}
        speeds = {str(batch): round(batch / statistics.median(seconds)) for batch, seconds in batches.items()}
        measured[name] |= {"milliseconds_a_digit": latency, "digits_a_second": speeds}
    browser = json.loads((RESULTS / "explorer.json").read_text())
    measured["explorer page"] |= {
        "milliseconds_in_a_browser": browser["milliseconds"]["forward"],
        "from": "explorer.json",
    }
    result = {"digits": 10_000, "rounds": rounds, "repeats": REPEATS, "forms": measured}
    print(json.dumps(result, indent=1))
    write("forms", {"machine": machine(), **result})


if __name__ == "__main__":
    main()
