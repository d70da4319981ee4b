"""The suite as a hostile tester meets it: `make trust`.

    python -m tests.trust.suite [pictures] [data] [checkpoints] [crashes] [disks] [app] [pages] [numbers]

Each part writes what was tried, how often, and what happened to tests/trust/results.json and into the table in
docs/trust.md. The call ends with an error if something happened that must not. All parts together take less than twenty
minutes on two cores.
"""

import json
import math
import multiprocessing
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import torch

import mnistlab as ml
from benchmarks.measuring import machine
from mnistlab.paths import written_whole
from tests.trust import accidents, hostile, injected, visitors
from tools.browser import chromium, launched

FILE = Path(__file__).parent / "results.json"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "trust.md"
SLOW = 2.0  # seconds, after which an answer counts as a hang
MOST = 1000  # MB that a process may hold, of which PyTorch alone takes 800
APART = 1e-3  # by which logits, of some ten, may differ between devices
Row = dict[str, object]


class TooSlow(BaseException):
    """Not an Exception, so that no `except Exception` takes it for a damaged file."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judged(
    attempts: Iterable[tuple[str, Callable[[], object]]], expected: type[Exception] | tuple, slow: float = SLOW
) -> Row:
    """Call each attempt: it may answer, or refuse with an error of `expected`, in `slow` seconds; else it failed."""
    counts, faults, slowest = Counter({"answered": 0, "refused": 0}), [], 0.0
    for name, attempt in attempts:
        start = time.perf_counter()
        try:
            with limited(slow):
                attempt()
            counts["answered"] += 1
        except expected:
            counts["refused"] += 1
        except (Exception, TooSlow) as error:
            faults.append(f"{name}: {type(error).__name__}: {error}"[:300])
        slowest = max(slowest, time.perf_counter() - start)
    return {
        "tried": counts.total() + len(faults),
        **counts,
        "faults": faults,
        "slowest_seconds": round(slowest, 3),
        "most_megabytes": round(peak()),
    }


def peak() -> float:
    """The most that this process has held since it began, in MB."""
    if (status := Path("/proc/self/status")).exists():  # resource counts what its parent held, too
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes, on macOS


def alone(part: Callable[..., Row], *arguments: object, most: float = MOST) -> Row:
    """The part in a new process, whose memory is then its own, and must stay below `most` MB where it is counted."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # which says so, if the process dies
        row = pool.submit(part, *arguments).result()
    if (held := row.get("most_megabytes", 0)) > most:
        row["faults"].append(f"{held} MB were held, more than {most}")
    return row


def not_here(why: str) -> Row:
    return {"tried": 0, "not_here": why, "faults": []}


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


def read_arrays(count: int) -> Row:
    """As a picture, and as a set of digits."""
    torch.set_num_threads(1)
    predictor = ml.Predictor.load()

    def attempts() -> Iterator[tuple[str, Callable[[], object]]]:
        for number, (name, array) in enumerate(hostile.arrays(count)):
            if number % 2 and isinstance(array, torch.Tensor):
                yield name, lambda array=array: ml.Digits(array, None, "somewhere")
            else:
                yield name, lambda array=array: predictor.predict(array)

    return judged(attempts(), (ml.PictureError, ml.DataError))


def read_bombs(bombs: dict[str, bytes]) -> Row:
    """Small files that would unpack to far more than any picture of a digit: each must be refused."""
    found = judged(((form, lambda c=content: ml.to_mnist(c)) for form, content in bombs.items()), ml.PictureError)
    return found | {"faults": found["faults"] + ["a bomb was opened"] * bool(found["answered"])}


def pictures(count: int = 6000) -> dict[str, Row]:
    bombs, largest = alone(hostile.bombs, 1.0), alone(hostile.largest)  # made elsewhere, which takes memory, too
    return {
        "corrupted pictures, read by Predictor": alone(read_pictures, count),
        "arrays and tensors that are no pictures, and some that are": alone(read_arrays, count),
        "decompression bombs": alone(read_bombs, bombs),
        "pictures as large as may be: 36 million pixels, JPEG 48, WebP 16": alone(read_largest, largest, most=1200),
    }


def read_largest(files: dict[str, bytes]) -> Row:
    return judged(((form, lambda c=content: ml.to_mnist(c)) for form, content in files.items()), ())


# Bad data


def read_datasets(count: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        folders = hostile.datasets(Path(folder), count)
        return judged(((str(n), lambda f=f: ml.load_digits("train", f)) for n, f in enumerate(folders)), ml.DataError)


def read_data_bombs() -> Row:
    """Headers that announce too much, and .gz that unpack to a gigabyte: each must be refused."""
    with tempfile.TemporaryDirectory() as name:
        folders = hostile.data_bombs(Path(name))
        found = judged(((str(n), lambda f=f: ml.load_digits("train", f)) for n, f in enumerate(folders)), ml.DataError)
    return found | {"faults": found["faults"] + ["a bomb was read"] * bool(found["answered"])}


def data(count: int = 6000) -> dict[str, Row]:
    return {
        "corrupted IDX, gzip and CSV files, read by load_digits": alone(read_datasets, count),
        "IDX files that announce or unpack to too much": alone(read_data_bombs),
    }


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
        "corrupted checkpoints and cards, read by load": alone(read_checkpoints, count),
        "checkpoints that would run code": alone(read_pickles),
    }


