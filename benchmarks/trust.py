"""The suite as a hostile tester meets it: `make trust`.

    python benchmarks/trust.py [pictures] [data] [checkpoints] [crashes] [app] [numbers]

Each part writes what was tried, how often, and what happened to benchmarks/trust.json, and ends the call with an error
where something happened that must not. All together they take less than twenty minutes on two cores.
"""

import json
import multiprocessing
import os
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
import torch
from measuring import machine

import mnistlab as ml
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


PARTS: dict[str, Callable[[], dict[str, Row]]] = {part.__name__: part for part in (pictures, data, checkpoints)}


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
    os.environ.setdefault("MNISTLAB_DATA", "offline")
    sys.exit(main(sys.argv[1:]))
