"""The command line: python -m mnistlab data | train | evaluate | predict | animate."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

import mnistlab as ml
from mnistlab.predictions import CLASSES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mnistlab", description=ml.__doc__.splitlines()[0])
    subparsers = parser.add_subparsers(dest="command", required=True)

    subparsers.add_parser("data", help="fetch MNIST into data/ where it is missing, and say what is there")

    train = subparsers.add_parser("train", help="train a network and save it")
    train.add_argument("--out", type=Path, default=ml.home() / "models" / "runs" / "cnn.safetensors")
    train.add_argument("--epochs", type=float, default=ml.TrainConfig.epochs)
    train.add_argument("--learning-rate", type=float, default=ml.TrainConfig.learning_rate)
    train.add_argument("--batch-size", type=int, default=ml.TrainConfig.batch_size)
    train.add_argument("--seed", type=int, default=ml.TrainConfig.seed)
    train.add_argument("--dropout", action="store_true", help="hide random cells while training; it did not pay here")
    train.add_argument("--device", default=ml.TrainConfig.device)
    train.add_argument("--resume", action="store_true", help="keep the unfinished run beside --out, and go on from it")

    evaluate = subparsers.add_parser("evaluate", help="count a checkpoint's errors")
    evaluate.add_argument("checkpoint", type=Path, nargs="?", default=ml.home() / "models" / "cnn.safetensors")
    evaluate.add_argument("--split", choices=("train", "test"), default="test")

    predict = subparsers.add_parser("predict", help="read pictures of digits: files, folders, patterns")
    predict.add_argument("pictures", nargs="+", help="photographs, scans or drawings, one digit each")
    predict.add_argument("--checkpoint", type=Path, default=ml.home() / "models" / "cnn.safetensors")
    predict.add_argument("--csv", type=Path, help="also write the table as CSV")
    predict.add_argument("--json", type=Path, help="also write the table as JSON")
    predict.add_argument("--show-probabilities", action="store_true", help="all ten, and not only the largest")

    animate = subparsers.add_parser("animate", help="film one digit's way through the network")
    animate.add_argument("--digit", type=int, choices=range(10), default=7, help="the first test digit with this label")
    animate.add_argument("--index", type=int, help="or the test digit with this number")
    animate.add_argument("--checkpoint", type=Path, default=ml.home() / "models" / "cnn.safetensors")
    animate.add_argument("--out", type=Path, default=Path("digit.gif"), help="a .gif or a .webp (default: digit.gif)")

    options = parser.parse_args(arguments)
    commands = {"data": _data, "train": _train, "evaluate": _evaluate, "predict": _predict, "animate": _animate}
    try:
        commands[options.command](options)
    except (ml.DataError, ml.CheckpointError, ml.TrainingError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _data(options: argparse.Namespace) -> None:
    for split in ("train", "test"):
        print(ml.load_digits(split))


def _train(options: argparse.Namespace) -> None:
    if options.out.suffix != ".safetensors":  # said before the training, not after it
        raise ValueError(f"--out must name a *.safetensors file, not {options.out.name}.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    train, val = ml.load_digits("train").split(0.15, seed=0)
    print(f"training on {train}")
    config = replace(
        ml.TrainConfig(),
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        seed=options.seed,
        dropout=options.dropout,
        device=options.device,
    )
    state = options.out.with_suffix(".state") if options.resume else None
    run = ml.fit(ml.CNN(options.seed), train, val, config, state=state)
    result = ml.evaluate(run.model, val)
    run.metrics["val"] = result.card()
    print(f"{run.save(options.out)}: {_said(result)} on {val}")


def _evaluate(options: argparse.Namespace) -> None:
    digits = ml.load_digits(options.split)
    result = ml.evaluate(ml.load(options.checkpoint).model, digits)
    print(f"{options.checkpoint}: {_said(result)} on {digits}")


def _predict(options: argparse.Namespace) -> None:
    predictions = ml.Predictor.load(options.checkpoint).predict(options.pictures)
    table = predictions.table
    columns = [c for c in table.columns if options.show_probabilities or c not in CLASSES]
    for (_, row), chances in zip(table.iterrows(), predictions.probabilities, strict=True):
        read = "" if pd.isna(row["prediction"]) else f"{row['prediction']} ({row['confidence']:.1%} sure)  "
        print(f"{row['file']}: {read}{row['error'] or row['warning']}".rstrip())
        if options.show_probabilities and read:
            print("    " + "  ".join(f"{digit}: {chance:.1%}" for digit, chance in enumerate(chances)))
    for path, write in ((options.csv, predictions.to_csv), (options.json, predictions.to_json)):
        if path:
            print(write(path, columns))


def _animate(options: argparse.Namespace) -> None:
    ml.films.kind_of(options.out)  # refuses another ending before the work, not after it
    digits = ml.load_digits("test")
    index = options.index
    if index is None:
        index = int((digits.labels == options.digit).nonzero()[0])
    elif not 0 <= index < len(digits):
        raise ValueError(f"There is no test digit {index}; there are 0 to {len(digits) - 1}.")
    trace = ml.trace(ml.load(options.checkpoint).model, digits.images[index], int(digits.labels[index]))
    film = ml.films.forward(trace)
    path = film.save(options.out)
    print(f"{path}: {film.seconds:.0f} s; test digit {index}, a {trace.truth}, read as {trace.prediction}")


def _said(result: ml.Evaluation) -> str:
    low, high = result.interval
    return f"{result.errors} wrong, {result.accuracy:.2%} (95%: {low:.2%} to {high:.2%})"


if __name__ == "__main__":
    sys.exit(main())
