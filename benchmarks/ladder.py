"""From the loop of the tutorials to ours, one change at a time, side by side: what notebook 10 quotes.

    python -m benchmarks.ladder [floors] [rungs] [schedule] [processes]

Writes benchmarks/results/ladder.json; named parts are measured anew, and the others stay as they are there. Needs
MNIST, an otherwise idle machine and, on two cores, five minutes. All of it runs on the processor.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import mnistlab as ml
from benchmarks import peers
from benchmarks.bench import DIGITS, spread
from benchmarks.contest import Contestant, contest
from benchmarks.measuring import RESULTS, machine, mnist, write
from mnistlab.hardware import keep_freed_memory

CHANGES = {  # each rung is the one before it, and this
    "the tutorial's loop": {},
    "digits in memory": {"in_memory": True},
    "fused optimizer": {"fused": True},
    "channels last": {"layout": torch.channels_last},
    "bfloat16": {"bfloat16": True},
    "memory kept": {"memory_kept": True},
    "dropout by the byte": {"byte_dropout": True},
    "crops of 24×24": {"crop": 24},
    "batches of 256": {"batch_size": 256},
    "compiled": {"compiled": True},
}
RUNGS = {name: dict(chain(*map(dict.items, list(CHANGES.values())[: n + 1]))) for n, name in enumerate(CHANGES)}
# "dropout by the byte", as `fit` is told it
FIT = ml.TrainConfig(epochs=1, batch_size=128, muon=0.0, crop=0.0, augment=None, dropout=True, device="cpu")
LENGTHS, SEEDS = (40, 80, 160), (0, 1)  # steps, and runs of each, with and without a schedule
STEPS, ROUNDS = 5, 6


def batches(in_memory: bool, batch_size: int, crop: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised images and labels, without end."""
    if not in_memory:
        while True:
            yield from DataLoader(peers._mnist(), batch_size, shuffle=True)
    train, order = mnist("train"), torch.Generator().manual_seed(0)
    while True:
        for images, labels in train.batches(batch_size, order):
            yield ml.normalise(images[..., :crop, :crop]), labels


def network(seed: int, byte_dropout: bool, layout: torch.memory_format) -> nn.Module:
    model = ml.CNN(seed).train().to(memory_format=layout)
    for name, layer in model.named_children():
        if isinstance(layer, nn.Dropout) and not byte_dropout:
            setattr(model, name, nn.Dropout(layer.p))
    return model


def stepping(
    *,
    in_memory: bool = False,
    fused: bool | None = None,
    layout: torch.memory_format = torch.contiguous_format,
    bfloat16: bool = False,
    memory_kept: bool = False,
    byte_dropout: bool = False,
    crop: int = 28,
    batch_size: int = 128,
    compiled: bool = False,
) -> Iterator[float]:
    """A training run that takes a step, and gives its loss, whenever it is asked for the next."""
    if memory_kept:
        keep_freed_memory()
    model = network(0, byte_dropout, layout)
    model = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    for images, labels in batches(in_memory, batch_size, crop):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = model(images.to(memory_format=layout))
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def climber(name: str) -> Callable[[int], str | int]:
    """A contestant: takes so many steps, and gives the number of digits they held, or why it cannot."""
    run = stepping(**RUNGS[name])
    size = RUNGS[name].get("batch_size", 128)

    def act(steps: int) -> str | int:
        try:
            return size * len([next(run) for _ in range(steps)])
        except Exception as error:  # torch.compile needs a C++ compiler, and says so in one of many ways
            if name != "compiled":
                raise
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"

    return act


def library() -> Callable[[int], int]:
    train = mnist("train")

    def act(steps: int) -> int:
        ml.fit(ml.CNN(), train[: 128 * steps], config=FIT, show_progress=False)
        return 128 * steps

    return act


def rungs() -> dict:
    """Seconds an epoch (60,000 digits) of each rung and of `fit`, and how often the first rung's time holds them."""
    first, reason, compiling = next(iter(RUNGS)), None, None
    seconds: dict[str, list[float]] = {name: [] for name in (*RUNGS, "ml.fit")}
    with contest(**{name: partial(climber, name) for name in RUNGS}, **{"ml.fit": library}) as run:
        for name in list(run):
            taken, done = run[name].call(3)
            if name == "compiled":
                compiling = taken
            if isinstance(done, str):
                reason = f"torch.compile did not work here: {done}"
                del seconds[name]
        for _ in range(ROUNDS):
            for name, values in seconds.items():
                if name != "ml.fit":
                    run[name].call(1)  # its own digits and weights back into the caches
                taken, done = run[name].call(STEPS)
                values.append(taken / done * DIGITS)
    ratios = {name: [a / b for a, b in zip(seconds[first], values, strict=True)] for name, values in seconds.items()}
    return {
        "seconds_an_epoch": {name: spread(values) for name, values in seconds.items()},
        "times_as_fast_as_the_first": {name: spread(values) for name, values in ratios.items()},
        "compiled": reason or f"torch.compile took {compiling:.0f} s before the first three steps were done",
    }


