"""The suite as a hostile tester meets it: `make trust`.

    python benchmarks/trust.py [pictures] [data] [checkpoints] [crashes] [numbers]

Each part writes what was tried, how often, and what happened to benchmarks/trust.json, and ends the call with an error
where something happened that must not. All together they take less than twenty minutes on two cores.
"""

import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile
import nbformat
import torch
from measuring import machine

import mnistlab as ml
from mnistlab import training
from mnistlab.paths import written_whole

FILE = Path(__file__).parent / "trust.json"
SLOW = 2.0  # seconds, after which an answer counts as a hang
Row = dict[str, object]


class TooSlow(BaseException):
    """Not an Exception, so that no `except Exception` takes it for a damaged file."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def judged(attempts: Iterable[tuple[str, Callable[[], object]]], expected: type[Exception] | tuple) -> Row:
    """Call each attempt: it may answer, or refuse with an error of `expected`; all else is a fault."""
    counts, faults, slowest = Counter({"answered": 0, "refused": 0}), [], 0.0
    for name, attempt in attempts:
        start = time.perf_counter()
        try:
            with limited(SLOW):
                attempt()
            counts["answered"] += 1
        except expected:
            counts["refused"] += 1
        except (Exception, TooSlow) as error:
            faults.append(f"{name}: {type(error).__name__}: {error}"[:300])
        slowest = max(slowest, time.perf_counter() - start)
    return {
        "tried": sum(counts.values()) + len(faults),
        **counts,
        "faults": faults,
        "slowest_seconds": round(slowest, 3),
        "most_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def alone(part: Callable[..., Row], *arguments: object) -> Row:
    """The part in a new process, whose memory is then its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(part, arguments)


# Bad pictures


def read_pictures(count: int) -> Row:
    """Spoiled pictures through a predictor, as bytes and as files."""
    torch.set_num_threads(1)
    predictor = ml.Predictor.load()
    with tempfile.TemporaryDirectory() as folder:

        def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
            for number, (name, content) in enumerate(hostile.pictures(count)):
                if number % 2:
                    yield name, lambda content=content: predictor.predict(content)
                else:
                    path = Path(folder) / name
                    path.write_bytes(content)
                    yield name, lambda path=path: predictor.predict(path)

        return judged(attempts(), ml.PictureError)


def read_bombs() -> Row:
    """Files of some kilobytes that would unpack to hundreds of megabytes: each must be refused."""
    found = judged(((form, lambda c=content: ml.to_mnist(c)) for form, content in BOMBS().items()), ml.PictureError)
    return found | {"faults": found["faults"] + ["a bomb was opened"] * bool(found["answered"])}


BOMBS = hostile.bombs


def pictures(count: int = 6000) -> dict[str, Row]:
    return {
        "spoiled pictures, read by Predictor": alone(read_pictures, count),
        "decompression bombs": alone(read_bombs),
    }


# Bad data


