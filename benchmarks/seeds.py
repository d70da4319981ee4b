"""How much does chance decide? The recipe of notebook 03, trained from five seeds, each scored once on test.

    python benchmarks/seeds.py

Results go to benchmarks/results/seeds.json, from which notebook 03 draws its error bar.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import mnistlab as ml
from mnistlab.paths import written_whole

CONFIG = ml.TrainConfig(epochs=3)
SEEDS = range(5)


def main() -> None:
    digits, test = ml.load_digits("train"), ml.load_digits("test")
    if not digits.is_mnist:
        raise SystemExit(f"This is measured on MNIST, not on {digits.source}.")
    train, val = digits.split(0.15, seed=0)
    rows = []
    for seed in SEEDS:
        run = ml.fit(ml.CNN(seed), train, val, replace(CONFIG, seed=seed), show_progress=False)
        end = run.history.iloc[-1]
        result = ml.evaluate(run.model, test)
        rows.append(
            {
                "seed": seed,
                "val_errors": round((1 - end.val_accuracy) * len(val)),
                "test": result.card(),
                "seconds": round(float(end.seconds), 1),
            }
        )
        print(rows[-1], flush=True)
    result = {
        "trained_on": repr(train),
        "config": asdict(CONFIG),
        "hardware": run.hardware,
        "versions": run.versions,
        "runs": rows,
    }
    with written_whole(Path(__file__).parent / "results" / "seeds.json") as part:
        part.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
