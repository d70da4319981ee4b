"""What the machine offers: a device, a precision, and memory that is kept or shared."""

import ctypes
import sys
from functools import cache
from typing import Any

import torch


def choose_device(wanted: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, else Apple's MPS, else the CPU. ValueError where it is not here."""
    if wanted != "auto":
        try:
            return torch.zeros((), device=wanted).device
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"There is no device {wanted!r} here; device='auto' takes what there is.") from error
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_precision(wanted: str, device: torch.device) -> str:
    """`wanted`, or for "auto" bfloat16 where the device computes in it, else float32."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bfloat16" if fast else "float32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Inside it, PyTorch computes in `precision` where that is bfloat16, and as it is otherwise."""
    return torch.autocast(device.type, torch.bfloat16, enabled=choose_precision(precision, device) == "bfloat16")


def describe(device: str | torch.device = "auto", precision: str = "auto", workers: int = 1) -> dict[str, Any]:
    """What a run computes on here, as far as it can change the last bit of a result.

    Keys: device (a GPU's name, or its kind), threads (None on a GPU), precision; workers where there are several.
    """
    device = choose_device(str(device))
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "precision": choose_precision(precision, device),
    } | ({"workers": workers} if workers > 1 else {})


@cache
def keep_freed_memory() -> None:
    """Have glibc keep what one step frees for the next, instead of handing it to the kernel and asking anew.

    A step's activations come and go in blocks of megabytes, which glibc by default returns at once; the kernel
    then has to give and clear thousands of pages a step, a sixth of all the time on some machines. From the first
    call on, the process keeps the memory of its largest step until it ends. `fit`, the command line and the app call
    it; evaluating and predicting leave a program's memory as it is.
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