def floors() -> dict:
    """Seconds an epoch would take if nothing but its multiply-adds were done, at the rate of large matrix products."""
    forward = int(ml.layer_table(ml.CNN())["multiply_adds"].sum())
    model = ml.CNN().eval()
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(torch.zeros(1, 1, 28, 28)), torch.zeros(1, dtype=torch.int64)).backward()
    step = counter.get_total_flops() // 2
    rates = {}
    for kind in (torch.float32, torch.bfloat16):
        best = 0.0
        for size in (256, 512, 1024):
            one, other = torch.randn(2, size, size).to(kind)
            for _ in range(20):
                start = time.perf_counter()
                one @ other
                best = max(best, size**3 / (time.perf_counter() - start))
        rates[str(kind).removeprefix("torch.")] = best
    return {
        "multiply_adds": {"forward": forward, "forward and backward": step},
        "multiply_adds_a_second": rates,
        "seconds_an_epoch": {kind: step * DIGITS / rate for kind, rate in rates.items()},
    }


# What a schedule buys


def schedule() -> dict:
    """Errors on validation digits after so many steps of TrainConfig.quick(), and of the same without a schedule.

    Without one, the learning rates are the better of those of the recipe and a third of them, by the mean over SEEDS.
    """
    train, val = mnist("train").split(0.15, seed=0)
    epoch_steps = len(train) // 128
    plans = {
        "one learning rate": (("constant", 1.0), ("constant", 1 / 3)),
        "rising and falling": (("triangle", 1.0),),
    }
    found: dict[str, dict[str, float]] = {name: {} for name in plans}
    for (name, tried), steps in product(plans.items(), LENGTHS):
        means = []
        for shape, share in tried:
            config = ml.TrainConfig.quick(epochs=steps / epoch_steps, schedule=shape, device="cpu")
            config = replace(config, learning_rate=share * config.learning_rate, muon=share * config.muon)
            runs = [ml.fit(ml.CNN(n), train, None, replace(config, seed=n), show_progress=False) for n in SEEDS]
            means.append(statistics.mean(ml.evaluate(run.model, val, precision="bfloat16").errors for run in runs))
        found[name][str(steps)] = min(means)
    return {"errors_on_validation": found, "of": len(val), "seeds": SEEDS, "batch_size": 128}


# Two processes


def alone() -> Callable[..., dict | None]:
    torch.set_num_threads(2)
    return fitting()


def one_of_two(meeting: str, rank: int) -> Callable[..., dict | None]:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=Path(meeting).as_uri(), rank=rank, world_size=2)
    return fitting()


def fitting() -> Callable[..., dict | None]:
    """A contestant: so many steps of `fit` to be timed; or, with a precision, the run that notebook 10 shows."""
    train, config = mnist("train"), replace(FIT, batch_size=256)

    def act(steps: int, precision: str = "") -> dict | None:
        if not precision:
            ml.fit(ml.CNN(), train[: 256 * steps], config=config, show_progress=False)
            return None
        small = ml.TrainConfig(epochs=steps / 20, batch_size=64, device="cpu", precision=precision)
        run = ml.fit(ml.Compact(), train[:1280], train[1280:3280], small, row_every=1, show_progress=False)
        history = run.history
        return {"train_loss": list(history["train_loss"]), "val_accuracy": [history["val_accuracy"].iloc[-1]] * steps}

    return act


def together(pair: list[Contestant], *arguments: Any) -> tuple[float, Any]:
    """A call in which both take part: its seconds, and what the first returned."""
    first, second = pair
    second.pipe.send(arguments)
    seconds, result = first.call(*arguments)
    _, other = second.pipe.recv()
    if isinstance(other, Exception):
        raise other
    return seconds, result


def processes() -> dict:
    """Seconds an epoch of `fit`, batches of 256: one process with two threads, and two processes of one thread.

    And what the notebook shows where it cannot start two: the losses of a short run, by one process and by two.
    """
    one, two, steps = [], [], 4 * STEPS
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        workers = {f"worker {rank}": partial(one_of_two, meeting, rank) for rank in (0, 1)}
        with contest(alone=alone, **workers) as run:
            pair = [run[name] for name in workers]
            run["alone"].call(2)
            together(pair, 2)
            for _ in range(ROUNDS):
                one.append(run["alone"].call(steps)[0] / (256 * steps) * DIGITS)
                two.append(together(pair, steps)[0] / (256 * steps) * DIGITS)
            lengths = {"float64": 20, "float32": 80}
            agreement = [
                {kind: run["alone"].call(count, kind)[1] for kind, count in lengths.items()},
                {kind: together(pair, count, kind)[1] for kind, count in lengths.items()},
            ]
    return {
        "seconds_an_epoch": {
            "one process of two threads": spread(one),
            "two processes of one thread": spread(two),
        },
        "times_as_fast_with_two": spread([a / b for a, b in zip(one, two, strict=True)]),
        "agreement": agreement,
    }


PARTS = {part.__name__: part for part in (floors, rungs, schedule, processes)}


def main(names: list[str]) -> None:
    start, path = time.perf_counter(), RESULTS / "ladder.json"
    result = json.loads(path.read_text(encoding="utf-8")) if names else {}
    result |= {"machine": machine(), "rounds": ROUNDS, "steps": STEPS}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # compiled anew, and nothing left behind
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no helpers that outlive the contestant
        for name in names or PARTS:
            result[name] = PARTS[name]()
            print(f"{name}, after {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)
    write("ladder", result if names else result | {"minutes": round((time.perf_counter() - start) / 60, 1)})
    for name, values in result["rungs"]["times_as_fast_as_the_first"].items():
        seconds = result["rungs"]["seconds_an_epoch"][name]["median"]
        print(f"{name:24}{seconds:8.1f} s an epoch{values['median']:8.2f} times")


if __name__ == "__main__":
    main(sys.argv[1:])
