"""From how many pools memory is served, in glibc's own account."""

import ctypes
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone does it")
def test_threads_share_two_pools(tmp_path):
    pools = {}
    for how in ("share", "not"):
        subprocess.run([sys.executable, "-c", THREADS, tmp_path / how, how], check=True)
        pools[how] = (tmp_path / how).read_text().count("<heap nr=")
    assert pools["share"] <= 2 < pools["not"]
