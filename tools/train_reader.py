"""Train the network that reads pictures: TrainConfig.best() on MNIST and on digits written with our own strokes.

    python -m tools.train_reader trial      on 85% of the training set, and every second form: what may be chosen by
    python -m tools.train_reader final      on all of it: models/reader.safetensors, and what is familiar to it

MNIST was written in the United States; a 1 with a long upstroke or a crossed 7 is rare in it. glyphs.py writes such
forms. The trial tells, on digits and on forms it has not seen, whether they help, and finds the temperature and the
limit of familiarity, which the final network takes over. Ten minutes each on one core; an interrupted call goes on.
Results go to the card and to benchmarks/results/reader.json.
"""

import json
import sys
from dataclasses import replace

import numpy as np
import torch

import mnistlab as ml
from benchmarks.measuring import RESULTS, machine, mnist, write
from mnistlab import analysis
from mnistlab.reading.familiarity import Familiarity
from tools.glyphs import FORMS, written

COUNT = 4000
SEEN, UNSEEN = slice(1, None, 2), slice(0, None, 2)  # of the forms of each digit, in the trial
READER = ml.home() / "models" / "reader.safetensors"
CHOSEN = (
    "the recipe of models/cnn.safetensors; 4,000 written digits and temperature chosen on a 15% validation split "
    "(benchmarks/results/reader.json); then all of the training set learned; test read once; seed 0"
)


def strokes(count: int, forms: slice, seed: int) -> ml.Digits:
    """So many digits of our own, every form of every digit alike often, brought to MNIST's form by `to_mnist`."""
    rng = np.random.default_rng(seed)
    labels = torch.arange(count) % 10
    images = []
    for digit in labels.tolist():
        form = str(rng.choice(FORMS[str(digit)][forms]))
        page = np.pad(written(form, rng)(int(rng.integers(60, 160)), float(rng.uniform(0.05, 0.17))), 8)
        images.append(ml.to_mnist((page * 255).round().astype(np.uint8)))
    return ml.Digits(torch.stack(images), labels, "strokes of our own")


def with_strokes(digits: ml.Digits, more: ml.Digits) -> ml.Digits:
    return replace(
        digits,
        images=torch.cat([digits.images, more.images]),
        labels=torch.cat([digits.labels, more.labels]),
        source=f"{digits.source} and {len(more):,} {more.source}",
    )


def trained(digits: ml.Digits, name: str) -> ml.Run:
    return ml.fit(
        ml.CNN(0), digits, config=ml.TrainConfig.best(), state=ml.home() / "models" / "runs" / f"{name}.state"
    )


def features(run: ml.Run, digits: ml.Digits) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([run.model[:-1](ml.normalise(images)) for images in digits.images.split(1000)])


def errors(model: torch.nn.Module, digits: ml.Digits) -> int:
    return ml.evaluate(model, digits).errors


def trial() -> None:
    train, val = mnist("train").split(0.15, seed=0)
    run, plain = trained(with_strokes(train, strokes(COUNT, SEEN, 7)), "reader_trial"), trained(train, "reader_plain")
    unseen = strokes(1000, UNSEEN, 8)
    with torch.no_grad():
        logits = run.model.eval()(ml.normalise(val.images))
    temperature = analysis.temperature(logits, val.labels)
    before, after = (analysis.calibration_error((logits / t).softmax(1), val.labels) for t in (1.0, temperature))
    familiar = Familiarity.of(features(run, train), train.labels)
    limit = float(familiar.distance(features(run, val)).quantile(0.99))
    write(
        "reader",
        {
            "machine": machine(),
            "with_strokes": {"val": errors(run.model, val), "forms_not_learned": errors(run.model, unseen)},
            "without": {"val": errors(plain.model, val), "forms_not_learned": errors(plain.model, unseen)},
            "count": {"val": len(val), "forms_not_learned": len(unseen)},
            "temperature": {"value": temperature, "error_before": before, "error_after": after},
            "familiarity_limit": limit,
        },
    )


def final() -> None:
    train, test = mnist("train"), mnist("test")
    run = trained(with_strokes(train, strokes(COUNT, slice(None), 7)), "reader")
    found = json.loads((RESULTS / "reader.json").read_text(encoding="utf-8"))
    run.metrics = {
        "test": ml.evaluate(run.model, test).card(),
        "temperature": found["temperature"],
        "chosen": CHOSEN,
    }
    run.familiar = Familiarity.of(features(run, train), train.labels, found["familiarity_limit"])
    run.save(READER)
    print(run.metrics["test"])


if __name__ == "__main__":
    {"trial": trial, "final": final}[sys.argv[1]]()
