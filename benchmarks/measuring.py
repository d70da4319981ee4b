"""What all benchmarks share: real MNIST or nothing, the machine in words, and results as files."""

import json
import os
import platform
from pathlib import Path

import torch

import mnistlab as ml
from mnistlab.paths import written_whole

RESULTS = Path(__file__).parent / "results"


def mnist(split: str) -> ml.Digits:
    digits = ml.load_digits(split)
    if not digits.is_mnist:
        raise SystemExit(f"This is measured on MNIST, not on {digits.source}.")
    return digits


def machine() -> dict:
    """The machine as far as it decides speed."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16 instructions": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mnistlab": ml.__version__,
    }


def write(name: str, result: dict) -> None:
    with written_whole(RESULTS / f"{name}.json") as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
