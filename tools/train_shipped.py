"""Train the networks that are shipped: TrainConfig.best() on all 60,000 training digits, from six seeds.

    python -m tools.train_shipped [seeds]

Seed 0 becomes models/cnn.safetensors, whatever the others do; seeds 0 to 4 together models/ensemble.safetensors.
The test set is read once a run, after the last step. An interrupted call goes on where it was. Results go to the
two cards and to benchmarks/results/shipped.json. With seeds only their training is done, so that two processes of
one thread each can share the work: seeds 0 2 4 and 1 3 5, and at last without seeds, all with OMP_NUM_THREADS=1,
because a run goes on only with the number of threads that it began with.
"""

import os
import statistics
import sys
from itertools import combinations

import torch

import mnistlab as ml
from benchmarks.measuring import machine, mnist, write

SEEDS = range(6)
VOTERS = 5
CHOSEN = (
    "settings on a 15% validation split (benchmarks/results/recipe_best.json); all of the training set learned; "
    "test read once, after the last step; seed 0 is shipped, not the best"
)


def mean_and_std(errors: list[int], count: int) -> dict:
    accuracies = [1 - wrong / count for wrong in errors]
    return {"mean": statistics.mean(accuracies), "std": statistics.stdev(accuracies)}


def trained(seed: int, train: ml.Digits) -> ml.Run:
    state = ml.home() / "models" / "runs" / f"best_{seed}.state"
    return ml.fit(ml.CNN(seed), train, config=ml.TrainConfig.best(seed=seed), state=state)


def main(only: list[int]) -> None:
    train, test = mnist("train"), mnist("test")
    if only:
        for seed in only:
            trained(seed, train)
        return
    others = [ml.load_digits(split, "offline") for split in ("train", "test")]
    models = ml.home() / "models"
    runs = [trained(seed, train) for seed in SEEDS]
    torch.set_num_threads(os.cpu_count() or 1)
    for seed, run in zip(SEEDS, runs, strict=True):
        run.metrics["test"] = ml.evaluate(run.model, test).card()
        run.metrics["other_handwriting"] = {
            "source": others[0].source,
            "errors": sum(ml.evaluate(run.model, other).errors for other in others),
            "count": sum(map(len, others)),
        }
        print(f"seed {seed}: {run.metrics['test']['errors']} errors", flush=True)

    errors = [run.metrics["test"]["errors"] for run in runs]
    single = {"test_errors": errors, **mean_and_std(errors, len(test))}
    runs[0].metrics |= {"chosen": CHOSEN, "all_seeds": single}
    runs[0].save(models / "cnn.safetensors")

    for run in runs:
        run.model.half().float()  # as they will be in the file: the shipped team is the one that is measured
    with torch.inference_mode():
        images = ml.normalise(test.images).split(1000)
        votes = [torch.cat([run.model(part).softmax(1) for part in images]) for run in runs]
    teams = list(combinations(votes, VOTERS))  # they share members, so their spread is no error bar
    team_errors = [int((sum(team).argmax(1) != test.labels).sum()) for team in teams]
    wrong = torch.stack([vote.argmax(1) != test.labels for vote in votes]).sum(0)
    shipped = models.Ensemble([run.model for run in runs[:VOTERS]])
    team = {"test_errors": team_errors, "mean": 1 - statistics.mean(team_errors) / len(test)}
    metrics = {"test": ml.evaluate(shipped, test).card(), "chosen": CHOSEN, "all_teams_of_5_of_6": team}
    ml.Run(shipped.half(), runs[0].config, data=runs[0].data, hardware=runs[0].hardware, metrics=metrics).save(
        models / "ensemble.safetensors"
    )
    write(
        "shipped",
        {
            "machine": machine(),
            "single": single,
            "teams_of_5_of_6": team,
            "other_handwriting": [run.metrics["other_handwriting"] for run in runs],
            "test_digits_that_so_many_seeds_get_wrong": {n: int((wrong == n).sum()) for n in range(1, len(runs) + 1)},
            "test_digits_that_all_get_wrong": (wrong == len(runs)).nonzero().flatten().tolist(),
            "minutes_a_run": round(float(runs[0].history["seconds"].iloc[-1]) / 60, 1),
        },
    )
    print(f"single {single}\nteams {team}")
    assert all(p.dtype == torch.float16 for p in shipped.parameters())


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
