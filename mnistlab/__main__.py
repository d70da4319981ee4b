"""The command line: `mnistlab …`, or `python -m mnistlab …`.

PyTorch takes seconds to import, so each command imports what it needs when it runs. Help, the version and the answer to
a typing mistake come at once.
"""

import sys

try:
    import os
    import platform
    import shlex
    import warnings
    from collections.abc import Iterator
    from contextlib import ExitStack, contextmanager
    from enum import StrEnum
    from io import TextIOWrapper
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from typing import TYPE_CHECKING, Annotated

    import typer
    from typer import Argument, Option

    import mnistlab as ml
    from mnistlab.paths import need_file, shipped
except KeyboardInterrupt:
    sys.exit(130)

if TYPE_CHECKING:
    import pandas as pd

    from mnistlab.analysis.intervals import Evaluation

cli = typer.Typer(
    name="mnistlab",
    help="How a neural network reads a handwritten digit: train one, try it, look inside, take it elsewhere.",
    epilog="Exit codes: 0 done, 1 the command failed, 2 the command was not understood, 130 stopped by Ctrl-C.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

Model = StrEnum(
    "Model",
    {"CNN": "cnn", "Improved": "improved", "Compact": "compact", "Simple": "simple", "LeNet": "lenet", "MLP": "mlp"},
)
Device = StrEnum("Device", ["auto", "cpu", "cuda", "mps"])
Precision = StrEnum("Precision", ["auto", "bfloat16", "float32", "float64"])
Schedule = StrEnum("Schedule", ["triangle", "cosine", "constant", "plateau"])
Keep = StrEnum("Keep", ["last", "best"])
Split = StrEnum("Split", ["train", "test"])

STDOUT = ("-", "/dev/stdout")
WHICH = "A checkpoint, or the folder of a run."
Checkpoint = Annotated[Path | None, Option(help=WHICH, show_default="models/cnn.safetensors")]
Images = Annotated[
    str | None,
    Option("--data", help="Other pictures: a folder with one folder a class, a *.csv or *.npz, or fashion-mnist, …"),
]
Plain = Annotated[bool, Option("--plain", help="Shrink pictures in folders as they are, without a search for ink.")]
Reader = Annotated[Path | None, Option(help=WHICH, show_default="models/reader.safetensors")]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; what went wrong is said in a sentence on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a Windows console may not know the characters · and …
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"  # without a line of our code
    try:
        cli(words, prog_name="mnistlab", obj=words)
    except SystemExit as done:
        return int(done.code or 0)
    except KeyboardInterrupt:
        return 130
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, ml.TrainingError):
            raise
        said = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            said = f"{error.filename}: {error.strerror}"
        typer.echo(f"error: {said}", err=True)
        return 1
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mnistlab {ml.__version__}")
        raise typer.Exit


