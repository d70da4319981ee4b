"""What is it worth to keep the best epoch, and what does it claim on the digits that chose it?

    python -m benchmarks.keeping

Compact learns from 3,000 of MNIST's training digits for twelve epochs, from ten seeds, under a constant learning rate
and under the triangle. Each epoch is judged on 1,000 validation digits, and counted on the 10,000 test digits, which
choose nothing. The results go to benchmarks/results/keeping.json; on two cores it takes ten minutes.
"""

import statistics
from dataclasses import asdict, replace
from typing import Any

from torch import nn

import mnistlab as ml
from benchmarks.measuring import mnist, write
from mnistlab.training.schedules import best

SEEDS = range(300, 310)
CONFIG = ml.TrainConfig(epochs=12, batch_size=64, learning_rate=2e-3, muon=0.0, augment=None, crop=0.0)
SCHEDULES = ("constant", "triangle")


def main() -> None:
    train, val = mnist("train").split(0.15, seed=0)
    train, val, test = train[:3000], val[:1000], mnist("test")
    found: dict[str, Any] = {}
    for schedule in SCHEDULES:
        config = replace(CONFIG, schedule=schedule)
        runs = [followed(replace(config, seed=seed), train, val, test) for seed in SEEDS]
        found[schedule] = {"config": asdict(config), "runs": runs, **summed(runs, len(val), len(test))}
        print(schedule, {name: found[schedule][name] for name in ("claimed", "worth")}, flush=True)
    write(
        "keeping", {"learned_from": repr(train), "judged_on": repr(val), "counted_on": repr(test), "schedules": found}
    )


def followed(config: ml.TrainConfig, train: ml.Digits, val: ml.Digits, test: ml.Digits) -> dict[str, Any]:
    """One run: after each epoch, loss and errors on the validation digits, and errors on the test digits."""
    steps, on_test = len(train) // config.batch_size, []

    def watch(step: int, model: nn.Module) -> None:
        if step and step % steps == 0:
            on_test.append(ml.evaluate(model, test, precision="auto").errors)

    run = ml.fit(ml.Compact(config.seed), train, val, config, watch=watch, show_progress=False)
    epochs = run.history.dropna(subset="val_loss")
    wrong = ((1 - epochs["val_accuracy"]) * len(val)).round().astype(int).to_list()
    return {"val_loss": epochs["val_loss"].round(5).to_list(), "val_errors": wrong, "test_errors": on_test}


def summed(runs: list[dict[str, Any]], on_val: int, on_test: int) -> dict[str, Any]:
    """In points of accuracy, mean and standard deviation over the runs: what the best epoch gains over the last.

    claimed: on the validation digits that chose it.  worth: on the test digits.  For a choice by loss and by errors.
    """
    gains: dict[str, dict[str, Any]] = {"claimed": {}, "worth": {}, "kept": {}}
    for judge in ("val_loss", "val_errors"):
        kept = [best(run[judge]) for run in runs]
        for name, errors, count in (("claimed", "val_errors", on_val), ("worth", "test_errors", on_test)):
            points = [
                100 * (run[errors][-1] - run[errors][epoch]) / count for run, epoch in zip(runs, kept, strict=True)
            ]
            gains[name][judge] = {"mean": round(statistics.mean(points), 4), "sd": round(statistics.stdev(points), 4)}
        gains["kept"][judge] = [epoch + 1 for epoch in kept]
    return gains


if __name__ == "__main__":
    main()
