"""What befalls a run from outside: kills in the middle, full disks, closed folders, two at the same file."""

import gzip
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import numpy as np
import torch
from torchvision.datasets import MNIST

import mnistlab as ml
from mnistlab.__main__ import main
from mnistlab.data import sources
from mnistlab.paths import written_whole
from mnistlab.shipping import export
from mnistlab.training.loop import fit
from tests.trust import hostile

Row = dict[str, object]
RUN = {"checkpoint.safetensors", "history.csv", "metrics.json"} | {
    f"{name}.png" for name in ("curves", "confusion", "samples")
}


def in_a_copy(action: Callable[[], object]) -> int:
    """Begin `action` in a copy of this process; its number. It ends with 0, or with 1 where it raised."""
    if child := os.fork():
        return child
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        code = int(action() is False)
    except BaseException:
        code = 1
    os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(action: Callable[[], object], after: float) -> bool:
    """Run `action` in a copy of this process, and kill that after so many seconds; False where it had ended before.

    RuntimeError where it had ended ill.
    """
    child = in_a_copy(action)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    if (code := ended(child)) > 0:
        raise RuntimeError("what should have been killed failed by itself")
    return code < 0


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


# Killed in the middle


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
        try:
            killed(for_ever, dice.uniform(0, seconds))
            if read() not in known:
                faults.append(f"kill {number}: neither the old nor the new")
        except Exception as error:
            faults.append(f"kill {number}: {said(error)}")
    return {"tried": times, "whole": times - len(faults), "faults": faults}