@cli.callback()
def _always(
    version: Annotated[
        bool, Option("--version", help="Say which version this is.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


@cli.command()
def data() -> None:
    """Fetch MNIST where it is missing, and say what is there."""
    for split in ("train", "test"):
        typer.echo(ml.load_digits(split))


@cli.command()
def info() -> None:
    """Check the set-up: versions, device, data, checkpoints."""
    from importlib.metadata import version

    import torch

    from mnistlab.hardware import describe

    found = describe()
    lines = {
        "mnistlab": ml.__version__,
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, torchvision {version('torchvision')}",
        "device": f"{found['device']}, {found['precision']}, {found['threads'] or torch.get_num_threads()} threads",
        "home": ml.home(),
        "data": _where(),
    }
    checkpoints = [shipped(name) for name in ("cnn", "reader", "ensemble")]
    for path in checkpoints:
        lines[f"models/{path.stem}"] = path if path.is_file() else "missing: it comes with the repository"
    for name, line in lines.items():
        typer.echo(f"{name:16}{line}")
    if not all(path.is_file() for path in checkpoints[:2]):
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
    context: typer.Context,
    model: Annotated[Model, Option(help="Which network; notebook 09 compares them.")] = Model.CNN,
    data: Images = None,
    plain: Plain = False,
    epochs: Annotated[float, Option(help="Times through the training digits; 0.5 stops half-way.")] = 2,
    batch_size: Annotated[int, Option(help="Digits a step, of all processes together.")] = 256,
    learning_rate: Annotated[float, Option(help="AdamW's, at its peak.")] = 8e-3,
    schedule: Annotated[
        Schedule, Option(help="How the learning rate changes; notebook 04 draws it.")
    ] = Schedule.triangle,
    patience: Annotated[
        int, Option(help="Stop after this many epochs without a smaller validation loss; 0 never does.", min=0)
    ] = 0,
    keep: Annotated[Keep, Option(help="Which epoch's weights: the last, or the best by validation loss.")] = Keep.last,
    dropout: Annotated[bool, Option("--dropout", help="Hide random cells while training.")] = False,
    device: Annotated[Device, Option(help="auto takes CUDA, else Apple's MPS, else the CPU.")] = Device.auto,
    precision: Annotated[Precision, Option(help="auto takes bfloat16 where the hardware has it.")] = Precision.auto,
    out: Annotated[Path | None, Option(help="The folder for its files.", show_default="models/runs/<model>")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the unfinished run in --out, if any.")] = False,
    seed: Annotated[int, Option(help="Decides the initial weights and everything drawn at random.")] = 0,
) -> None:
    """Train a network, and keep what comes of it in a folder.

    It is judged once on the test digits. Where there are none, or they have no labels, as in Kaggle's test.csv, 15% of
    the training digits are held back for that. It writes checkpoint.safetensors with its card, history.csv,
    metrics.json, curves.png, confusion.png and samples.png. A run that was stopped goes on with --resume, and ends as
    if it had not been stopped.

    On several cores or GPUs: torchrun --nproc-per-node=2 -m mnistlab train … --resume
    """
    from mnistlab.networks import models
    from mnistlab.shipping import report
    from mnistlab.training.workers import from_first, together

    network = getattr(models, model.name)
    config = ml.TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule.value,
        patience=patience,
        keep=keep.value,
        dropout=dropout,
        device=device.value,
        precision=precision.value,
        seed=seed,
        crop=ml.TrainConfig.crop if network.takes_crops and not patience else 0.0,
    )
    out = out or ml.home() / "models" / "runs" / model
    state = out / "unfinished.state"
    with together() as me, ExitStack() as stack:
        processes: int = me[1]
        if me.rank == 0:
            stack.enter_context(_claimed(out))
        if from_first(me.rank == 0 and _finished(out, resume)):
            if me.rank == 0:
                typer.echo(f"{out} holds a finished run; name another --out to train anew.")
            return
        try:
            learn, val, test = _parted(data, plain)
            run = ml.fit(network(seed, len(learn.classes)), learn, val, config, state=state)
            if me.rank == 0:
                run.metrics["val"] = ml.evaluate(run.model, val).card()
                result, files = report.write(run, test, out)
                state.unlink(missing_ok=True)
                held = f"{len(test):,} {test.what} {test.split_name}"
                whose = f"the test {test.what}" if test.split_name == "test" else held
                if run.kept:
                    typer.echo(run.kept)
                typer.echo(f"{_said(result)} on {whose}")
                for file in files:
                    typer.echo(file)
        except KeyboardInterrupt:
            if me.rank == 0:
                typer.echo(_stopped(state, context.obj, processes), err=True)
            raise typer.Exit(130) from None


def _images(data: str | None, split: str, plain: bool, classes: "tuple[str, ...] | None" = None) -> "ml.Digits":
    """MNIST's digits, or the pictures that --data names, whose classes are in this order."""
    if data is None:
        return ml.load_digits(split)
    return ml.load_images(data, split, form="plain" if plain else "mnist", classes=classes)


def _parted(data: str | None, plain: bool) -> "tuple[ml.Digits, ml.Digits, ml.Digits]":
    """Digits to learn from, to watch the learning by, and to judge on at the end."""
    from dataclasses import replace

    from mnistlab.data.digits import NoSplitError

    learn = _images(data, "train", plain)
    try:
        test = _images(data, "test", plain, learn.classes)
    except NoSplitError:  # of pictures of one's own there may be no others
        test = replace(learn, labels=None)
    if test.labels is not None and test.classes != learn.classes:
        raise ValueError(f"The test pictures are of {', '.join(test.classes)}, and not of {', '.join(learn.classes)}.")
    if test.labels is None:
        learn, test = learn.split(0.15, seed=0)
        test = replace(test, split_name=f"held back from {data or 'train.csv'}")
    return *learn.split(0.15, seed=0), test


def _stopped(state: Path, words: list[str], processes: int) -> str:
    """What is left of a run that was stopped, and how to go on with it."""
    if not state.exists():
        return "Stopped before anything was kept; the same command starts anew."
    program = "mnistlab" if Path(sys.argv[0]).stem == "mnistlab" else "python -m mnistlab"
    again = "the same command, with --resume" if processes > 1 else f"{program} {shlex.join(words)}"
    return f"Stopped. {state} keeps the run; go on with: {again}{'' if '--resume' in again else ' --resume'}"


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing, and closed to other processes as long as the block lasts."""
    import filelock

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
    from mnistlab.shipping import report

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
    data: Images = None,
    plain: Plain = False,
) -> None:
    """Count a checkpoint's errors, of all digits and of each.

    Where nobody knows the labels, as of Kaggle's test.csv, it says how often each digit was the answer, and how
    confident the network was.
    """
    from mnistlab.hardware import keep_freed_memory

    run = _load(checkpoint)
    digits = _images(data, split.value, plain)
    keep_freed_memory()
    predictions = run.predict(digits)
    if digits.labels is None:
        typer.echo(f"{digits}: nobody gave labels, so these are the answers, not the errors")
        typer.echo(predictions.summary().to_string(float_format="{:.4f}".format))
        return
    typer.echo(f"{_said(predictions.evaluation)} on {digits}")
    per_digit = ml.analysis.per_digit(predictions)
    typer.echo(per_digit.drop(columns=["low", "high"]).to_string(float_format="{:.4f}".format))


@cli.command()
def predict(
    pictures: Annotated[list[str], Argument(help="Photographs, scans, drawings: files, folders, patterns.")],
    checkpoint: Reader = None,
    csv: Annotated[Path | None, Option(help="Also write the table as CSV; - is stdout.")] = None,
    json: Annotated[Path | None, Option(help="Also write the table as JSON; - is stdout.")] = None,
    show_probabilities: Annotated[
        bool, Option("--show-probabilities", help="All of 0.05% or more, and all in --csv and --json.")
    ] = False,
) -> None:
    """Read pictures of digits, one digit each; - is a picture that comes through stdin.

    Exit code 1 if a file could not be read, or none holds a digit. After Ctrl-C, what was read so far is kept.
    """
    aside = [path for path in (csv, json) if path and str(path) in STDOUT]
    if len(aside) > 1:
        raise typer.BadParameter("Only one of --csv and --json can go to stdout.")
    for path in (csv, json):
        if path and path not in aside:
            need_file(path)

    from mnistlab.hardware import keep_freed_memory
    from mnistlab.reading.predictor import Stopped

    keep_freed_memory()
    stopped = None
    with TemporaryDirectory() as folder:
        if "-" in pictures:
            (given := Path(folder) / "stdin").write_bytes(sys.stdin.buffer.read())
            pictures = [str(given) if name == "-" else name for name in pictures]
        try:
            predictions = ml.Predictor.load(_file(checkpoint)).predict_all(pictures)
        except Stopped as error:
            predictions, stopped = error.so_far, error
        for column in ("file", "error"):
            predictions.table[column] = predictions.table[column].str.replace(f"{folder}{os.sep}", "", regex=False)
    table, chances = predictions.named(), predictions.columns
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        if row["error"]:
            typer.echo(f"error: {row['error']}", err=True)
            continue
        read = "" if row["prediction"] is None else f"{row['prediction']} ({row['confidence']:.1%} sure)  "
        typer.echo(f"{row['file']}: {read}{row['warning']}".rstrip(), err=bool(aside))
        if show_probabilities and read:
            ranked = sorted((name for name in chances if row[name] >= 0.0005), key=lambda name: -row[name])
            shares = "  ".join(f"{name[1:]}: {row[name]:.1%}" for name in ranked)
            typer.echo(f"    {shares}", err=bool(aside))
    columns = [name for name in table.columns if show_probabilities or name not in chances]
    for path, write in ((csv, predictions.to_csv), (json, predictions.to_json)):
        if path in aside:
            with TemporaryDirectory() as folder:
                typer.echo(write(Path(folder) / "table", columns).read_bytes(), nl=False)
        elif path:
            typer.echo(write(path, columns), err=bool(aside))
    if len(table) > 1:
        typer.echo(_counted(table), err=True)
        answers = predictions.summary()["count"].drop("all").sort_values(ascending=False, kind="stable")
        said = ", ".join(f"{count:,} × {name}" for name, count in answers.items())
        if said:
            typer.echo(f"read as: {said}; mean confidence {table['confidence'].mean():.1%}", err=True)
    if stopped:
        typer.echo(f"{stopped}", err=True)
        raise typer.Exit(130)
    if table["error"].any() or table["prediction"].isna().all():
        raise typer.Exit(1)


def _counted(table: "pd.DataFrame") -> str:
    """How many pictures were read, and how many were not, in a line."""
    digits, unread = table["prediction"].notna(), table["error"] != ""
    counts = {
        " read": digits,
        " of them with a warning": digits & (table["warning"] != ""),
        " without ink": ~digits & ~unread,
        " could not be read": unread,
    }
    said = [f"{rows.sum():,}{what}" for what, rows in counts.items() if rows.any() or what == " read"]
    return f"{len(table):,} pictures: {', '.join(said)}"


@cli.command()
def animate(
    digit: Annotated[str, Option(help="The first test digit with this label.")] = "7",
    index: Annotated[int | None, Option(help="Or the test digit with this number.")] = None,
    checkpoint: Checkpoint = None,
    data: Images = None,
    plain: Plain = False,
    out: Annotated[Path, Option(help="A .gif or a .webp.")] = Path("digit.gif"),
) -> None:
    """Film one digit's way through the network."""
    need_file(out)
    ml.films.kind_of(out)  # refuses another ending before the work, not after it
    digits = _images(data, "test", plain)
    if index is None:
        if digits.labels is None:
            raise ValueError(
                f"The test digits of {digits.source} have no labels, so no {digit} can be found among them. "
                f"Choose a digit by its number, with --index."
            )
        if digit not in digits.names:
            there = ", ".join(name for name in digits.classes if name in set(digits.names))
            raise ValueError(f"There is no {digit} among the test {digits.what}; there are {there}.")
        index = digits.names.index(digit)
    elif not 0 <= index < len(digits):
        raise ValueError(f"There is no test {digits.what[:-1]} {index}; there are 0 to {len(digits) - 1}.")
    truth = None if digits.labels is None else int(digits.labels[index])
    run = _load(checkpoint)
    if run.classes != digits.classes:
        raise ValueError(f"The network knows {', '.join(run.classes)}; these are {', '.join(digits.classes)}.")
    trace = ml.trace(run.model, digits.images[index], truth, run.classes)
    film = ml.films.forward(trace)
    path = film.save(out)
    label = "" if truth is None else f", a {digits.classes[truth]}"
    read = run.classes[trace.prediction]
    typer.echo(f"{path}: {film.seconds:.0f} s; test {digits.what[:-1]} {index}{label}, read as {read}")


@cli.command("export")
def export_(
    out: Annotated[Path, Argument(help="What to write: *.onnx, *.int8.onnx, *.pt2, or *.html for a live page.")],
    checkpoint: Checkpoint = None,
) -> None:
    """Write a network as ONNX, int8, a program or a page.

    *.onnx and *.int8.onnx run wherever onnxruntime does, *.pt2 wherever PyTorch does, and *.html in any browser;
    none of them needs mnistlab.
    """
    need_file(out)
    from mnistlab.shipping import export

    path = export.write(_load(checkpoint), out)
    typer.echo(f"{path}: {path.stat().st_size:,} bytes")


@cli.command("app")
def app_(
    checkpoint: Reader = None,
    host: Annotated[str, Option(help="Who may come: 127.0.0.1 this machine, 0.0.0.0 the network.")] = "127.0.0.1",
    port: Annotated[int, Option(help="Where to listen.", min=1, max=65535)] = 7860,
    auth: Annotated[str | None, Option(help="Ask for this name and password.", metavar="USER:PASSWORD")] = None,
    share: Annotated[bool, Option("--share", help="Open a tunnel through gradio's servers, as for Colab.")] = False,
    root_path: Annotated[
        str | None, Option(help="Where a proxy puts it, such as /user/ann/proxy/7860 on JupyterHub.")
    ] = None,
    open_: Annotated[bool, Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Serve a page on which to upload or draw digits, until Ctrl-C."""
    user, colon, password = (auth or "").partition(":")
    if auth and not (user and colon and password):
        raise typer.BadParameter("--auth takes a name and a password, as in ann:secret.")

    from mnistlab.live import app

    page = app.launch(
        ml.Predictor.load(_file(checkpoint)),
        host=host,
        port=port,
        auth=(user, password) if auth else None,
        share=share,
        root_path=root_path,
        in_browser=open_,
    )
    typer.echo(f"{page.local_url} (Ctrl-C ends it)")
    shared = getattr(page, "share_url", None)  # where the tunnel could not be had, gradio has said so
    if shared or host not in ("127.0.0.1", "localhost", "::1"):
        whom = f"everybody who has the address {shared}" if shared else "every machine that can reach this one"
        typer.echo(f"Open to {whom}, {'with the password' if auth else 'without a password; --auth sets one'}.")
    app.wait(page)


def _load(checkpoint: Path | None) -> "ml.Run":
    return ml.load(checkpoint or shipped("cnn"))


def _file(checkpoint: Path | None) -> Path | None:
    return checkpoint / "checkpoint.safetensors" if checkpoint and checkpoint.is_dir() else checkpoint


def _said(result: "Evaluation") -> str:
    low, high = result.interval
    return f"{result.errors} wrong, {result.accuracy:.2%} right (95%: {low:.2%} to {high:.2%})"


if __name__ == "__main__":
    sys.exit(main())
