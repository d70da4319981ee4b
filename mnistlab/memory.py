"""What a process does with memory that it no longer needs."""

import ctypes
import sys
from functools import cache


@cache
def keep_freed_memory() -> None:
    """Have glibc keep what one step frees for the next, instead of handing it to the kernel and asking anew.

    A step's activations come and go in blocks of megabytes, which glibc by default returns at once; the kernel
    then has to give and clear thousands of pages a step, a sixth of all the time on some machines. From the first
    call on, the process keeps the memory of its largest step until it ends.
    """
    mmap_threshold, trim_threshold = -3, -1  # from malloc.h
    if _mallopt(mmap_threshold, 2**30) or _mallopt(mmap_threshold, 2**25):  # older glibc allows no more
        _mallopt(trim_threshold, 2**31 - 1)


@cache
def share_freed_memory() -> None:
    """Have glibc serve all threads from two pools, instead of giving each a pool of its own.

    A server answers in one thread now and in another then, and in the end every pool holds what its largest answer
    took: some 200 MB more after a few thousand pictures. To be called before there are many threads.
    """
    arena_max = -8
    _mallopt(arena_max, 2)


def _mallopt(option: int, value: int) -> bool:
    """Whether glibc took it; other systems have no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # nor has musl
    return bool(mallopt and mallopt(option, value))
