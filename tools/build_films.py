"""Make the five films in animations/ from the shipped network and MNIST's test digits.

    python -m tools.build_films

Which digits: for the confident film the first test digit; for the wrong one, of the test digits that the network gets
wrong and whose label is not on the list of disputed ones, the one whose label it finds least likely. The untrained
network is given the same digit as the confident one. The film of training shows a quick run, on digits that it does
not learn from. films.json beside the films says from which weights they were made.
"""

import json
from copy import deepcopy
from hashlib import md5

import torch
from torch import nn

import mnistlab as ml
from mnistlab.course.disputed import DISPUTED
from mnistlab.paths import written_whole


def main() -> None:
    test, train = ml.load_digits("test"), ml.load_digits("train")
    if not test.is_mnist:
        raise SystemExit("The films are made on MNIST. Connect once and run 'make data'.")
    run = ml.load(ml.home() / "models" / "cnn.safetensors")
    model = run.model
    confident = ml.trace(model, test.images[0], int(test.labels[0]))
    wrong = worst(model, test)
    films = {
        "forward_confident": ml.films.forward(confident),
        "forward_misclassified": ml.films.forward(ml.trace(model, test.images[wrong], int(test.labels[wrong]))),
        "forward_untrained": ml.films.forward(ml.trace(ml.CNN(), confident.digit, confident.truth)),
        "convolution_scan": ml.films.convolution_scan(confident),
        "training": learning(*train.split(0.15, seed=0)),
    }
    made = {"weights_md5": run.card()["weights_md5"], "misclassified": wrong, "gif_md5": {}}
    for name, film in films.items():
        path = film.save(ml.home() / "animations" / f"{name}.gif")
        made["gif_md5"][name] = md5(path.read_bytes()).hexdigest()
        print(f"{path.name}: {len(film.frames)} frames, {film.seconds:.0f} s, {path.stat().st_size / 1e6:.2f} MB")

    with written_whole(ml.home() / "animations" / "films.json") as part:
        part.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def worst(model: nn.Module, digits: ml.Digits) -> int:
    with torch.no_grad():
        logits = torch.cat([model(ml.normalise(images)) for images in digits.images.split(1000)])
    losses = nn.functional.cross_entropy(logits, digits.labels, reduction="none")
    losses[logits.argmax(1) == digits.labels] = 0
    losses[DISPUTED["test digit"].tolist()] = 0
    if not losses.any():
        raise SystemExit("The network makes no undisputed mistake: there is nothing to film for forward_misclassified.")
    return int(losses.argmax())


def learning(train: ml.Digits, val: ml.Digits) -> ml.films.Film:
    snapshots = {}

    def keep(step: int, model: nn.Module) -> None:
        if step & (step - 1) == 0:  # 0, 1, 2, 4, 8, …
            snapshots[step] = deepcopy(model).cpu()

    run = ml.fit(ml.CNN(), train, config=ml.TrainConfig.quick(), watch=keep)
    snapshots[int(run.history["step"].iloc[-1])] = run.model
    return ml.films.training(snapshots, val[:1000])


if __name__ == "__main__":
    main()
