"""The command line: `mnistlab …`, or `python -m mnistlab …`."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import filelock
import pandas as pd
import torch
import torchvision
import typer
from typer import Argument, Option

import mnistlab as ml
from mnistlab.analysis.predictions import CLASSES
from mnistlab.hardware import describe
from mnistlab.networks import models
from mnistlab.shipping import export, report
from mnistlab.training.workers import from_first, together

cli = typer.Typer(
    name="mnistlab",
    help="How a neural network reads a handwritten digit: train one, try it, look inside, take it elsewhere.",
    epilog="Exit codes: 0 done, 1 it could not be done, 2 the command was not understood, 130 stopped by Ctrl-C.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)

Model = StrEnum("Model", {name.__name__: name.__name__.lower() for name in models.RELATIVES})
Device = StrEnum("Device", ["auto", "cpu", "cuda", "mps"])
Precision = StrEnum("Precision", ["auto", "bfloat16", "float32", "float64"])
Split = StrEnum("Split", ["train", "test"])

WHICH = "A checkpoint, or the folder of a run."
Checkpoint = Annotated[Path | None, Option(help=WHICH, show_default="models/cnn.safetensors")]
Reader = Annotated[Path | None, Option(help=WHICH, show_default="models/reader.safetensors")]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code. What went wrong is said in a sentence on stderr."""
    try:
        cli(arguments, prog_name="mnistlab")
    except SystemExit as done:
        return int(done.code or 0)
    except (ImportError, OSError, ValueError, ml.TrainingError) as error:
        typer.echo(f"error: {error}", err=True)
        return 1
    return 0


@cli.command()
def data() -> None:
    """Fetch MNIST where it is missing, and say what is there."""
    for split in ("train", "test"):
        typer.echo(ml.load_digits(split))


@cli.command()
def info() -> None:
    """Check the set-up: versions, device, data, checkpoints."""
    found = describe()
    lines = {
        "mnistlab": ml.__version__,
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, torchvision {torchvision.__version__}",
        "device": f"{found['device']}, {found['precision']}, {found['threads'] or torch.get_num_threads()} threads",
        "home": ml.home(),
        "data": _where(),
    }
    checkpoints = [ml.home() / "models" / f"{name}.safetensors" for name in ("cnn", "reader", "ensemble")]
    for path in checkpoints:
        lines[f"models/{path.stem}"] = path if path.is_file() else "missing: fetch the repository again"
    for name, line in lines.items():
        typer.echo(f"{name:16}{line}")
    if not all(path.is_file() for path in checkpoints):
        raise typer.Exit(1)


def _where() -> str:
    """Which digits there are, without fetching any."""
    if chosen := os.environ.get("MNISTLAB_DATA"):
        return f"{ml.load_digits('train')} and {ml.load_digits('test')}, by MNISTLAB_DATA={chosen}"
    try:
        return f"{ml.load_digits('train', ml.home() / 'data')} in {ml.home() / 'data'}"
    except ml.DataError:
        return "no MNIST yet: run 'mnistlab data' once with a network; without it, scikit-learn's digits stand in"


@cli.command()
def train(
    model: Annotated[Model, Option(help="Which network; notebook 09 compares them.")] = Model.CNN,
    epochs: Annotated[float, Option(help="Times through the training digits; 0.5 stops half-way.")] = 2,
    batch_size: Annotated[int, Option(help="Digits a step, of all processes together.")] = 256,
    learning_rate: Annotated[float, Option(help="AdamW's, at its peak.")] = 8e-3,
    dropout: Annotated[bool, Option("--dropout", help="Hide random cells while training.")] = False,
    device: Annotated[Device, Option(help="auto takes CUDA, else Apple's MPS, else the CPU.")] = Device.auto,
    precision: Annotated[Precision, Option(help="auto takes bfloat16 where the hardware has it.")] = Precision.auto,
    out: Annotated[
        Path | None, Option(help="The folder for all that comes of it.", show_default="models/runs/<model>")
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the unfinished run in --out, if any.")] = False,
    seed: Annotated[int, Option(help="Decides the initial weights and everything drawn at random.")] = 0,
) -> None:
    """Train a network, and keep all that comes of it in a folder.

    It is judged once on the test digits. It writes checkpoint.safetensors with its card, history.csv, metrics.json,
    curves.png, confusion.png and samples.png. A run that was stopped goes on with --resume, and ends as if it had not
    been stopped.

    On several cores or GPUs: torchrun --nproc-per-node=2 -m mnistlab train … --resume
    """
    network = next(network for network in models.RELATIVES if network.__name__ == model.name)
    config = ml.TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=dropout,
        device=device.value,
        precision=precision.value,
        seed=seed,
        crop=ml.TrainConfig.crop if network.takes_crops else 0.0,
    )
    out = out or ml.home() / "models" / "runs" / model
    with together() as me, ExitStack() as stack:
        if me.rank == 0:
            stack.enter_context(_claimed(out))
        if from_first(me.rank == 0 and _finished(out, resume)):
            if me.rank == 0:
                typer.echo(f"{out} holds a finished run; name another --out to train anew.")
            return
        train, val = ml.load_digits("train").split(0.15, seed=0)
        state = out / "unfinished.state"
        try:
            run = ml.fit(network(seed), train, val, config, state=state)
        except KeyboardInterrupt:
            typer.echo(f"Stopped. The same command with --resume goes on from {state}.", err=True)
            raise typer.Exit(130) from None
        if me.rank == 0:
            run.metrics["val"] = ml.evaluate(run.model, val).card()
            files = report.write(run, ml.load_digits("test"), out)
            state.unlink(missing_ok=True)
            typer.echo(f"{_said(run.metrics['test'])} on the test digits")
            for file in files:
                typer.echo(file)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing, and nobody else's as long as the block lasts."""
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise ValueError(f"Another process is training into {folder}; wait for it, or name another --out.") from error
    except OSError as error:
        raise ValueError(f"{folder} cannot be written to ({error.strerror}); name another --out.") from error
    try:
        yield
    finally:
        lock.release()