def read_datasets(count: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        folders = hostile.datasets(Path(folder), count)
        return judged(((str(n), lambda f=f: ml.load_digits("train", f)) for n, f in enumerate(folders)), ml.DataError)


def data(count: int = 6000) -> dict[str, Row]:
    return {"spoiled IDX, gzip and CSV files, read by load_digits": alone(read_datasets, count)}


# Bad checkpoints


def read_checkpoints(count: int) -> Row:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        valid = ml.Run(ml.LeNet().eval(), ml.TrainConfig()).save(folder / "valid.safetensors")
        paths = hostile.checkpoints(valid, folder, count)
        return judged(((f"{n}", lambda p=p: ml.load(p)) for n, p in enumerate(paths)), ml.CheckpointError)


def read_pickles() -> Row:
    """Checkpoints that would run code where they are opened as most programs open them."""
    with tempfile.TemporaryDirectory() as name:
        folder, canary = Path(name), Path(name) / "canary"
        paths = hostile.pickles(folder, canary)
        found = judged(((path.name, lambda p=path: ml.load(p)) for path in paths), ml.CheckpointError)
        ran = ["a checkpoint ran code"] * canary.exists() + ["a pickle was opened"] * bool(found["answered"])
        return found | {"faults": found["faults"] + ran}


def checkpoints(count: int = 3000) -> dict[str, Row]:
    return {
        "spoiled checkpoints and cards, read by load": alone(read_checkpoints, count),
        "checkpoints that would run code": alone(read_pickles),
    }


# Killed in the middle


def killed(action: Callable[[], None], after: float) -> None:
    """Run `action` in a copy of this process, and kill that after so many seconds."""
    if (child := os.fork()) == 0:
        try:
            action()
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def interrupted(write: Callable[[int], object], read: Callable[[], object], times: int, seconds: float) -> Row:
    """Write one thing and another in turn until killed, so many times; what is then read must be one of the two."""
    dice, faults = random.Random(0), []
    write(0)
    known = [read()]
    write(1)
    known.append(read())

    def for_ever() -> None:
        for turn in itertools.count():
            write(turn % 2)

    for number in range(times):
        killed(for_ever, dice.uniform(0, seconds))
        try:
            if read() not in known:
                faults.append(f"kill {number}: neither the old nor the new")
        except Exception as error:
            faults.append(f"kill {number}: {type(error).__name__}: {error}"[:300])
    return {"tried": times, "whole": times - len(faults), "faults": faults}


def kill_saving(times: int) -> Row:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.safetensors"
        runs = [ml.Run(ml.LeNet(seed).eval(), metrics={"seed": seed}) for seed in (0, 1)]

        def read() -> tuple[int, float]:
            run = ml.load(path)
            return run.metrics["seed"], run.model.conv1.weight.sum().item()

        return interrupted(lambda turn: runs[turn].save(path), read, times, 0.05)


def kill_tables(times: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.csv"
        draw = torch.Generator().manual_seed(0)
        tables = [ml.Predictions.of(torch.randn(500, 10, generator=draw)) for _ in range(2)]
        return interrupted(lambda turn: tables[turn].to_csv(path), path.read_bytes, times, 0.1)


def kill_notebooks(times: int) -> Row:
    """As tools/build_notebooks.py writes them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.ipynb"
        cells = [[nbformat.v4.new_markdown_cell(word * 50_000, id="a")] for word in ("one ", "two ")]
        books = [nbformat.v4.new_notebook(cells=cell) for cell in cells]

        def write(turn: int) -> None:
            with written_whole(path) as part:
                nbformat.write(books[turn], part)

        return interrupted(write, lambda: nbformat.read(path, as_version=4).cells[0].source, times, 0.05)


def kill_training(times: int) -> Row:
    """One run, killed again and again, each time gone on with; its end beside that of a run left in peace."""
    torch.set_num_threads(1)
    training.SAVE_SECONDS = 0
    train = ml.load_digits("train", "offline")
    config = ml.TrainConfig(epochs=12, batch_size=64, crop=0.0, device="cpu", precision="float32")
    dice, faults, steps = random.Random(0), [], []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "unfinished.state"

        def go_on() -> ml.Run:
            return ml.fit(ml.LeNet(), train, config=config, state=state, show_progress=False)

        for number in range(times):
            killed(go_on, dice.uniform(0.05, 0.8))
            try:
                steps.append(torch.load(state, weights_only=True)["step"] if state.exists() else 0)
            except Exception as error:
                faults.append(f"kill {number}: {type(error).__name__}: {error}"[:300])
            if steps and steps[-1] == 12 * (len(train) // 64):
                state.unlink()  # it was finished before it was killed; on to the next
        ends = [go_on().model.state_dict()]
    ends.append(ml.fit(ml.LeNet(), train, config=config, show_progress=False).model.state_dict())
    if not all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items()):
        faults.append("the resumed run ended with other weights")
    return {"tried": times, "whole": times - len(faults), "faults": faults, "stopped_at_steps": steps}


def crashes(times: int = 50) -> dict[str, Row]:
    return {
        "killed while training, and gone on with": alone(kill_training, times),
        "killed while saving a checkpoint": alone(kill_saving, times),
        "killed while writing a CSV": alone(kill_tables, times),
        "killed while writing a notebook": alone(kill_notebooks, times),
    }


# Numbers


def train_alike(times: int) -> Row:
    """The same seed, again and again: the same bits?"""
    train = ml.load_digits("train", "offline")
    ends = set()
    for _ in range(times):
        run = ml.fit(ml.CNN(), train, config=ml.TrainConfig(epochs=1, device="cpu"), show_progress=False)
        ends.add(b"".join(tensor.numpy().tobytes() for tensor in run.model.state_dict().values()))
    return {"tried": times, "different": len(ends) - 1, "faults": ["runs of one seed differ"] * (len(ends) > 1)}


def count_errors() -> Row:
    """The shipped networks' errors on MNIST's test set, counted anew, beside what their cards say."""
    test, rows, faults = ml.load_digits("test"), {}, []
    for name in ("cnn", "reader", "ensemble"):
        run = ml.load(ml.home() / "models" / f"{name}.safetensors")
        rows[name] = ml.evaluate(run.model, test).errors
        if rows[name] != run.metrics["test"]["errors"]:
            faults.append(f"{name}: the card says {run.metrics['test']['errors']}")
    return {"tried": 3, "errors": rows, "faults": faults}


def numbers() -> dict[str, Row]:
    found = {"one seed, trained again and again": alone(train_alike, 10)}
    if ml.load_digits("test").is_mnist:
        found["errors of the shipped networks, counted anew"] = alone(count_errors)
    return found


PARTS: dict[str, Callable[[], dict[str, Row]]] = {
    part.__name__: part for part in (pictures, data, checkpoints, crashes, numbers)
}


def main(names: list[str]) -> int:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    rows, faults = known.get("rows", {}), 0
    for name in names or PARTS:
        start = time.perf_counter()
        for what, row in PARTS[name]().items():
            rows[what] = row
            faults += len(row["faults"])
            print(what, json.dumps(row, indent=1), flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        with written_whole(FILE) as part:
            part.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
