"""Everything that the README and the notebooks say about speed, measured side by side: `make bench`.

    python -m benchmarks.bench [loops] [profile] [accuracy] [cost] [choosing]

Each part writes benchmarks/results/<part>.json; without names all are run. Needs MNIST, an otherwise idle machine
and, on two cores, half an hour.
"""

import statistics
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import mnistlab as ml
from benchmarks import peers
from benchmarks.contest import contest
from benchmarks.measuring import RESULTS, machine, mnist, write
from mnistlab.networks import layers

DIGITS = 60_000
ROUNDS = 5
PLAIN = ml.TrainConfig(batch_size=128, muon=0.0, crop=0.0, augment=None)  # the network at 28×28, nothing left out
LOOPS = {
    "mnistlab, reference network at 28×28, with dropout": replace(PLAIN, dropout=True),
    "mnistlab, reference network at 28×28": PLAIN,
    "mnistlab, 24×24 crops": replace(PLAIN, crop=1.0),
    "mnistlab, TrainConfig.quick()": ml.TrainConfig.quick(),
    "mnistlab, TrainConfig()": ml.TrainConfig(),
}
TARGETS = {
    "99.0%": ml.TrainConfig.quick(epochs=0.11),  # both lengths from recipe_length.json
    "99.5%": ml.TrainConfig.quick(epochs=0.34),
    "99.7%": ml.TrainConfig(),
}
FRESH_SEEDS = range(110, 120)  # no setting was chosen with these
CHOICE_SEEDS = range(200, 212)


def spread(values: list[float]) -> dict:
    """Median, quartiles and the values themselves."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "quartiles": [low, high], "values": [round(value, 6) for value in values]}


# An epoch of each loop


def ours() -> Callable[..., Any]:
    """fit, as a contestant: ("fit", config, seed, count) trains on the first `count` digits; ("errors",) counts."""
    train, test = mnist("train"), mnist("test")
    ml.fit(ml.CNN(), train[:1280], config=ml.TrainConfig(epochs=1), show_progress=False)  # the machine warms up
    done: list[ml.Run] = []

    def act(what: str, config: ml.TrainConfig | None = None, seed: int = 0, count: int = DIGITS) -> int:
        if what == "errors":
            return ml.evaluate(done[0].model, test).errors
        digits = train if count == DIGITS else train[:count]
        done[:] = [ml.fit(ml.CNN(seed), digits, config=replace(config, seed=seed), show_progress=False)]
        return count

    return act


def loops() -> dict:
    """Seconds an epoch (60,000 digits), each from a stretch of it: in turn, ROUNDS times."""
    steps, seconds = 40, {name: [] for name in ("usual loop", "pytorch/examples/mnist", *LOOPS)}
    with contest(usual=peers.usual_loop, example=peers.pytorch_example, ours=ours) as run:
        for name in ("usual", "example"):
            run[name].call(3)
        for _ in range(ROUNDS):
            for name, key in (("usual", "usual loop"), ("example", "pytorch/examples/mnist")):
                taken, count = run[name].call(steps)
                seconds[key].append(taken / count * DIGITS)
            for name, config in LOOPS.items():
                part = replace(config, epochs=1)
                taken, count = run["ours"].call("fit", part, 0, steps * part.batch_size)
                seconds[name].append(taken / count * DIGITS)
    usual = seconds["usual loop"]
    return {
        "seconds_an_epoch": {name: spread(values) for name, values in seconds.items()},
        "times_as_fast_as_the_usual_loop": {
            name: spread([u / v for u, v in zip(usual, values, strict=True)]) for name, values in seconds.items()
        },
    }


# Where a step's time goes

GROUPS = {
    "convolutions, forward": ("convolution", "mkldnn_convolution", "cudnn_convolution"),
    "convolutions, backward": ("convolution_backward",),
    "batch norm": ("native_batch_norm", "native_batch_norm_backward"),
    "ReLU and pooling": ("relu", "threshold_backward", "max_pool2d_with_indices", "max_pool2d_with_indices_backward"),
    "dense layers and Muon": ("mm", "addmm", "t", "div_", "lerp", "lerp_", "linalg_vector_norm"),
    "AdamW": ("_fused_adamw_", "_foreach_add_"),
    "augmentation": ("grid_sampler_2d", "affine_grid_generator", "rand", "cos", "sin", "stack"),
}


class Clock(TorchDispatchMode):
    """Adds up the seconds of every operation that PyTorch runs inside the block, forward and backward, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        start = time.perf_counter()
        result = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return result


