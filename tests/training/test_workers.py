"""Several processes train what one process trains, and one of them may die."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import mnistlab as ml
from mnistlab.training.workers import together, workers

pytestmark = pytest.mark.slow

TRAIN = ["-m", "mnistlab", "train", "--model", "compact", "--device", "cpu", "--batch-size", "64", "--resume"]


def start(*arguments: str, offline: bool = True) -> subprocess.Popen:
    """torchrun with two processes, on the offline digits."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
    command += ["--standalone", *arguments]
    environment = os.environ | {"MNISTLAB_DATA": "offline", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    try:
        said, complaint = process.communicate(timeout=400)
    finally:
        end(process)
    assert process.returncode == 0, complaint
    return said


def end(process: subprocess.Popen) -> None:
    """Torchrun and its workers, which would slow down every test that follows, if they are still there."""
    if process.poll() is None:
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def test_a_process_on_its_own_is_the_first_of_one():
    with together() as me:
        assert me == (0, 1) == workers()


GRADIENTS = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
import mnistlab as ml
from mnistlab.training.workers import shared_norms, together

torch.set_default_dtype(torch.float64)
with together() as me:
    model, images, labels = torch.load(sys.argv[1], weights_only=False)
    with shared_norms(model):
        replica = DistributedDataParallel(model)
        share = len(labels[me.rank :: 2]) * 2 / len(labels)
        outputs = replica(images[me.rank :: 2])
        (share * torch.nn.functional.cross_entropy(outputs, labels[me.rank :: 2])).backward()
    assert "forward" not in vars(model[1])
    if me.rank == 0:
        torch.save([{n: p.grad for n, p in model.named_parameters()}, dict(model.named_buffers())], sys.argv[2])
"""


def test_two_shares_give_the_gradients_and_norms_of_the_whole_batch(tmp_path):
    """Against PyTorch's own batch norm, on all digits in one process; the shares are of unequal size."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    model = model.append(nn.BatchNorm1d(10)).double()
    images, labels = torch.randn(13, 1, 8, 8).double(), torch.randint(10, (13,))
    torch.save((model, images, labels), tmp_path / "given.pt")
    (tmp_path / "share.py").write_text(GRADIENTS)
    finish(start(str(tmp_path / "share.py"), str(tmp_path / "given.pt"), str(tmp_path / "found.pt")))
    gradients, buffers = torch.load(tmp_path / "found.pt")
    nn.functional.cross_entropy(model(images), labels).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-12)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffers[name], buffer, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A run of two processes, in double precision."""
    out = tmp_path_factory.mktemp("two")
    said = finish(start(*TRAIN, "--epochs", "1", "--precision", "float64", "--out", str(out)))
    assert said.count("checkpoint.safetensors") == 1 and "wrong" in said, "rank 0 alone speaks and writes"
    return out


def test_two_processes_learn_what_one_learns(two):
    """In double precision, where rounding does not add up to another run."""
    train, val = ml.load_digits("train", "offline").split(0.15, seed=0)
    config = ml.TrainConfig(epochs=1, batch_size=64, device="cpu", precision="float64")
    alone = ml.fit(ml.Compact(), train, val, config, show_progress=False)
    together = pd.read_csv(two / "history.csv")
    for column in ("train_loss", "val_loss", "val_accuracy"):
        assert together[column].to_list() == pytest.approx(alone.history[column].to_list(), abs=1e-4, nan_ok=True)
    weights = load_file(two / "checkpoint.safetensors")
    for name, tensor in alone.model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-4)
    assert ml.load(two).hardware["workers"] == 2


def test_a_finished_run_is_left_as_it_is(two):
    before = (two / "checkpoint.safetensors").read_bytes()
    assert "holds a finished run" in finish(start(*TRAIN, "--epochs", "1", "--out", str(two)))
    assert (two / "checkpoint.safetensors").read_bytes() == before


OFTEN = """
import sys
from mnistlab.__main__ import main
from mnistlab.training.loop import fit

fit.__kwdefaults__["save_every"] = 0
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_starts_again_from_the_last_state(tmp_path):
    """torchrun restarts both; the end is, bit for bit, that of a run in which nobody was killed.

    The validation digits, of which each process scores its share, decide the rate and which epoch is kept.
    """
    (tmp_path / "often.py").write_text(OFTEN)
    words = [str(tmp_path / "often.py"), *TRAIN[2:], "--epochs", "2", "--precision", "float32"]
    words += ["--schedule", "plateau", "--keep", "best", "--patience", "5", "--out"]
    finish(start(*words, str(tmp_path / "whole")))
    killed = start(*words, str(tmp_path / "killed"))
    state = tmp_path / "killed" / "unfinished.state"
    deadline = time.monotonic() + 120
    try:
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        children = psutil.Process(killed.pid).children(recursive=True)
        *_, victim = [child for child in children if str(tmp_path / "often.py") in child.cmdline()]
        os.kill(victim.pid, signal.SIGKILL)
        saved = torch.load(state, weights_only=True)["step"]
        assert 0 < saved < 2 * 19, "it was not killed in the middle"
        finish(killed)
    finally:
        end(killed)
    assert not state.exists()
    columns = ["step", "train_loss", "val_loss"]
    runs = [pd.read_csv(tmp_path / name / "history.csv")[columns] for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*runs, check_exact=True)
    weights = [load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
