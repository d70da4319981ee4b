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
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt:
            mmap_threshold, trim_threshold = -3, -1  # from malloc.h
            if mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25):  # older glibc allows no more
                mallopt(trim_threshold, 2**31 - 1)