# Accidents


def crashes() -> dict[str, Row]:
    """205 kills, and others at the same file."""
    return {
        "killed while training, then resumed": alone(accidents.kill_training, 50),
        "killed at any moment of `mnistlab train`": alone(accidents.kill_commands, 15),
        "killed while saving a checkpoint": alone(accidents.kill_writing, "checkpoint", 40),
        "killed while writing a CSV": alone(accidents.kill_writing, "CSV", 30),
        "killed while writing a notebook": alone(accidents.kill_writing, "notebook", 30),
        "killed while downloading": alone(accidents.kill_downloading, 40),
        "two processes writing the same file": alone(accidents.write_together, 15),
        "two processes training into the same folder": alone(accidents.train_together, 5),
    }


def disks() -> dict[str, Row]:
    rows = {
        "written to a disk that is full, or nearly so": accidents.on_a_small_disk("full", 25),
        "written to a folder that is read-only": accidents.on_a_small_disk("closed", 10),
    }
    return {what: row or not_here("this system lets us make no disk") for what, row in rows.items()}


# The app

SAMPLES = ROOT / "data" / "samples"
PEOPLE, MINUTE = 100, 60.0
MORE = 0.05  # by which a server may grow in the second half of that minute


def attack(address: str) -> Row:
    """What nobody may read, and what is no picture: refused each time, and in our words."""
    inside = Path(visitors.upload(address, SAMPLES.joinpath("canvas_28_2_1.bmp")))
    secret = ROOT / "README.md"
    around = inside.parent / ".." / ".." / os.path.relpath(secret, inside.parents[2])
    paths = [
        secret,
        around,
        "/etc/passwd",
        secret.as_uri(),
        "../../../README.md",
        "%2e%2e/%2e%2e/%2e%2e/README.md",
        f"{address}/gradio_api/file={inside}",
    ]
    tried, faults = 0, []
    for path in paths:
        for given in (visitors.file_at(path), visitors.file_at(path) | {"is_stream": True}, str(path)):
            for endpoint in ("predict", "predict_many"):
                tried += 1
                event, said = visitors.call(address, endpoint, given if endpoint == "predict" else [given])
                if event != "error":
                    faults.append(f"{endpoint} read {given}: {said}"[:300])
        tried += 1
        if visitors.fetched(address, path) == 200 and path != paths[-1]:  # of which that is one's own upload
            faults.append(f"{path} can be fetched")
    for name, content in hostile.no_pictures().items():
        tried += 1
        path = visitors.upload(address, content, name)
        event, said = visitors.call(address, "predict", visitors.file_at(path))
        if event != "error" or not str(said["error"]).startswith(f"{name} is no picture"):
            faults.append(f"{name}: {event}, {said}"[:300])
    tried += 1
    large = httpx.post(f"{address}/gradio_api/upload", files={"files": ("a.png", bytes(20 * 2**20 + 1))}, timeout=60)
    if large.status_code != 413:
        faults.append(f"21 MB were taken: {large.status_code}")
    if (host := visitors.other_address()) is not None:
        tried += 1
        try:
            socket.create_connection((host, int(address.rsplit(":", 1)[1])), 5).close()
            faults.append(f"it can be reached as {host}")
        except OSError:
            pass
    return {"tried": tried, "refused": tried - len(faults), "faults": faults}