def profile() -> dict:
    """Milliseconds of a step of TrainConfig.quick() by kind of operation, crops and all (CPU only)."""
    train, steps = mnist("train"), 60
    config = ml.TrainConfig.quick(epochs=1, device="cpu")
    part = train[: steps * config.batch_size]
    ml.fit(ml.CNN(), part, config=config, show_progress=False)
    start = time.perf_counter()
    ml.fit(ml.CNN(), part, config=config, show_progress=False)
    whole = time.perf_counter() - start
    with Clock() as clock:
        ml.fit(ml.CNN(), part, config=config, show_progress=False)
    grouped = {group: sum(clock.seconds.get(name, 0.0) for name in names) for group, names in GROUPS.items()}
    known = {name for names in GROUPS.values() for name in names}
    grouped["other operations"] = sum(taken for name, taken in clock.seconds.items() if name not in known)
    return {
        "milliseconds_a_step": {group: 1e3 * taken / steps for group, taken in grouped.items()},
        "whole_step_without_the_clock": 1e3 * whole / steps,
        "largest_others": {
            name: 1e3 * taken / steps
            for name, taken in sorted(clock.seconds.items(), key=lambda item: -item[1])
            if name not in known and taken / steps > 1e-4
        },
    }


# Time to accuracy


def published() -> Callable[[str], int | None]:
    train, errors = peers.fastest_published()
    return lambda what: train() if what == "fit" else errors()


def accuracy() -> dict:
    """Each named configuration from ten fresh seeds on all 60,000 digits, beside the usual loop; test read once."""
    usual, rows = [], {name: [] for name in (*TARGETS, "fastest published recipe")}
    with contest(usual=peers.usual_loop, ours=ours, published=published) as run:
        run["usual"].call(3)
        for seed in FRESH_SEEDS:
            taken, count = run["usual"].call(40)
            usual.append(taken / count * DIGITS)
            for name, config in TARGETS.items():
                taken, _ = run["ours"].call("fit", config, seed)
                rows[name].append({"seed": seed, "seconds": taken, "errors": run["ours"].call("errors")[1]})
                print(name, rows[name][-1], flush=True)
            if seed < FRESH_SEEDS[0] + 5:
                taken, _ = run["published"].call("fit")
                rows["fastest published recipe"].append(
                    {"seconds": taken, "errors": run["published"].call("errors")[1]}
                )
        run["usual"].call(469 - 3 - 40 * len(FRESH_SEEDS))  # what is left of its own first epoch
        usual_errors = run["usual"].call(None)[1]
    epoch = statistics.median(usual)
    result = {"usual_epoch_seconds": spread(usual), "usual_errors_after_one_epoch": usual_errors, "to": {}}
    for name, runs in rows.items():
        accuracies = [1 - row["errors"] / 10_000 for row in runs]
        result["to"][name] = {
            "accuracy": {"mean": statistics.mean(accuracies), "std": statistics.stdev(accuracies)},
            "seconds": statistics.median(row["seconds"] for row in runs),
            "share_of_a_usual_epoch": statistics.median(row["seconds"] for row in runs) / epoch,
            "config": asdict(TARGETS[name]) if name in TARGETS else None,
            "runs": runs,
        }
    return result


# What it costs to grow


