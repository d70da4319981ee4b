"""Do writers who are in both parts of a split flatter the validation score?

    python -m benchmarks.writers [pairs]

For each seed the training set is split twice, at random and by writer, a network is trained on each larger part with
TrainConfig.quick(), and its errors are counted on the part set aside and on the test set, whose writers it never met.
A seed decides the splits and the training, and chooses nothing. Results go to benchmarks/results/writers.json, and an
interrupted call goes on where it was. It needs QMNIST's label files, takes about a minute a pair on one core, and is
not part of `make bench`.
"""

import json
import sys
from dataclasses import asdict
from itertools import product

import mnistlab as ml
from benchmarks.measuring import RESULTS, machine, mnist, write
from mnistlab.data.sources import writers


def main(pairs: int) -> None:
    train, test = mnist("train"), mnist("test")
    hands = writers(train)
    if hands is None:
        raise SystemExit("Put QMNIST's label files in a folder qmnist beside the one that holds MNIST.")
    file = RESULTS / "writers.json"
    runs = json.loads(file.read_text())["runs"] if file.exists() else []
    done = {(row["seed"], row["set aside"]) for row in runs}
    for seed, (kind, groups) in product(range(pairs), {"at random": None, "by writer": hands["writer"]}.items()):
        if (seed, kind) in done:
            continue
        rest, aside = train.split(0.15, seed, groups)
        run = ml.fit(ml.CNN(seed), rest, config=ml.TrainConfig.quick(seed=seed), show_progress=False)
        row = {"seed": seed, "set aside": kind}
        for part, digits in (("validation", aside), ("test", test)):
            row |= {f"{part}_errors": ml.evaluate(run.model, digits).errors, f"{part}_count": len(digits)}
        runs.append(row)
        print(row, flush=True)
        write("writers", {"machine": machine(), "config": asdict(ml.TrainConfig.quick()), "runs": runs})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
