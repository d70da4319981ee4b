"""Does the architecture matter? The relatives side by side, the reference without its parts, and three optimisers.

    python -m benchmarks.relatives [networks] [parts] [shuffled] [sweep] [speed]

All go to benchmarks/results/relatives.json, each part under its own name; an interrupted call goes on where it was.
Every core trains networks of its own; together the parts take an hour on two cores, `speed` a few minutes more on an
otherwise idle machine. The test set is read once a run, except in `sweep`, which is judged on the validation split.
"""

import json
import statistics
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context

import torch
import torch.nn.functional as F
from torch import nn

import mnistlab as ml
from benchmarks.contest import contest
from benchmarks.measuring import RESULTS, machine, mnist, write
from mnistlab.hardware import keep_freed_memory

SEEDS = {"networks": range(300, 305), "shuffled": range(300, 303), "parts": range(300, 303)}  # none chose a setting
WHOLE = ml.TrainConfig(epochs=1, crop=0.0)  # whole digits, because not every network takes crops
PLAIN = replace(WHOLE, augment=None)
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "CNN": ml.CNN,
    "Improved": ml.Improved,
    "Compact": ml.Compact,
    "Simple": ml.Simple,
    "LeNet": ml.LeNet,
    "MLP": ml.MLP,
}


def without_norms(seed: int) -> nn.Sequential:
    """The reference network with nothing in place of its batch norms."""
    layers = ml.CNN(seed).named_children()
    return nn.Sequential(
        OrderedDict((name, layer) for name, layer in layers if not isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d))
    )


Maker = Callable[[int], nn.Module]
RUNS: dict[str, dict[str, tuple[Maker, ml.TrainConfig]]] = {
    "networks": {name: (make, WHOLE) for name, make in NETWORKS.items()},
    "parts": {  # beside "networks", where the CNN is as it is, and "shuffled", where it learns without augmentation
        "without batch norm": (without_norms, WHOLE),
        "with dropout": (ml.CNN, replace(WHOLE, dropout=True)),
        "without a schedule": (ml.CNN, replace(WHOLE, schedule="constant")),
        "without Muon": (ml.CNN, replace(WHOLE, muon=0.0)),
        "without label smoothing": (ml.CNN, replace(WHOLE, label_smoothing=0.0)),
    },
    "shuffled": {
        f"{name}, {order}": (make, PLAIN)
        for order in ("pixels in place", "pixels shuffled")
        for name, make in (("CNN", ml.CNN), ("MLP", ml.MLP))
    },
}
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adam": partial(torch.optim.Adam, fused=True),
    "SGD with momentum": partial(torch.optim.SGD, momentum=0.9, fused=True),
    "RMSprop": torch.optim.RMSprop,
}
RATES = {
    "Adam": (1e-4, 1e-3, 3e-3, 1e-2, 1e-1),
    "SGD with momentum": (1e-3, 1e-2, 3e-2, 1e-1, 1),
    "RMSprop": (1e-5, 1e-4, 1e-3, 3e-3, 1e-2),
}
BATCH_SIZES = (32, 128, 512)
SWEEP_DIGITS, SWEEP_SEEDS = 6400, range(1)


def trained(part: str, name: str, seed: int) -> dict:
    """Train one candidate from one seed and count its errors on the test set."""
    make, config = RUNS[part][name]
    train, test = mnist("train"), mnist("test")
    if "shuffled" in name:  # the same new place for every digit's first pixel, its second, …
        order = torch.randperm(28 * 28, generator=torch.Generator().manual_seed(0))
        train, test = (
            replace(digits, images=digits.images.flatten(1)[:, order].view_as(digits.images))
            for digits in (train, test)
        )
    run = ml.fit(make(seed), train, config=replace(config, seed=seed), show_progress=False)
    return {"name": name, "seed": seed, "errors": ml.evaluate(run.model, test).errors}


def swept(optimiser: str, batch_size: int, rate: float, seed: int) -> dict:
    """The plain loop on a tenth of an epoch, with one of three optimisers, judged on the validation split.

    Rates are constant, and nothing is augmented, so that the three numbers named are all that differs.
    """
    train, val = mnist("train").split(0.15, seed=0)
    model = ml.CNN(seed).to(memory_format=torch.channels_last)
    step = OPTIMISERS[optimiser](model.parameters(), lr=rate)
    keep_freed_memory()
    model.train()
    for layer in model:
        if isinstance(layer, nn.Dropout):
            layer.eval()
    for images, labels in train[:SWEEP_DIGITS].batches(batch_size, torch.Generator().manual_seed(seed)):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ml.normalise(images).contiguous(memory_format=torch.channels_last))
        step.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        step.step()
    errors = ml.evaluate(model, val).errors
    return {
        "optimiser": optimiser,
        "batch_size": batch_size,
        "learning_rate": rate,
        "seed": seed,
        "val_accuracy": 1 - errors / len(val),
    }


def jobs(part: str) -> list[tuple]:
    if part == "sweep":
        return [
            (swept, optimiser, batch_size, rate, seed)
            for seed in SWEEP_SEEDS
            for optimiser, rates in RATES.items()
            for batch_size in BATCH_SIZES
            for rate in rates
        ]
    return [(trained, part, name, seed) for seed in SEEDS[part] for name in RUNS[part]]


def settings(part: str) -> dict:
    """What decides the part's results: stored beside them, and compared before an old result is kept."""
    if part == "sweep":
        chosen = {"rates": RATES, "batch_sizes": BATCH_SIZES, "digits": SWEEP_DIGITS}
    else:
        chosen = {name: asdict(config) for name, (_, config) in RUNS[part].items()}
    return json.loads(json.dumps(chosen))


def done(job: tuple) -> dict:
    return job[0](*job[1:])


def run(part: str, result: dict) -> None:
    """Do what is missing of a part, and write the file after each run."""
    known = result.get(part, {})
    rows = known["runs"] if known.get("settings") == settings(part) else []
    wanted = jobs(part)[len(rows) :]
    with get_context("spawn").Pool(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for row in pool.imap(done, wanted):
            rows.append(row)
            print(row, flush=True)
            result[part] = {"settings": settings(part), "runs": rows}
            write("relatives", result)


# Seconds an epoch


def timed(name: str) -> Callable[[int], int]:
    train, make = mnist("train"), NETWORKS[name]
    ml.fit(make(0), train[:1024], config=WHOLE, show_progress=False)

    def act(count: int) -> int:
        ml.fit(make(0), train[:count], config=WHOLE, show_progress=False)
        return count

    return act


def speed(result: dict, rounds: int = 5, count: int = 2560) -> None:
    """Seconds an epoch of 60,000 digits, from a stretch of it, and its ratio to the reference's: in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in NETWORKS}
    with contest(**{name: partial(timed, name) for name in NETWORKS}) as contestants:
        for _ in range(rounds):
            for name, contestant in contestants.items():
                taken, digits = contestant.call(count)
                seconds[name].append(taken / digits * 60_000)
    result["speed"] = {
        name: {
            "seconds_an_epoch": statistics.median(values),
            "ratio_to_the_reference": statistics.median(
                value / reference for value, reference in zip(values, seconds["CNN"], strict=True)
            ),
        }
        for name, values in seconds.items()
    }


def main(parts: list[str]) -> None:
    file = RESULTS / "relatives.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    for part in parts or [*RUNS, "sweep", "speed"]:
        speed(result) if part == "speed" else run(part, result)
        write("relatives", {**result, "machine": machine()})


if __name__ == "__main__":
    main(sys.argv[1:])