def widened(factor: float) -> nn.Sequential:
    """The reference network with `factor` times the channels in every layer but the last."""
    scaled, layers = lambda n: n if n in (1, 10) else round(n * factor), {}
    for name, layer in ml.CNN().named_children():
        match layer:
            case nn.Conv2d():
                layer = nn.Conv2d(scaled(layer.in_channels), scaled(layer.out_channels), 3, padding=1)
            case nn.BatchNorm2d() | nn.BatchNorm1d():
                layer = type(layer)(scaled(layer.num_features))
            case nn.Linear():
                layer = nn.Linear(scaled(layer.in_features), scaled(layer.out_features))
        layers[name] = layer
    return nn.Sequential(OrderedDict(layers))


def _megabytes(what: str) -> float:
    """Linux's figure for this process: VmRSS, what it holds, or VmHWM, the most that it held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def growing() -> Callable[[int, float, int], dict]:
    train = mnist("train")
    ml.fit(widened(0.25), train[:64], config=replace(PLAIN, epochs=1, batch_size=32), show_progress=False)
    base = _megabytes("VmRSS")

    def act(count: int, width: float, batch_size: int) -> dict:
        model = widened(width)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        config = replace(PLAIN, epochs=1, batch_size=batch_size)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            ml.fit(model, train[:count], config=config, show_progress=False)
            seconds.append(time.perf_counter() - start)
        return {
            "seconds": statistics.median(seconds),
            "megabytes": _megabytes("VmHWM") - base,
            "multiply_adds": int(layers.layer_table(model)["multiply_adds"].sum()),
            "parameters": sum(p.numel() for p in model.parameters()),
        }

    return act


def cost() -> dict:
    """Seconds and memory of one epoch as digits, width and batch grow, each point in a process of its own."""
    result = {}
    for what, points in {
        "digits": [(count, 1, 128) for count in (1280, 2560, 5120, 10_240)],
        "width": [(5120, width, 128) for width in (0.25, 0.5, 1, 1.5, 2)],
        "batch": [(5120, 1, batch) for batch in (32, 64, 128, 256, 512)],
    }.items():
        result[what] = []
        for count, width, batch in points:
            with contest(point=growing) as run:
                measured = run["point"].call(count, width, batch)[1]
            result[what].append({"digits": count, "width": width, "batch": batch, **measured})
    return result


# What choosing on the test set does to a score


def choosing() -> dict:
    """Twelve seeds of TrainConfig.quick() on 85% of the training set. The best of k of them, chosen on the test set
    or on validation: what is claimed, and what it is worth, over all choices of k seeds."""
    train, val = mnist("train").split(0.15, seed=0)
    test, rows = mnist("test"), []
    half = len(test) // 2
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(test), generator=generator)
    for seed in CHOICE_SEEDS:
        run = ml.fit(ml.CNN(seed), train, config=ml.TrainConfig.quick(seed=seed), show_progress=False)
        parts = [ml.evaluate(run.model, test[order[:half]]).errors, ml.evaluate(run.model, test[order[half:]]).errors]
        rows.append({"seed": seed, "val": ml.evaluate(run.model, val).errors, "halves": parts})
    table = {}
    for k in (1, 2, 3, 6, 9, 12):
        groups = list(combinations(rows, k))
        # Chosen on one half of the test set: the score there is the claim, the score on the other half its worth.
        pairs = [(min(group, key=lambda row: row["halves"][i]), i) for group in groups for i in (0, 1)]
        by_val = [min(group, key=lambda row: row["val"]) for group in groups]
        table[str(k)] = {
            "claimed": 1 - statistics.mean(row["halves"][i] for row, i in pairs) / half,
            "on_digits_not_chosen_on": 1 - statistics.mean(row["halves"][1 - i] for row, i in pairs) / half,
            "chosen_on_validation": 1 - statistics.mean(sum(row["halves"]) for row in by_val) / len(test),
        }
    return {"runs": rows, "best_of": table}


PARTS = {part.__name__: part for part in (loops, profile, accuracy, cost, choosing)}


def main(names: list[str]) -> None:
    mnist("train")
    for name in names or PARTS:
        start = time.perf_counter()
        result = PARTS[name]()
        write(name, {"machine": machine(), **result, "minutes": round((time.perf_counter() - start) / 60, 1)})
        print(f"{RESULTS / name}.json, after {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
