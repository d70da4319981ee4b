"""How long mnistlab takes to start, beside `import torch` alone.

    python -m benchmarks.startup [rounds]

Each round starts `python -c "import torch"` and then every contestant, each as a process of its own; what counts is
the ratio within a round. Results go to benchmarks/results/startup.json, unless the machine was busy. It takes two
minutes on two cores.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from benchmarks.measuring import machine, write

TORCH = ["-c", "import torch"]
READ = "import mnistlab as ml; ml.Predictor.load().predict(ml.home() / 'data' / 'samples' / 'photo_ruled_9_2.jpg')"
CONTESTANTS = {  # Python's arguments, and the most that they may take, as a multiple of `import torch`
    "mnistlab --help": (["-m", "mnistlab", "--help"], 0.4),
    "mnistlab train --help": (["-m", "mnistlab", "train", "--help"], 0.4),
    "mnistlab --version": (["-m", "mnistlab", "--version"], 0.4),
    "a mistyped command": (["-m", "mnistlab", "tarin"], 0.4),
    "a mistyped option": (["-m", "mnistlab", "train", "--epoch", "2"], 0.4),
    "a new network": (["-c", "import mnistlab as ml; ml.CNN(); ml.TrainConfig(); ml.load_digits"], 1.25),
    "the reader's first answer": (["-c", READ], 2.0),
}
IDLE = 0.5  # the most processes that may have been running, on average, in the minute before
CALM = 0.2  # the most that the quartiles of `import torch` may lie apart, as a share of its median


def seconds(arguments: list[str]) -> float:
    """How long Python takes for these arguments, from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def spread(values: list[float]) -> dict[str, float | list[float]]:
    low, middle, high = statistics.quantiles(values, method="inclusive")
    return {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}


def main() -> None:
    parser = argparse.ArgumentParser(description="How long mnistlab takes to start, beside `import torch`.")
    parser.add_argument("rounds", nargs="?", type=int, default=11)
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    for arguments in (TORCH, *(arguments for arguments, _ in CONTESTANTS.values())):
        seconds(arguments)  # reads the files into memory
    torch, ratios = [], {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        torch.append(seconds(TORCH))
        for name, (arguments, _) in CONTESTANTS.items():
            ratios[name].append(seconds(arguments) / torch[-1])
    found = {name: spread(values) | {"most": CONTESTANTS[name][1]} for name, values in ratios.items()}
    for name, ratio in found.items():
        low, high = ratio["quartiles"]
        verdict = "" if ratio["median"] <= ratio["most"] else "  TOO SLOW"
        print(f"{name:27}{ratio['median']:6.2f} ({low:.2f} to {high:.2f}), at most {ratio['most']}{verdict}")
    alone = spread(torch)
    low, high = alone["quartiles"]
    print(f"import torch: {alone['median']:.2f} s ({low:.2f} to {high:.2f}), {rounds} rounds, load {load:.1f} before")
    if load > IDLE or high - low > CALM * alone["median"]:
        sys.exit("The machine was busy, so nothing was written. Try again when it is idle.")
    write("startup", {"machine": machine(), "rounds": rounds, "import_torch_seconds": alone, "ratios": found})


if __name__ == "__main__":
    main()
