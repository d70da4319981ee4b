"""Which settings teach most in one epoch? Every candidate is judged on the validation split; test is not opened.

    python benchmarks/recipe.py short      one epoch, one change at a time around the default TrainConfig
    python benchmarks/recipe.py duel       the default against its one serious rival of "short", with eight fresh seeds
    python benchmarks/recipe.py long       16 epochs; the best of these is trained in benchmarks/shipped.py

Results go to benchmarks/results/recipe_short.json, recipe_duel.json and recipe_long.json.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import mnistlab as ml
from mnistlab.paths import written_whole

SHORT = ml.TrainConfig()
LONG = ml.TrainConfig(epochs=16, learning_rate=6e-3, warmup=0.2, dropout=True)
HALF = replace(SHORT, augment=ml.Affine(degrees=5, scale=0.05, shear=0.08, shift=1))
SEEDS = {"short": range(3), "duel": range(3, 11), "long": range(1)}
CANDIDATES = {
    "short": {
        "default": SHORT,
        "half the learning rate": replace(SHORT, learning_rate=4e-3),
        "twice the learning rate": replace(SHORT, learning_rate=16e-3),
        "warmup 0.1": replace(SHORT, warmup=0.1),
        "warmup 0.5": replace(SHORT, warmup=0.5),
        "no label smoothing": replace(SHORT, label_smoothing=0.0),
        "label smoothing 0.1": replace(SHORT, label_smoothing=0.1),
        "no augmentation": replace(SHORT, augment=None),
        "shifts only": replace(SHORT, augment=ml.Affine(degrees=0, scale=0, shear=0, shift=1.5)),
        "half the augmentation": HALF,
        "dropout": replace(SHORT, dropout=True),
        "batch 256": replace(SHORT, batch_size=256),
        "betas 0.9, 0.999": replace(SHORT, betas=(0.9, 0.999)),
    },
    "duel": {"default": SHORT, "half the augmentation": HALF},
    "long": {
        "default": LONG,
        "no dropout": replace(LONG, dropout=False),
        "more augmentation": replace(LONG, augment=ml.Affine(degrees=15, scale=0.15, shear=0.25, shift=2)),
    },
}


def main(length: str) -> None:
    digits = ml.load_digits("train")
    if not digits.is_mnist:
        raise SystemExit(f"Recipes are chosen on MNIST, not on {digits.source}.")
    train, val = digits.split(0.15, seed=0)
    rows = []
    for name, config in CANDIDATES[length].items():
        for seed in SEEDS[length]:
            run = ml.fit(ml.CNN(seed), train, val, replace(config, seed=seed), show_progress=False)
            end = run.history.iloc[-1]
            rows.append(
                {
                    "candidate": name,
                    "seed": seed,
                    "val_errors": round((1 - end.val_accuracy) * len(val)),
                    "val_loss": round(float(end.val_loss), 5),
                    "seconds": round(float(end.seconds), 1),
                }
            )
            print(rows[-1], flush=True)
    result = {
        "judged_on": repr(val),
        "count": len(val),
        "hardware": run.hardware,
        "configs": {name: asdict(config) for name, config in CANDIDATES[length].items()},
        "runs": rows,
    }
    with written_whole(Path(__file__).parent / "results" / f"recipe_{length}.json") as part:
        part.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