def _finished(folder: Path, resume: bool) -> bool:
    if (folder / "unfinished.state").exists():
        if not resume:
            raise ValueError(f"{folder} holds an unfinished run; go on with --resume, or name another --out.")
        return False
    if (folder / "checkpoint.safetensors").exists() and not resume:
        raise ValueError(f"{folder} holds a run already, and nothing is overwritten; name another --out.")
    return (folder / report.LAST).exists()


@cli.command()
def evaluate(
    checkpoint: Annotated[Path | None, Argument(help=WHICH, show_default="models/cnn.safetensors")] = None,
    split: Annotated[Split, Option(help="Which digits.")] = Split.test,
) -> None:
    """Count a checkpoint's errors, of all digits and of each."""
    run, digits = _load(checkpoint), ml.load_digits(split)
    typer.echo(f"{_said(ml.evaluate(run.model, digits).card())} on {digits}")
    table = run.predict(digits).table
    per_digit = ml.analysis.per_digit(table["label"], table["prediction"]).drop(columns=["low", "high"])
    typer.echo(per_digit.to_string(float_format="{:.4f}".format))


@cli.command()
def predict(
    pictures: Annotated[list[str], Argument(help="Photographs, scans, drawings: files, folders, patterns.")],
    checkpoint: Reader = None,
    csv: Annotated[Path | None, Option(help="Also write the table as CSV.")] = None,
    json: Annotated[Path | None, Option(help="Also write the table as JSON.")] = None,
    show_probabilities: Annotated[
        bool, Option("--show-probabilities", help="All ten, and not only the largest.")
    ] = False,
) -> None:
    """Read pictures of digits, one digit each. Exit code 1 if none of them could be read."""
    predictions = ml.Predictor.load(_file(checkpoint)).predict(pictures)
    table = predictions.table
    columns = [c for c in table.columns if show_probabilities or c not in CLASSES]
    for (_, row), chances in zip(table.iterrows(), predictions.probabilities, strict=True):
        read = "" if pd.isna(row["prediction"]) else f"{row['prediction']} ({row['confidence']:.1%} sure)  "
        typer.echo(f"{row['file']}: {read}{row['error'] or row['warning']}".rstrip())
        if show_probabilities and read:
            typer.echo("    " + "  ".join(f"{digit}: {chance:.1%}" for digit, chance in enumerate(chances)))
    for path, write in ((csv, predictions.to_csv), (json, predictions.to_json)):
        if path:
            typer.echo(write(path, columns))
    if table["prediction"].isna().all():
        raise typer.Exit(1)


@cli.command()
def animate(
    digit: Annotated[int, Option(help="The first test digit with this label.", min=0, max=9)] = 7,
    index: Annotated[int | None, Option(help="Or the test digit with this number.")] = None,
    checkpoint: Checkpoint = None,
    out: Annotated[Path, Option(help="A .gif or a .webp.")] = Path("digit.gif"),
) -> None:
    """Film one digit's way through the network."""
    ml.films.kind_of(out)  # refuses another ending before the work, not after it
    digits = ml.load_digits("test")
    if index is None:
        index = int((digits.labels == digit).nonzero()[0])
    elif not 0 <= index < len(digits):
        raise ValueError(f"There is no test digit {index}; there are 0 to {len(digits) - 1}.")
    trace = ml.trace(_load(checkpoint).model, digits.images[index], int(digits.labels[index]))
    film = ml.films.forward(trace)
    path = film.save(out)
    typer.echo(f"{path}: {film.seconds:.0f} s; test digit {index}, a {trace.truth}, read as {trace.prediction}")


@cli.command("export")
def export_(
    out: Annotated[Path, Argument(help="What to write: *.onnx, *.int8.onnx, *.pt2, or *.html for a live page.")],
    checkpoint: Checkpoint = None,
) -> None:
    """Write a network as ONNX, int8, a program or a page.

    *.onnx and *.int8.onnx run wherever onnxruntime does, *.pt2 wherever PyTorch does, and *.html in any browser;
    none of them needs mnistlab.
    """
    path = export.write(_load(checkpoint), out)
    typer.echo(f"{path}: {path.stat().st_size:,} bytes")


@cli.command("app")
def app_(
    checkpoint: Reader = None,
    host: Annotated[str, Option(help="Who may come: 127.0.0.1 this machine, 0.0.0.0 the network.")] = "127.0.0.1",
    port: Annotated[int, Option(help="Where to listen.", min=1, max=65535)] = 7860,
) -> None:
    """Open a page on which to upload or draw digits, until Ctrl-C."""
    from mnistlab.live import app

    page = app.launch(ml.Predictor.load(_file(checkpoint)), host=host, port=port)
    typer.echo(f"{page.local_url} (Ctrl-C ends it)")
    app.wait(page)


def _load(checkpoint: Path | None) -> ml.Run:
    return ml.load(checkpoint or ml.home() / "models" / "cnn.safetensors")


def _file(checkpoint: Path | None) -> Path | None:
    return checkpoint / "checkpoint.safetensors" if checkpoint and checkpoint.is_dir() else checkpoint


def _said(result: dict) -> str:
    low, high = result["wilson_95"]
    return f"{result['errors']} wrong, {result['accuracy']:.2%} right (95%: {low:.2%} to {high:.2%})"


if __name__ == "__main__":
    sys.exit(main())