class Writers:
    """Things to write, one and another in turn, into `folder`, and to read again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.environ["MNISTLAB_DATA"] = "offline"
        torch.set_num_threads(1)
        draw = torch.Generator().manual_seed(0)
        self.tables = [ml.Predictions.of(torch.randn(500, 10, generator=draw)) for _ in range(2)]
        self.runs = [ml.Run(ml.LeNet(seed).eval(), metrics={"seed": seed}) for seed in (0, 1)]
        cells = [[nbformat.v4.new_markdown_cell(word * 50_000, id="a")] for word in ("one ", "two ")]
        self.notebooks = [nbformat.v4.new_notebook(cells=cell) for cell in cells]

    def checkpoint(self, turn: int) -> None:
        self.runs[turn].save(self.folder / "it.safetensors")

    def read_checkpoint(self) -> tuple[int, float]:
        run = ml.load(self.folder / "it.safetensors")
        return run.metrics["seed"], run.model.conv1.weight.sum().item()

    def csv(self, turn: int) -> None:
        self.tables[turn].to_csv(self.folder / "it.csv")

    def read_csv(self) -> bytes:
        return (self.folder / "it.csv").read_bytes()

    def notebook(self, turn: int) -> None:
        """As tools/build_notebooks.py writes it."""
        with written_whole(self.folder / "it.ipynb") as part:
            nbformat.write(self.notebooks[turn], part)

    def read_notebook(self) -> str:
        return nbformat.read(self.folder / "it.ipynb", as_version=4).cells[0].source

    def page(self, turn: int) -> None:
        export.write(self.runs[turn], self.folder / "it.html")

    def read_page(self) -> bytes:
        return (self.folder / "it.html").read_bytes()

    def all(self) -> dict[str, tuple[Callable[[int], None], Callable[[], object]]]:
        return {
            "checkpoint": (self.checkpoint, self.read_checkpoint),
            "CSV": (self.csv, self.read_csv),
            "notebook": (self.notebook, self.read_notebook),
            "page": (self.page, self.read_page),
        }


def kill_writing(what: str, times: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        write, read = Writers(Path(folder)).all()[what]
        return interrupted(write, read, times, 0.1)


def kill_training(times: int) -> Row:
    """One run, killed again and again, each time gone on with; its end beside that of a run left in peace."""
    torch.set_num_threads(1)
    train = ml.load_digits("train", "offline")
    config = ml.TrainConfig(epochs=12, batch_size=64, crop=0.0, device="cpu", precision="float32")
    dice, faults, steps = random.Random(0), [], []
    right = ml.fit(ml.LeNet(), train, config=config, show_progress=False).model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "unfinished.state"

        def go_on() -> ml.Run:
            return ml.fit(ml.LeNet(), train, config=config, state=state, save_every=0, show_progress=False)

        def compare() -> None:
            weights = go_on().model.state_dict()
            state.unlink()
            if not all(torch.equal(tensor, right[name]) for name, tensor in weights.items()):
                faults.append(f"after kill {len(steps)}: a resumed run ended with other weights")

        while len(steps) < times and not faults:
            try:
                if killed(go_on, dice.uniform(0.05, 0.8)):
                    steps.append(torch.load(state, weights_only=True)["step"] if state.exists() else 0)
                else:
                    compare()
            except Exception as error:
                faults.append(f"kill {len(steps)}: {said(error)}")
        compare()
    return {"tried": times, "whole": times - len(faults), "faults": faults, "stopped_at_steps": steps}


def kill_commands(times: int) -> Row:
    """`mnistlab train`, from the first step to the last figure; the same command with --resume must end it."""
    os.environ["MNISTLAB_DATA"] = "offline"
    torch.set_num_threads(1)
    fit.__kwdefaults__["save_every"] = 0.0  # the command line calls it without
    dice, faults, there = random.Random(0), [], []
    with tempfile.TemporaryDirectory() as name:

        def train(folder: Path) -> bool:
            words = ["--model", "lenet", "--epochs", "3", "--device", "cpu", "--out", str(folder), "--resume"]
            return main(["train", *words]) == 0

        def files(folder: Path) -> dict[str, bytes]:
            return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}

        peace = Path(name) / "in_peace"
        start = time.perf_counter()
        ended(in_a_copy(partial(train, peace)))
        seconds = time.perf_counter() - start
        whole = ml.load(peace).model.state_dict()
        for number in itertools.count():
            if len(there) == times:
                break
            folder = Path(name) / str(number)
            if not killed(partial(train, folder), dice.uniform(0, seconds)):
                continue
            there.append(len(files(folder)))
            if code := ended(in_a_copy(partial(train, folder))):
                faults.append(f"kill {number}: --resume ended with {code}")
            elif set(files(folder)) != RUN:
                faults.append(f"kill {number}: there are {sorted(files(folder))}")
            elif not all(torch.equal(tensor, whole[n]) for n, tensor in ml.load(folder).model.state_dict().items()):
                faults.append(f"kill {number}: other weights")
    return {"tried": times, "whole": times - len(faults), "faults": faults, "files_at_the_kill": there}


@contextmanager
def slow_mirror(files: dict[str, bytes], pause: float) -> Iterator[str]:
    """The address of a server that gives these files, 16 KiB at a time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files[Path(self.path).name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                for at in range(0, len(content), 2**14):
                    self.wfile.write(content[at : at + 2**14])
                    time.sleep(pause)
            except OSError:
                pass  # whoever asked was killed

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def kill_downloading(times: int) -> Row:
    """Files in MNIST's form, fetched by torchvision from a slow server; after each kill the next call goes on."""
    draw, dice = np.random.default_rng(0), random.Random(0)
    images, labels = draw.integers(256, size=(500, 28, 28)), draw.integers(10, size=500)
    plain = dict(zip(sources.MD5, hostile.idx(images, labels) * 2, strict=True))
    packed = {f"{name}.gz": gzip.compress(content, 1, mtime=0) for name, content in plain.items()}
    sources.MD5 = {name: hashlib.md5(content).hexdigest() for name, content in plain.items()}
    MNIST.resources = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    faults, found, finished = [], [], 0
    with tempfile.TemporaryDirectory() as folder, slow_mirror(packed, 0.01) as address:
        os.environ["MNISTLAB_HOME"] = folder
        MNIST.mirrors = [address]
        raw = Path(folder) / "data" / "MNIST" / "raw"

        def fetch() -> bool:
            digits = ml.load_digits("train", "download")
            return digits.is_mnist and np.array_equal(digits.images[:, 0].numpy(), images)

        def at_an_end() -> None:
            nonlocal finished
            finished += 1
            if code := ended(in_a_copy(fetch)):
                faults.append(f"download {finished}: ended with {code}")
            shutil.rmtree(Path(folder) / "data")

        start = time.perf_counter()
        at_an_end()
        seconds = time.perf_counter() - start
        while len(found) < times:
            if not killed(fetch, dice.uniform(0, seconds)):
                at_an_end()
                continue
            found.append(sum(path.exists() for path in map(raw.joinpath, plain)))
            spoilt = [n for n, content in plain.items() if (raw / n).exists() and (raw / n).read_bytes() != content]
            if spoilt:  # what is in its place must be whole
                faults.append(f"kill {len(found)}: {', '.join(spoilt)}")
        at_an_end()
    return {"tried": times, "whole": times - len(faults), "faults": faults, "files_at_the_kill": found}


# Two at the same file


def write_together(rounds: int) -> Row:
    """Two processes save other runs, and other tables, at the same place and time; one of the two must be there."""
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        for what, (write, read) in Writers(Path(folder)).all().items():
            known = []
            for turn in (0, 1):
                write(turn)
                known.append(read())

            def again(turn: int, write: Callable[[int], None] = write) -> None:
                for _ in range(5):
                    write(turn)

            for number in range(rounds):
                codes = [ended(child) for child in [in_a_copy(partial(again, turn)) for turn in (0, 1)]]
                try:
                    if any(codes) or read() not in known:
                        faults.append(f"{what}, round {number}: ended with {codes}")
                except Exception as error:
                    faults.append(f"{what}, round {number}: {said(error)}")
    return {"tried": 4 * rounds, "whole": 4 * rounds - len(faults), "faults": faults}


def train_together(rounds: int) -> Row:
    """`mnistlab train` twice into one folder: one of them trains, the other is told so."""
    os.environ["MNISTLAB_DATA"] = "offline"
    torch.set_num_threads(1)
    faults = []
    with tempfile.TemporaryDirectory() as name:

        def train(folder: Path) -> bool:
            return main(["train", "--model", "mlp", "--epochs", "1", "--device", "cpu", "--out", str(folder)]) == 0

        for number in range(rounds):
            folder = Path(name) / str(number)
            codes = sorted(ended(child) for child in [in_a_copy(partial(train, folder)) for _ in range(2)])
            there = {path.name for path in folder.glob("[!.]*")}
            if codes != [0, 1] or there != RUN:
                faults.append(f"round {number}: ended with {codes} and {sorted(there)}")
    return {"tried": rounds, "whole": rounds - len(faults), "faults": faults}


# No room, and no way in


def on_a_small_disk(part: str, times: int) -> Row | None:
    """`full` or `closed` on a disk of 8 MiB, in a process of its own; None where the system lets us make no disk."""
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" "$3" "$4" "$1" "$5"'
    with tempfile.TemporaryDirectory() as folder:
        words = [folder, sys.executable, __file__, part, str(times)]
        unshare = shutil.which("unshare")
        probe = [unshare, "-rm", "mount", "-t", "tmpfs", "none", folder]
        if unshare is None or subprocess.run(probe, capture_output=True).returncode:
            return None
        done = subprocess.run([unshare, "-rm", "sh", "-c", script, "sh", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def full(folder: Path, times: int) -> Row:
    """Write where there is room for a part of it only: what was there stays whole, and the error names the remedy."""
    dice, counts, faults = random.Random(0), Counter(), []
    ballast = folder / "ballast"
    for what, (write, read) in Writers(folder).all().items():
        before = room(folder)
        write(0)
        size = before - room(folder)
        known = [read()]
        write(1)
        known.append(read())
        for number in range(times):
            ballast.write_bytes(bytes(room(folder) - dice.randrange(size * 5 // 4)))
            counts[_attempt(write, number % 2, f"{what} {number}", "make room there", faults)] += 1
            ballast.unlink()
            if read() not in known or list(folder.glob(".*.part")):
                faults.append(f"{what} {number}: not as it was: {sorted(folder.iterdir())}")
    ballast.write_bytes(bytes(room(folder)))
    train = ml.load_digits("train", "offline")
    config = ml.TrainConfig(epochs=1, device="cpu")
    ends = []
    for state in (folder / "unfinished.state", None):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            run = ml.fit(ml.CNN(), train, config=config, state=state, save_every=0, show_progress=False)
        ends.append(run.model.state_dict())
        if bool(state) != any("make room there" in str(warning.message) for warning in heard):
            faults.append(f"training: heard {[str(warning.message) for warning in heard]}")
    if not all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items()):
        faults.append("training: other weights")
    counts["written"] += 1
    return {"tried": counts.total(), **counts, "faults": faults}


def closed(folder: Path, times: int) -> Row:
    """Write where one may only read."""
    counts, faults = Counter(), []
    writers = Writers(folder).all()
    known = {}
    for what, (write, read) in writers.items():
        write(0)
        known[what] = read()
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    heard = io.StringIO()
    for number in range(times):
        for what, (write, read) in writers.items():
            counts[_attempt(write, 1, f"{what} {number}", "folder", faults)] += 1
            if read() != known[what]:
                faults.append(f"{what}: not as it was")
        with redirect_stderr(heard):
            code = main(["train", "--epochs", "0.1", "--out", str(folder / "run")])
        counts["refused" if code == 1 and "name another --out" in heard.getvalue() else "written"] += 1
    if counts["written"]:
        faults.append("something was written, or refused without a remedy")
    return {"tried": counts.total(), **counts, "faults": faults}


def room(folder: Path) -> int:
    """In bytes."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _attempt(write: Callable[[int], None], turn: int, name: str, remedy: str, faults: list[str]) -> str:
    try:
        write(turn)
    except (OSError, export.ExportError) as error:
        if remedy not in str(error):
            faults.append(f"{name}: no remedy in {said(error)}")
        return "refused"
    except Exception as error:
        faults.append(f"{name}: {said(error)}")
        return "failed"
    return "written"


if __name__ == "__main__":
    print(json.dumps({"full": full, "closed": closed}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
