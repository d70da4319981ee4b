"""Which settings teach most? Every candidate is judged on the validation split; the test set is not opened.

    python -m benchmarks.recipe quick      one change at a time around TrainConfig.quick(), three seeds each
    python -m benchmarks.recipe default    around TrainConfig(), two seeds each
    python -m benchmarks.recipe length     TrainConfig.quick() at other lengths, three seeds each
    python -m benchmarks.recipe best       around TrainConfig.best(), also judged on digits that are not MNIST's

Results go to benchmarks/results/recipe_<name>.json, and an interrupted call goes on where it was. Every core trains
a network of its own. Each call takes up to an hour on two cores, and is not part of `make bench`.
"""

import json
import sys
from dataclasses import asdict, replace
from multiprocessing import get_context

import torch

import mnistlab as ml
from benchmarks.measuring import RESULTS, mnist, write

quick, default, best = ml.TrainConfig.quick, ml.TrainConfig, ml.TrainConfig.best
FULL = default().augment
STRONG = ml.Augmentation(degrees=12, scale=0.12, shear=0.2, shift=1.5, elastic=1.0, stroke=0.3, ink=0.3)
SEEDS = {"quick": range(3), "length": range(3), "default": range(2), "best": range(2)}
CANDIDATES = {
    "quick": {
        "as it is": quick(),
        "AdamW alone": quick(muon=0.0),
        "AdamW alone, half the learning rate": quick(muon=0.0, learning_rate=4e-3),
        "AdamW alone, warmup 0.25": quick(muon=0.0, warmup=0.25),
        "half of Muon's rate": quick(muon=0.3),
        "Muon's rate 1": quick(muon=1.0),
        "momentum 0.9": quick(momentum=0.9),
        "half the learning rate": quick(learning_rate=4e-3),
        "twice the learning rate": quick(learning_rate=16e-3),
        "warmup 0.3": quick(warmup=0.3),
        "no crop": quick(crop=0.0),
        "crop to the end": quick(crop=1.0),
        "no label smoothing": quick(label_smoothing=0.0),
        "no augmentation": quick(augment=None),
        "twice the augmentation": quick(augment=FULL),
        "dropout": quick(dropout=True),
        "batch 256": quick(batch_size=256),
    },
    "length": {f"{epochs} epochs": quick(epochs=epochs) for epochs in (0.05, 0.08, 0.11, 0.15, 0.2, 0.4)},
    "default": {
        "as it is": default(),
        "AdamW alone": default(muon=0.0),
        "twice Muon's rate": default(muon=0.6),
    },
    "best": {
        "as it is": best(),
        "stronger augmentation": best(augment=STRONG),
        "a third of Muon's rate": best(muon=0.1),
        "dropout": best(dropout=True),
        "twice as long": best(epochs=16),
        "twice as long, stronger augmentation": best(epochs=16, augment=STRONG),
    },
}


def main(name: str) -> None:
    configs = {candidate: asdict(config) for candidate, config in CANDIDATES[name].items()}
    rows = finished(name, configs)
    done = {(row["candidate"], row["seed"]) for row in rows}
    wanted = [(name, candidate, seed) for candidate in configs for seed in SEEDS[name]]
    context = get_context("spawn")  # a fork would inherit PyTorch's threads half-way
    with context.Pool(initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for row, judged in pool.imap(judge, [job for job in wanted if job[1:] not in done]):
            rows.append(row)
            print(row, flush=True)
            known = {row["candidate"]: configs[row["candidate"]] for row in rows}
            write(f"recipe_{name}", {**judged, "configs": known, "runs": rows})


def judge(job: tuple[str, str, int]) -> tuple[dict, dict]:
    """Train one candidate from one seed and count its errors; what it was judged on."""
    name, candidate, seed = job
    train, val = mnist("train").split(0.15, seed=0)
    run = ml.fit(ml.CNN(seed), train, config=replace(CANDIDATES[name][candidate], seed=seed), show_progress=False)
    result = ml.evaluate(run.model, val)
    row = {"candidate": candidate, "seed": seed, "val_errors": result.errors, "val_loss": round(result.loss, 5)}
    others = [ml.load_digits(split, "offline") for split in ("train", "test")]
    if name == "best":
        row["errors_on_scikit_learn"] = sum(ml.evaluate(run.model, other).errors for other in others)
    judged = {"judged_on": repr(val), "count": len(val), "count_scikit_learn": sum(map(len, others))}
    return row, {**judged, "hardware": run.hardware}


def finished(name: str, configs: dict) -> list[dict]:
    """The runs that an earlier call has done with the same settings; delete the file to do them again."""
    file = RESULTS / f"recipe_{name}.json"
    if not file.exists():
        return []
    known = json.loads(file.read_text())
    same = {candidate for candidate, config in configs.items() if known["configs"].get(candidate) == plain(config)}
    return [row for row in known["runs"] if row["candidate"] in same]


def plain(config: dict) -> dict:
    return json.loads(json.dumps(config))


if __name__ == "__main__":
    main(sys.argv[1])