def app() -> dict[str, Row]:
    """A page under attack, then a hundred visitors at once for a minute; told to end, it must end well."""
    with tempfile.TemporaryDirectory() as folder, visitors.served(Path(folder)) as page:
        refused = attack(page.address)
        held: list[float] = []
        threading.Thread(target=watch, args=(page.process, held), daemon=True).start()
        pictures = [path.read_bytes() for path in sorted(SAMPLES.glob("*.png"))[:20]]
        times, faults = visitors.crowd(page.address, pictures, PEOPLE, MINUTE)
        before, after = np.median(held[len(held) // 2 :][:5]), np.median(held[-5:])
        if after > before * (1 + MORE):
            faults.append(f"it grew from {before:.0f} to {after:.0f} MB in the second half")
        middle, most = np.percentile(times, [50, 99])
    crowd = {
        "tried": len(times),
        "answered": len(times) - len(faults),
        "faults": faults,
        "median_seconds": round(float(middle), 2),
        "p99_seconds": round(float(most), 2),
        "megabytes_half_way": round(float(before)),
        "megabytes_at_the_end": round(float(after)),
    }
    return {"the page attacked: paths, false pictures, sizes, addresses": refused, "100 visitors at once": crowd}


def watch(process: subprocess.Popen, held: list[float]) -> None:
    while process.poll() is None:
        held.append(visitors.memory(process))
        time.sleep(1)


# Pages


def read_pages() -> Row:
    os.environ["MNISTLAB_DATA"] = "offline"
    with tempfile.TemporaryDirectory() as name:
        os.environ["MNISTLAB_HOME"] = name
        pages, alive = injected.pages(Path(name)), []
        with launched() as browser:
            for page in pages:
                alive += [f"{page.name}: {what}"[:300] for what in injected.came_alive(browser, page)]
    return {"tried": len(pages), "faults": alive}


def pages() -> dict[str, Row]:
    what = "pages around names, labels and cards that hold scripts, in a browser"
    return {what: alone(read_pages) if chromium() else not_here("there is no Chromium")}


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
    return {"tried": len(rows), "errors": rows, "faults": faults}


def compare_devices() -> Row:
    """The shipped CNN's logits on a CPU and on a GPU, both in float32 without TF32."""
    test, model = ml.load_digits("test"), ml.load(ml.home() / "models" / "cnn.safetensors").model
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with torch.inference_mode():
        ours = torch.cat([model(ml.normalise(images)) for images, _ in test.batches(1000)])
        model.cuda()
        theirs = torch.cat([model(ml.normalise(images.cuda())).cpu() for images, _ in test.batches(1000)])
    apart = (ours - theirs).abs().max().item()
    faults = [f"logits differ by {apart}"] * (not apart <= APART)  # nor may they be no numbers
    faults += ["they read digits differently"] * (not torch.equal(ours.argmax(1), theirs.argmax(1)))
    return {"tried": len(test), "largest_difference": apart, "faults": faults}


def numbers() -> dict[str, Row]:
    found = {"one seed, trained again and again": alone(train_alike, 10)}
    if ml.load_digits("test").is_mnist:
        found["errors of the shipped networks, counted anew"] = alone(count_errors)
    if torch.cuda.is_available():
        found["logits on a CPU and on a GPU"] = alone(compare_devices)
    return found


def table(rows: dict[str, Row]) -> str:
    """As docs/trust.md shows it."""
    lines = ["| What | How often | What happened |", "|---|---:|---|"]
    return "\n".join([*lines, *(f"| {what} | {row['tried']:,} | {_happened(row)} |" for what, row in rows.items())])


def _happened(row: Row) -> str:
    if "not_here" in row:
        return f"not tried: {row['not_here']}"
    said = []
    if row["faults"]:
        said.append(f"{len(row['faults'])} faults")
    if "whole" in row:
        said.append("all whole" if row["whole"] == row["tried"] else f"{row['whole']:,} whole")
    said += [f"{row[name]:,} {name}" for name in ("answered", "written", "refused") if row.get(name)]
    if "slowest_seconds" in row:
        seconds = max(1, math.ceil(row["slowest_seconds"] * 10)) / 10
        said.append(f"{seconds} s and {row['most_megabytes']:,} MB at most")
    if "p99_seconds" in row:
        said.append(f"half within {row['median_seconds']} s, 99% within {row['p99_seconds']} s")
        said.append(f"{row['megabytes_half_way']:,} MB half-way, {row['megabytes_at_the_end']:,} at the end")
    if "different" in row:
        said.append(f"{row['different']} differ" if row["different"] else "identical, bit for bit")
    if "errors" in row:
        said.append(", ".join(f"{name} {errors}" for name, errors in row["errors"].items()))
        said += ["as their cards say"] * (not row["faults"])
    if "largest_difference" in row:
        said.append(f"{row['largest_difference']:.1e} apart at most")
        said += ["the same answers"] * (not row["faults"])
    return ", ".join(said) or "nothing ran"


PARTS: dict[str, Callable[[], dict[str, Row]]] = {
    part.__name__: part for part in (pictures, data, checkpoints, crashes, disks, app, pages, numbers)
}


def quote(rows: dict[str, Row]) -> None:
    """Put the table into docs/trust.md, in place of the last one."""
    text = PAGE.read_text(encoding="utf-8")
    last = re.search(r"\| What \| How often \|.*?(?=\n\n)", text, re.DOTALL)[0]
    with written_whole(PAGE) as part:
        part.write_text(text.replace(last, table(rows)), encoding="utf-8")


def main(names: list[str]) -> int:
    rows, faults = json.loads(FILE.read_text())["rows"] if names and FILE.exists() else {}, 0
    for name in names or PARTS:
        start = time.perf_counter()
        for what, row in PARTS[name]().items():
            rows[what] = row
            faults += len(row["faults"])
            print(what, json.dumps(row, indent=1), flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        with written_whole(FILE) as part:
            part.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    quote(rows)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
