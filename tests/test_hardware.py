"""From how many pools memory is served, in glibc's own account, and who may change how it is served."""

import ctypes
import subprocess
import sys

import pytest
import torch

import mnistlab as ml
from mnistlab import hardware

# Twelve threads that hold some memory at one time; then glibc's own account of its pools.
THREADS = """
import ctypes, sys, threading
from mnistlab.hardware import share_freed_memory
if sys.argv[2] == "share":
    share_freed_memory()
libc, all_there = ctypes.CDLL(None), threading.Barrier(12)
libc.malloc.restype, libc.fopen.restype = ctypes.c_void_p, ctypes.c_void_p
def hold():
    libc.malloc(1000)
    all_there.wait()
threads = [threading.Thread(target=hold) for _ in range(12)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone does it")
def test_threads_share_two_pools(tmp_path):
    pools = {}
    for how in ("share", "not"):
        subprocess.run([sys.executable, "-c", THREADS, tmp_path / how, how], check=True)
        pools[how] = (tmp_path / how).read_text().count("<heap nr=")
    assert pools["share"] <= 2 < pools["not"]


def test_evaluating_and_predicting_leave_the_memory_of_a_program_as_it_is(offline, monkeypatch, tmp_path):
    options = []
    monkeypatch.setattr(hardware, "_mallopt", lambda option, value: options.append(option) or True)
    hardware.keep_freed_memory.cache_clear()
    run = ml.Run(ml.LeNet().eval())
    ml.evaluate(run.model, offline[:50])
    run.predict(offline[:50])
    ml.load(run.save(tmp_path / "it.safetensors"))
    page = 255 - torch.nn.functional.pad(offline.images[0, 0], (40, 40, 40, 40)).numpy()
    assert ml.Predictor(run).predict(page).digit is not None
    assert options == []
    ml.fit(run.model, offline[:64], config=ml.TrainConfig(epochs=1, crop=0.0), show_progress=False)
    assert options != []
    hardware.keep_freed_memory.cache_clear()
